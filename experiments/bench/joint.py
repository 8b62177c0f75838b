"""A step of stage 3 beside a direct translation: `benchmark --what=joint`.

Forward, backward and Adam at the published size from the encoders' tokens:
confidence, calibration, patching, joint, missingness and late modules.
`translation` projects every token and pools a [B T C E] tensor, as the released
code does; both give the same gradients.

Dims: B stays, T tokens, D token width, E joint width, C labels.
"""

import functools
import os
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.train import losses, optimizer

# Modality -> (tokens, width) at the published size.
TOKENS = {
  "ehr": (48, 512),
  "cxr": (577, 384),
  "rr": (512, 768),
  "dn": (512, 768),
}
THRESHOLD = 0.75


def data(B: int, C: int, E: int = 512, seed: int = 0):
  """Random tokens in place of the encoders' -> (tree of frozen, batch)."""
  rng = np.random.default_rng(seed)

  def normal(*shape):
    return rng.standard_normal(shape, np.float32)

  encoded = {
    m: schema.Encoded(
      tokens=normal(B, T, D),
      mask=np.ones((B, T), bool),
      summary=normal(B, E),
    )
    for m, (T, D) in TOKENS.items()
  }
  heads = {
    m: {
      "dense": {
        "kernel": normal(D, C) / np.float32(np.sqrt(D)),
        "bias": np.zeros(C, np.float32),
      }
    }
    for m, (_, D) in TOKENS.items()
  }
  label = (rng.random((B, C)) < 0.2).astype(np.float32)
  batch = schema.Pools(
    inputs=encoded,
    present=np.ones((B, len(TOKENS)), bool),
    label=label,
    weight=np.ones(B, np.float32),
  )
  return heads, batch


def _model(C: int) -> medpatch.MedPatch:
  return medpatch.MedPatch(modalities=tuple(TOKENS), num_labels=C)


def pooled(heads, batch) -> schema.Pools:
  """Tokens -> pools, our way."""
  C = batch.label.shape[1]
  inputs = {}
  for m, encoded in batch.inputs.items():
    inputs[m] = medpatch.pools(
      encoded,
      Confidence(C).apply({"params": heads[m]}, encoded.tokens),
      calibrate.Temperature.ones(C),
      threshold=THRESHOLD,
      modality=m,
    )
  return batch.replace(inputs=inputs)


def _loss(model, params, pools):
  outputs, out = model.apply({"params": params}, pools)
  total, count, _ = losses.fused(outputs, out, pools.label, pools.weight)
  return total / count


def ours(params, heads, batch):
  """Loss, pooling before projecting."""
  return _loss(_model(batch.label.shape[1]), params, pooled(heads, batch))


def translation(params, heads, batch):
  """Loss, projecting every token before pooling, as the released code does.

  The projected pools go into the same model, whose own projections are the
  identity here: the high and low ones differ, so it runs on both.
  """
  C = batch.label.shape[1]
  model = _model(C)
  inputs, params = {}, {**params, "high": dict(params["high"])}
  params["low"] = dict(params["low"])
  for m, encoded in batch.inputs.items():
    logits = Confidence(C).apply({"params": heads[m]}, encoded.tokens)
    confidence = calibrate.confidence(logits)
    clusters = {}
    for name, member in (
      ("high", confidence >= THRESHOLD),
      ("low", confidence < THRESHOLD),
    ):
      tokens, key = encoded.tokens, f"project_{m}"
      if key in params[name]:
        project = params[name].pop(key)
        tokens = tokens @ project["kernel"] + project["bias"][None, None]
      weight = member.astype(jnp.float32)
      count = weight.sum(axis=1)
      # [B T 1 E] by [B T C 1]: the tensor that our contraction avoids.
      total = (tokens[:, :, None, :] * weight[..., None]).sum(axis=1)
      divisor = jnp.maximum(count, 1e-9)
      clusters |= {
        name: total / divisor[..., None],
        f"has_{name}": count > 0,
        f"mean_{name}": (confidence * weight).sum(axis=1) / divisor,
      }
    inputs[m] = schema.Pool(**clusters, summary=encoded.summary)
  return _loss(
    model.clone(unprojected=tuple(TOKENS)),
    params,
    batch.replace(inputs=inputs),
  )


def cached(params, heads, pools):
  """Loss from pools computed before, as stage 3 does with frozen encoders."""
  del heads
  return _loss(_model(pools.label.shape[1]), params, pools)


STEPS = {"translation": translation, "ours": ours, "cached": cached}


def step_of(loss):
  """loss -> jitted step(params, state, heads, batch) -> params, state."""
  rule = optimizer.adam(1e-3)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, heads, batch):
    grads = jax.grad(loss)(params, heads, batch)
    updates, state = rule.update(grads, state, params)
    return jax.tree.map(jnp.add, params, updates), state

  return rule, step


def measure(name: str, B: int, C: int, steps: int):
  """(median seconds of a step, GiB above what was in use before it)."""
  heads, batch = data(B, C)
  pools = jax.jit(pooled)(heads, batch)
  rule, step = step_of(STEPS[name])
  params = _model(C).init(jax.random.key(0), pools)["params"]
  batch = jax.device_put(pools if name == "cached" else batch)
  heads = jax.device_put(heads)
  state = rule.init(params)
  compiled = step.lower(params, state, heads, batch).compile()
  jax.block_until_ready((params, state, heads, batch))
  before, seconds = _reset_peak(), []
  for _ in range(steps + 1):
    start = time.perf_counter()
    params, state = jax.block_until_ready(compiled(params, state, heads, batch))
    seconds.append(time.perf_counter() - start)
  # The first step touches its memory for the first time.
  # Pages that compiling freed are in use already; XLA's plan counts them.
  plan = compiled.memory_analysis().temp_size_in_bytes
  return float(np.median(seconds[1:])), max(_peak() - before, plan) / 2**30


def _memory(name: str) -> int:
  """VmRSS (now) or VmHWM (at most, since the last reset), bytes."""
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith(f"{name}:"):
      return 1024 * int(line.split()[1])
  raise RuntimeError(f"/proc/self/status has no {name}")


def _reset_peak() -> int:
  """Forgets the peak, which compiling has raised; bytes in use now.

  Where that is not allowed, the peak so far stands in for what is in use.
  """
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    return _memory("VmHWM")
  return _memory("VmRSS")


def _peak() -> int:
  return _memory("VmHWM")


def run(B: int, C: int, steps: int) -> None:
  """Each way in a process of its own, since a peak never falls."""
  print(f"{B} stays, {C} labels, {os.cpu_count()} cores, {jax.devices()[0]}")
  seconds = {}
  for name in STEPS:
    command = [sys.executable, "-m", "experiments.benchmark", "--what=joint"]
    command += [f"--only={name}", f"--batch_size={B}", f"--labels={C}"]
    command += [f"--steps={steps}"]
    text = subprocess.run(
      command, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    seconds[name], memory = map(float, text.split())
    ratio = seconds["translation"] / seconds[name]
    print(
      f"{name:12} {1e3 * seconds[name]:9.1f} ms  {memory:6.3f} GiB"
      f"  {ratio:6.1f} x",
      flush=True,
    )
