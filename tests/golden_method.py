"""Runs the modules of the method on golden files.

Each run takes a `File` and names of METHOD.md and returns our numbers by the
file's keys; `RUNNERS` pairs them with theirs. Parameters come in by
`medpatch_jax.export`, and gradients go back the same way.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from medpatch_jax import calibrate, layers
from medpatch_jax.export import names
from medpatch_jax.train import losses, optimizer
from tests import golden_encoders, golden_input, golden_model, golden_stages
from tests.golden_file import (
  File,
  NotUnderstood,
  finish,
  known,
  labels,
  load_params,
)

# Single modules -----------------------------------------------------------


def run_classifier(file, released_names):
  known(file, {"x", "y"})
  entries = [
    dataclasses.replace(e, name=e.name.removeprefix("."))
    for e in names.classifier("", ())
  ]
  tree, label = load_params(file, entries), labels(file)
  model = layers.Classifier(label.shape[1])

  def loss(params):
    logits = model.apply({"params": params}, file.inputs["x"])
    total, count = losses.bce(logits, label, jnp.ones(len(label)))
    return total / count, {"logits": logits}

  return finish(file, loss, tree, entries)


def run_loss(file, released_names):
  """BCEWithLogits(b, y); `a` has no part in it.

  Raises:
    NotUnderstood: another loss.
  """
  known(file, {"a", "b", "y"})
  said = f"{file.meta.get('case', '')} {file.meta.get('covers', '')}"
  if not re.match(r"bce\w* (BCEWithLogits\(b, ?y\) mean|)$", said):
    raise NotUnderstood(
      f"loss {said.strip()!r}, ours is BCEWithLogits(b,y) mean"
    )
  given = file.inputs
  y = given["y"].astype(np.float32).reshape(given["b"].shape)
  y = y.reshape(len(np.atleast_1d(y)), -1)

  def loss(b):
    total, count = losses.bce(b.reshape(y.shape), y, jnp.ones(len(y)))
    return total / count

  value, grad = jax.value_and_grad(loss)(given["b"])
  return {"out/loss": value, "grad/b": grad, "grad/a": None}


def run_ece(file, released_names):
  known(file, {"probs", "labels"})
  given, ours = file.inputs, {}
  for key in file.group("out"):
    bins = int(key.removeprefix("ece_bins"))
    mask = np.ones(len(given["probs"]), bool)
    probability, label = (
      given[k].reshape(len(mask), -1) for k in ("probs", "labels")
    )
    sums = calibrate.bin_sums(probability, label, mask, bins)
    ours[f"out/{key}"] = calibrate.error(sums)
  return ours


def run_optimizer(file, released_names):
  given = file.inputs
  if "val_loss" in given:
    known(file, {"val_loss"})
    return {"out/lr": _plateau(given["val_loss"], file.group("out")["lr"][0])}
  known(file, {"grads", "lr"})
  said = f"{file.meta.get('covers')} {file.meta.get('case')}"
  found = re.search(r"betas=\(0?\.9, ?([\d.]+)\)|adam_b0\.9_([\d.]+)", said)
  if not found:
    raise NotUnderstood(f"an optimizer of {said!r}")
  rule = optimizer.adam(float(given["lr"]), b2=float(found[1] or found[2]))
  params = file.group("out")["params"][0]
  rows, state = [params], rule.init(params)
  for grad in given["grads"]:
    updates, state = rule.update(grad, state, params)
    params = optax.apply_updates(params, updates)
    rows.append(params)
  return {"out/params": np.stack(rows)}


def _plateau(val_loss, start):
  rule = optimizer.plateau()
  state, rates = rule.init(jnp.zeros(())), []
  update = jax.jit(functools.partial(rule.update, jnp.zeros(())))
  for value in val_loss:
    _, state = update(state, value=jnp.float32(value))
    rates.append(float(state.scale) * start)
  return np.array(rates)


def _paired(run):
  """run(file, released) -> the form that `golden.runners` describes."""

  def runner(arrays, meta, released_names):
    file = File(arrays, meta)
    ours = run(file, released_names)
    for prefix, what in (("param", "parameters"), ("in", "inputs")):
      if prefix not in file.groups and (left := file.group(prefix)):
        raise NotUnderstood(f"{what} {names.listed(left)}")
    pairs = {k: (ours[k], arrays[k]) for k in ours if k in arrays}
    for k, (a, b) in pairs.items():
      if b.dtype.kind == "U":
        pairs[k] = golden_input.words(a, b)
    return pairs

  return runner


RUNNERS = {
  "default": _paired(golden_model.run),
  "default_entropy": _paired(golden_model.run),
  "cmsma": _paired(golden_model.run),
  "emsma": _paired(golden_model.run),
  "train_steps": _paired(golden_model.run_train_steps),
  "unimodal": _paired(golden_stages.run_unimodal),
  "confidence": _paired(golden_stages.run_confidence),
  "classifier": _paired(run_classifier),
  "ehr_lstm": _paired(golden_encoders.run_ehr_lstm),
  "ehr_transformer": _paired(golden_encoders.run_ehr_transformer),
  "vit_block": _paired(golden_encoders.run_vit_block),
  "cxr_vit": _paired(golden_encoders.run_cxr_vit),
  "text_encoder": _paired(golden_encoders.run_text_encoder),
  "discretizer": _paired(golden_input.run_discretizer),
  "normalizer": _paired(golden_input.run_normalizer),
  "loss": _paired(run_loss),
  "ece": _paired(run_ece),
  "optimizer": _paired(run_optimizer),
}
