"""How long an epoch of stage 3 takes from cached pools: `benchmark --what=fuse`.

Writes pools of the published size (base) for stays drawn at random, as
stages.py does, then times one epoch of the loop's own loader and step over
them: reading alone, the step alone on one batch, and both.
"""

import contextlib
import os
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from data import resume
from experiments.training import fusion, models
from medpatch_jax import medpatch
from medpatch_jax.input.loader import Loader
from medpatch_jax.train import losses, optimizer, state, step, store
from medpatch_jax.train.parallel import Parallel

# Modality -> width of its tokens; all pools are projected to E.
WIDTHS = {"ehr": 512, "cxr": 384, "rr": 768, "dn": 768}
E = 512
# (stays of the train split, labels, modalities) in the paper.
TASKS = {
  "mortality": (18_845, 1, ("ehr", "cxr", "rr")),
  "phenotyping": (42_628, 25, ("ehr", "cxr", "rr", "dn")),
}
# Shares of stays that have each modality.
PRESENT = {"ehr": 1.0, "cxr": 0.18, "rr": 0.9, "dn": 0.97}


def run(task: str, share: float, dtype: str, batch_size: int, folder) -> float:
  """Prints the measurement and returns the seconds of an epoch.

  Args:
    task: of `TASKS`.
    share: of its stays that are written and timed; the epoch is scaled up.
    dtype: of the cached pools and of the matrix products.
    batch_size: stays of an update.
    folder: where pools are written; None for a temporary folder.
  """
  if task not in TASKS:
    raise ValueError(f"--task={task}: wanted one of {', '.join(TASKS)}.")
  stays, labels, modalities = TASKS[task]
  stays = int(stays * share)
  with contextlib.ExitStack() as stack:
    if folder is None:
      folder = stack.enter_context(tempfile.TemporaryDirectory(dir="."))
    cached, fields, rows, present = _write(
      pathlib.Path(folder), stays, labels, modalities, dtype
    )
    total = sum(a.nbytes for m in cached.values() for a in m.values())
    print(
      f"{task}: {stays:,} stays ({share:.0%}), {labels} labels, {dtype};"
      f" pools {resume.size(total)}; {os.cpu_count()} cores, load"
      f" {os.getloadavg()[0]:.1f}"
    )
    label = np.zeros((stays, labels), np.float32)
    loader = fusion.pool_loader(
      cached,
      fields,
      rows,
      present,
      label,
      np.arange(stays),
      batch_size,
      seed=0,
    )
    return _measure(loader, modalities, labels, dtype, share)


def _write(folder, stays, labels, modalities, dtype):
  """Pools on disk, their fields, each row's stay, and presence bool[N M]."""
  rng = np.random.default_rng(0)
  present = np.stack([rng.random(stays) < PRESENT[m] for m in modalities], 1)
  kind = jnp.dtype(dtype)
  fields = {
    m: models.pool_fields(labels, WIDTHS[m], E, kind) for m in modalities
  }
  cached, rows = {}, {}
  for i, m in enumerate(modalities):
    rows[m] = np.flatnonzero(present[:, i])
    writer = store.Writer(folder / m, Parallel())
    for name, (shape, kind) in fields[m].items():
      array = writer.allocate(name, (len(rows[m]), *shape), kind)
      for at in range(0, len(array), 256):
        part = rng.random(array[at : at + 256].shape, np.float32)
        array[at : at + 256] = part > 0.5 if kind is bool else part
    writer.finish({})
    cached[m] = store.read(folder / m, {})
  return cached, fields, rows, present


def _measure(loader: Loader, modalities, labels, dtype, share):
  model = medpatch.MedPatch(modalities, labels, width=E, dtype=jnp.dtype(dtype))

  def forward(params, frozen, batch, key):
    outputs, out = model.apply({"params": params}, batch)
    return *losses.fused(outputs, out, batch.label, batch.weight)[:2], outputs

  began = time.perf_counter()
  first = None
  for _, batch in loader.epoch():
    first = batch if first is None else first
  reading = time.perf_counter() - began
  parallel = Parallel()
  params = jax.jit(model.init)(jax.random.key(0), first)["params"]
  rule = optimizer.adam(1e-3)
  mapped = parallel.train(step.train_step(forward, rule))
  current = parallel.replicate(state.create(jax.device_get(params), rule, 0))
  one = parallel.split(first)
  current = jax.block_until_ready(mapped(current, {}, one))  # Compiles.
  began = time.perf_counter()
  for _ in range(20):
    current = mapped(current, {}, one)
  jax.block_until_ready(current)
  each = (time.perf_counter() - began) / 20
  began = time.perf_counter()
  for _, batch in loader.epoch(1):
    current = mapped(current, {}, parallel.split(batch))
  jax.block_until_ready(current)
  both = time.perf_counter() - began
  print(f"device {jax.devices()[0].device_kind}, batch {loader.batch_size}")
  print(f"reading alone      {reading / share:8.1f} s an epoch")
  print(f"steps alone        {each * loader.steps / share:8.1f} s an epoch")
  print(f"both               {both / share:8.1f} s an epoch")
  return both / share
