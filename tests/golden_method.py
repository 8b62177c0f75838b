"""Runs the modules of the method on golden files.

Each run takes a `File` and names of METHOD.md and returns our numbers by the
file's keys; `RUNNERS` pairs them with theirs. Parameters come in by
`medpatch_jax.export`, and gradients go back the same way.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from medpatch_jax import calibrate, layers
from medpatch_jax.encode import cxr, ehr, notes
from medpatch_jax.export import names
from medpatch_jax.train import losses, optimizer
from tests import golden_file, golden_model, golden_stages
from tests.golden_file import File, NotUnderstood, known, labels
from tests.golden_model import jit

# Single modules -----------------------------------------------------------


def _load(file, entries, drop=()):
  params = {k: v for k, v in file.params.items() if not k.startswith(drop)}
  try:
    return names.load(params, entries)
  except ValueError as e:
    raise NotUnderstood(str(e)) from None


def _finish(file, loss, tree, entries):
  """Value, outputs and gradients of loss(tree) -> (value, {name: output})."""
  run = jit(jax.value_and_grad(loss, has_aux=True))
  (value, outputs), grads = run(tree)
  ours = {f"out/{k}": v for k, v in outputs.items()}
  ours["loss/loss"] = value
  return ours | {f"grad/{k}": v for k, v in names.dump(grads, entries).items()}


def run_classifier(file, released_names):
  known(file, {"x", "y"})
  entries = [
    dataclasses.replace(e, name=e.name.removeprefix("."))
    for e in names.classifier("", ())
  ]
  tree, label = _load(file, entries), labels(file)
  model = layers.Classifier(label.shape[1])

  def loss(params):
    logits = model.apply({"params": params}, file.inputs["x"])
    total, count = losses.bce(logits, label, jnp.ones(len(label)))
    return total / count, {"logits": logits}

  return _finish(file, loss, tree, entries)


def _probe(*pairs):
  """Files of one module end in a cross-entropy of its features."""
  return sum(optax.sigmoid_binary_cross_entropy(a, y).mean() for a, y in pairs)


def run_ehr_lstm(file, released_names):
  entries = names.lstm("layer0", ("layer_0",))
  tree = _load(file, entries)
  if "x" not in file.inputs:
    return _lstm_start(file, tree)
  known(file, {"x", "seq_lengths", "y_feats", "y_tokens"})
  fields = golden_file.fields(file, "ehr")
  width = tree["layer_0"]["kernel_recurrent"].shape[0]
  model = ehr.LSTM(width, released=released_names)
  given = file.inputs

  def loss(params):
    present = jnp.ones(len(given["x"]), bool)
    encoded, _ = model.apply({"params": params}, fields, present)
    outputs = {"feats": encoded.summary, "tokens": encoded.tokens}
    value = _probe((encoded.summary, given["y_feats"]))
    if "tokens" in file.group("out"):
      value += _probe((encoded.tokens, given["y_tokens"]))
    return value, outputs

  return _finish(file, loss, tree, entries)


def _lstm_start(file, tree):
  """What is measured of the initial parameters, of theirs."""
  tree = tree["layer_0"]
  recurrent = tree["kernel_recurrent"]
  H, G = recurrent.shape
  gram = recurrent @ recurrent.T - np.eye(H)
  biases = np.stack([tree["bias_input"], tree["bias_recurrent"]])
  D = tree["kernel_input"].shape[0]
  return {
    "out/whh_gram_err": np.abs(gram).max(),
    "out/wih_absmax": np.abs(tree["kernel_input"]).max(),
    "out/xavier_bound": np.sqrt(6 / (D + G)),
    "out/bias_absmax": np.abs(biases).max(),
  }


def run_vit_block(file, released_names):
  known(file, {"x", "y"})
  depth = names.depth(file.params, r"layers\.(\d+)\.")
  project = "layers.0.0.fn.to_out.0.weight" in file.params
  entries = names.transformer("layers", (), depth, project=project)
  tree = _load(file, entries)
  heads = _heads(file)
  x = file.inputs["x"]
  model = layers.Transformer(
    depth=depth,
    heads=heads,
    head_width=_head_width(tree, heads),
    mlp=tree["block_0"]["mlp_in"]["kernel"].shape[1],
  )

  def loss(params):
    y = model.apply({"params": params}, x)
    return _probe((y, file.inputs["y"])), {"y_": y}

  return _finish(file, loss, tree, entries)


def _heads(file):
  """Heads are in no shape: of `h2`, of "'heads': 2", or of the arguments."""
  case, covers = file.meta.get("case", ""), file.meta.get("covers", "")
  for source in (case.removeprefix("h"), covers.partition("'heads': ")[2]):
    digits = source.split(",")[0].split("}")[0]
    if digits.isdigit():
      return int(digits)
  if "heads" in file.args:
    return int(file.args["heads"])
  raise NotUnderstood("number of heads")


def _head_width(tree, heads):
  qkv = tree["block_0"]["attention"]["qkv"]["kernel"]
  return qkv.shape[1] // (3 * heads)


def run_ehr_transformer(file, released_names):
  known(file, {"x", "y"})
  depth = names.depth(file.params, r"transformer\.layers\.(\d+)\.")
  project = "transformer.layers.0.0.fn.to_out.0.weight" in file.params
  entries = (
    names.squeezed("pos_embedding", ("positions",), 1)
    + names.squeezed("cls_token", ("cls",), 2)
    + names.dense("to_ehr_embedding", ("embed",))
    + names.transformer(
      "transformer.layers", ("transformer",), depth, project=project
    )
  )
  tree = _load(file, entries)
  heads = _heads(file)
  x = file.inputs["x"]
  model = ehr.Transformer(
    width=tree["cls"].shape[0],
    depth=depth,
    heads=heads,
    head_width=_head_width(tree["transformer"], heads),
    mlp=tree["transformer"]["block_0"]["mlp_in"]["kernel"].shape[1],
    over="variables",
    released=released_names,
  )
  fields = {"x": x, "mask": np.ones(x.shape[:2], bool)}

  def loss(params):
    encoded, _ = model.apply({"params": params}, fields, np.ones(len(x), bool))
    outputs = {"tokens": encoded.tokens, "cls": encoded.summary}
    return _probe((encoded.summary, file.inputs["y"])), outputs

  return _finish(file, loss, tree, entries)


def run_cxr_vit(file, released_names):
  known(file, {"image", "y"})
  theirs = "feature_extractor."
  depth = names.depth(file.params, rf"{theirs}blocks\.(\d+)\.")
  entries = names.vit(theirs, ("backbone",), depth)
  entries += names.dense("projection_layer", ("project",))
  tree = _load(file, entries)
  backbone = tree["backbone"]
  width = backbone["cls"].shape[0]
  model = cxr.Backbone(
    patch=int(np.sqrt(backbone["embed"]["kernel"].shape[0] // 3)),
    width=width,
    depth=depth,
    heads=_vit_heads(file, width),
    mlp=backbone["block_0"]["mlp_in"]["kernel"].shape[1],
  )
  pixels = np.moveaxis(file.inputs["image"], 1, -1)

  def loss(params):
    full = model.apply({"params": params["backbone"]}, pixels)
    project = nn.Dense(params["project"]["bias"].shape[0])
    proj = project.apply({"params": params["project"]}, full)
    value = _probe((proj[:, 0], file.inputs["y"]))
    return value, {"full": full, "proj": proj}

  return _finish(file, loss, tree, entries)


def _vit_heads(file, width):
  return int(file.args.get("heads", 0)) or 2


def run_text_encoder(file, released_names):
  known(
    file,
    {
      "notes",
      "y_rr",
      "y_dn",
      "input_ids",
      "attention_mask",
      "overflow_to_sample_mapping",
    },
  )
  depth = names.depth(file.params, r"bert\.encoder\.layer\.(\d+)\.")
  entries = names.bert("bert.", ("bert",), depth)
  tree = _load(
    file,
    entries + names.dense("fc_rr", ("rr",)) + names.dense("fc_dn", ("dn",)),
    drop=("bert.pooler.",),
  )
  given = file.inputs
  fields = _windows(given)
  bert = tree["bert"]
  model = notes.Notes(
    vocab_size=len(bert["words"]),
    positions=len(bert["positions"]),
    width=bert["words"].shape[1],
    depth=depth,
    heads=_vit_heads(file, 0),
    mlp=bert["block_0"]["mlp_in"]["kernel"].shape[1],
    joint_width=len(tree["rr"]["bias"]),
    released=released_names,
  )
  encoded, _ = model.apply(
    {"params": {"bert": bert, "project": tree["rr"]}},
    fields,
    np.ones(len(given["notes"]), bool),
  )
  full = {"rr": encoded.tokens, "dn": encoded.tokens[::-1]}

  def loss(params):
    outputs, value = {}, 0.0
    for m, x in full.items():
      dense = nn.Dense(len(params[m]["bias"]))
      y = dense.apply({"params": params[m]}, x)
      outputs |= {m: y, f"{m}_full": x}
      value += _probe((y.mean(axis=1), given[f"y_{m}"]))
    return value, outputs

  learn = {m: tree[m] for m in full}
  entries = [e for m in full for e in names.dense(f"fc_{m}", (m,))]
  return _finish(file, loss, learn, entries)


def _windows(given):
  """Their flat list of windows -> piece i32[B W L], mask bool[B W L]."""
  owner = given["overflow_to_sample_mapping"]
  B, L = len(given["notes"]), given["input_ids"].shape[1]
  W = int(np.bincount(owner).max())
  piece, mask = np.zeros((B, W, L), np.int32), np.zeros((B, W, L), bool)
  used = np.zeros(B, int)
  for i, b in enumerate(owner):
    piece[b, used[b]] = given["input_ids"][i]
    mask[b, used[b]] = given["attention_mask"][i]
    used[b] += 1
  return {"piece": piece, "mask": mask}


def run_loss(file, released_names):
  """BCEWithLogits(b, y); `a` has no part in it."""
  known(file, {"a", "b", "y"})
  given = file.inputs

  def loss(b):
    total, count = losses.bce(b, given["y"], jnp.ones(len(b)))
    return total / count

  value, grad = jax.value_and_grad(loss)(given["b"])
  return {"out/loss": value, "grad/b": grad, "grad/a": None}


def run_ece(file, released_names):
  known(file, {"probs", "labels"})
  given, ours = file.inputs, {}
  for key in file.group("out"):
    bins = int(key.removeprefix("ece_bins"))
    mask = np.ones(len(given["probs"]), bool)
    sums = calibrate.bin_sums(given["probs"], given["labels"], mask, bins)
    ours[f"out/{key}"] = calibrate.error(sums)
  return ours


def run_optimizer(file, released_names):
  given = file.inputs
  if "val_loss" in given:
    return {"out/lr": _plateau(given["val_loss"], file.group("out")["lr"][0])}
  known(file, {"grads", "lr"})
  rule = optimizer.adam(float(given["lr"]), b2=0.9)
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
    ours = run(File(arrays, meta), released_names)
    return {k: (ours[k], arrays[k]) for k in ours if k in arrays}

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
  "ehr_lstm": _paired(run_ehr_lstm),
  "ehr_transformer": _paired(run_ehr_transformer),
  "vit_block": _paired(run_vit_block),
  "cxr_vit": _paired(run_cxr_vit),
  "text_encoder": _paired(run_text_encoder),
  "loss": _paired(run_loss),
  "ece": _paired(run_ece),
  "optimizer": _paired(run_optimizer),
}
