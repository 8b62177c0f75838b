"""Runs stages 1 and 2 on golden files."""

import jax
import jax.numpy as jnp
import numpy as np

from medpatch_jax import calibrate, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.export import names, released
from medpatch_jax.train import losses
from medpatch_jax.unimodal import Unimodal
from tests import golden_file
from tests.golden_file import NotUnderstood, jit, known, labels


def _stage(file):
  """`c-unimodal_cxr_c4_mean` -> (stage, modality, summary)."""
  parts = str(file.meta.get("case", "")).split("_")
  prefix = parts.pop(0) if parts[0] == "temp" else None
  stage, modality = parts[0], parts[1]
  if modality not in schema.MODALITIES:
    raise NotUnderstood(f"case {file.meta.get('case')!r}")
  stage = f"{prefix}_{stage}" if prefix else stage
  summary = "first" if parts[-1] == "cls" else "mean"
  return stage, modality, summary


def _stage_params(file, modality, extra, drop):
  """Parameters of a unimodal file -> (tree, entries)."""
  params = {}
  for name, x in file.params.items():
    name = name.removeprefix("fusion_model.")
    form = released.Form((modality,), 1)
    if name.startswith(drop) or released.ignored(name, form):
      continue
    params[name] = x
  entries = released.encoder(modality, params, ("encoder",)) + extra
  try:
    return names.load(params, entries), entries
  except ValueError as e:
    raise NotUnderstood(str(e)) from None


def _stage_grads(file, tree, entries):
  """Our gradients under the names of the file; None where it has none."""
  theirs = names.dump(tree, entries)
  ours = {}
  for name in file.params:
    short = name.removeprefix("fusion_model.")
    ours[f"grad/{name}"] = theirs.get(short)
  return ours


def run_unimodal(file, released_names):
  stage, m, summary = _stage(file)
  if stage != "unimodal":
    raise NotUnderstood(f"stage {stage!r}")
  known(file, golden_file.INPUTS)
  extra = names.classifier(f"{m}_classifier", ("classifier",))
  tree, entries = _stage_params(file, m, extra, ())
  batch = golden_file.batch(file, (m,))
  width = len(tree["classifier"]["norm"]["scale"])
  model = Unimodal(
    encoder=golden_file.encoder(m, width, released_names, summary, summary),
    num_labels=batch.label.shape[1],
    modality=m,
    modalities=(m,),
  )

  def loss(params):
    outputs, _ = model.apply({"params": params}, batch)
    total, count = losses.bce(outputs[m], batch.label, batch.weight)
    return total / count, outputs[m]

  run = jit(jax.value_and_grad(loss, has_aux=True))
  (value, logits), grads = run(tree)
  ours = {"out/logits": logits, "loss/loss": value}
  return ours | _stage_grads(file, grads, entries)


def run_confidence(file, released_names):
  """The head itself; these files count padded hours whatever the switches."""
  stage, m, _ = _stage(file)
  if stage not in ("c-unimodal", "temp_c-unimodal"):
    raise NotUnderstood(f"stage {stage!r}")
  known(file, golden_file.INPUTS)
  label = labels(file)
  B, C = label.shape
  extra = released.confidence(m, ("confidence",))
  if stage == "temp_c-unimodal":
    extra += released.temperature(m, C, ("temperature",))
  tree, entries = _stage_params(file, m, extra, (f"{m}_classifier.",))
  counted = (*released_names, "padding_tokens", "absent_tokens")
  batch = golden_file.batch(file, (m,))
  width = file.params[
    f"fusion_model.{m}_classifier.classifier.fc.weight"
  ].shape[1]
  encoder = golden_file.encoder(m, width, counted)
  encoded, _ = encoder.apply(
    {"params": tree["encoder"]}, batch.inputs[m], batch.present[:, 0]
  )

  def loss(params):
    logits = Confidence(C).apply(
      {"params": params["confidence"]}, encoded.tokens
    )
    if "temperature" in params:
      table = jnp.maximum(params["temperature"], 1e-9)
      temperature = calibrate.Temperature(table, jnp.ones(C))
      logits = calibrate.apply(logits, temperature)
    mask = jnp.ones(encoded.mask.shape, bool)
    total, count = losses.token_bce(logits, mask, label, batch.weight)
    return total / count, logits

  run = jit(jax.value_and_grad(loss, has_aux=True))
  (value, logits), grads = run(
    {k: v for k, v in tree.items() if k != "encoder"}
  )
  if C == 1:
    logits = logits[..., 0]
  zeros = jax.tree.map(np.zeros_like, tree["encoder"])
  ours = {"out/logits": logits, "loss/loss": value}
  return ours | _stage_grads(file, {"encoder": zeros, **grads}, entries)
