"""Runs encoders and their blocks on golden files."""

import re

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.encode import cxr, ehr, notes
from medpatch_jax.export import names
from tests import golden_file
from tests.golden_file import (
  difference,
  finish,
  known,
  load_params,
  probe,
)


def run_ehr_lstm(file, released_names):
  count = names.depth(file.params, r"layer(\d+)\.")
  entries = []
  for i in range(count):
    entries += names.lstm(f"layer{i}", (f"layer_{i}",))
  tree = load_params(file, entries)
  if "x" not in file.inputs:
    return _lstm_start(file, tree)
  known(file, {"x", "seq_lengths", "y_feats", "y_tokens"})
  fields = golden_file.fields(file, "ehr")
  width = tree["layer_0"]["kernel_recurrent"].shape[0]
  model = ehr.LSTM(width, layers=count, released=released_names)
  given = file.inputs

  def loss(params):
    present = jnp.ones(len(given["x"]), bool)
    encoded, _ = model.apply({"params": params}, fields, present)
    outputs = {"feats": encoded.summary, "tokens": encoded.tokens}
    value = probe((encoded.summary, given["y_feats"]))
    if "tokens" in file.group("out"):
      value += probe((encoded.tokens, given["y_tokens"]))
    return value, outputs

  return finish(file, loss, tree, entries)


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
  tree = load_params(file, entries)
  x = file.inputs["x"]

  def forward(heads, params=tree):
    model = layers.Transformer(
      depth=depth,
      heads=heads,
      head_width=_head_width(tree, heads),
      mlp=tree["block_0"]["mlp_in"]["kernel"].shape[1],
    )
    return {"y_": model.apply({"params": params}, x)}

  inner = tree["block_0"]["attention"]["qkv"]["kernel"].shape[1] // 3
  heads = _heads(file, inner, forward) if project else 1

  def loss(params):
    y = forward(heads, params)["y_"]
    return probe((y, file.inputs["y"])), {"y_": y}

  return finish(file, loss, tree, entries)


def _heads(file, width, forward):
  """How many heads: said in `meta`, or those whose outputs are nearest.

  Heads show in no shape. `forward(heads)` gives {output: ours}.
  """
  case, covers = file.meta.get("case", ""), file.meta.get("covers", "")
  said = (
    (r"(?:^|_)h(?:eads)?(\d+)", case),
    (r"'heads': (\d+)|\bheads=?(\d+)\b", covers),
  )
  for pattern, text in said:
    if found := re.search(pattern, text):
      return int(next(filter(None, found.groups())))
  if "heads" in file.args:
    return int(file.args["heads"])
  gaps = {}
  for heads in (2, *(h for h in range(1, 17) if h != 2 and width % h == 0)):
    ours = forward(heads)
    theirs = file.group("out")
    gaps[heads] = max(difference(ours[k], theirs[k]) for k in ours)
    if gaps[heads] <= 1e-5:
      break
  return min(gaps, key=gaps.get)


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
  tree = load_params(file, entries)
  x, block = file.inputs["x"], tree["transformer"]["block_0"]
  fields = {"x": x, "mask": np.ones(x.shape[:2], bool)}

  def forward(heads, params=tree):
    model = ehr.Transformer(
      width=tree["cls"].shape[0],
      depth=depth,
      heads=heads,
      head_width=_head_width(tree["transformer"], heads),
      mlp=block["mlp_in"]["kernel"].shape[1],
      over="variables",
      released=released_names,
    )
    encoded, _ = model.apply({"params": params}, fields, np.ones(len(x), bool))
    return {"tokens": encoded.tokens, "cls": encoded.summary}

  inner = block["attention"]["qkv"]["kernel"].shape[1] // 3
  heads = _heads(file, inner, forward) if project else 1

  def loss(params):
    outputs = forward(heads, params)
    return probe((outputs["cls"], file.inputs["y"])), outputs

  return finish(file, loss, tree, entries)


def run_cxr_vit(file, released_names):
  known(file, {"image", "y"})
  theirs = "feature_extractor."
  depth = names.depth(file.params, rf"{theirs}blocks\.(\d+)\.")
  entries = names.vit(theirs, ("backbone",), depth)
  entries += names.dense("projection_layer", ("project",))
  tree = load_params(file, entries)
  backbone = tree["backbone"]
  width = backbone["cls"].shape[0]
  pixels = np.moveaxis(file.inputs["image"], 1, -1)
  model = cxr.Backbone(
    patch=int(np.sqrt(backbone["embed"]["kernel"].shape[0] // 3)),
    width=width,
    depth=depth,
    mlp=backbone["block_0"]["mlp_in"]["kernel"].shape[1],
  )

  def forward(heads):
    full = model.clone(heads=heads).apply({"params": backbone}, pixels)
    return {"full": full}

  model = model.clone(heads=_heads(file, width, forward))

  def loss(params):
    full = model.apply({"params": params["backbone"]}, pixels)
    project = nn.Dense(params["project"]["bias"].shape[0])
    proj = project.apply({"params": params["project"]}, full)
    value = probe((proj[:, 0], file.inputs["y"]))
    return value, {"full": full, "proj": proj}

  return finish(file, loss, tree, entries)


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
  kinds = [m for m in ("rr", "dn") if f"fc_{m}.weight" in file.params]
  entries = names.bert("bert.", ("bert",), depth)
  tree = load_params(
    file,
    entries + sum((names.dense(f"fc_{m}", (m,)) for m in kinds), []),
    # Of BERT, and buffers: no token's hidden state depends on them.
    drop=("bert.pooler.dense.", "bert.embeddings.position_ids"),
  )
  given, theirs = file.inputs, file.group("out")
  fields = _windows(given)
  bert = tree["bert"]
  model = notes.Notes(
    vocab_size=len(bert["words"]),
    positions=len(bert["positions"]),
    width=bert["words"].shape[1],
    depth=depth,
    mlp=bert["block_0"]["mlp_in"]["kernel"].shape[1],
    joint_width=len(tree[kinds[0]]["bias"]),
    released=released_names,
  )

  def hidden(heads):
    encoded, _ = model.clone(heads=heads).apply(
      {"params": {"bert": bert, "project": tree[kinds[0]]}},
      fields,
      np.ones(len(fields["piece"]), bool),
    )
    # The notes are given twice, as discharge notes in reverse order.
    full = {"rr": encoded.tokens, "dn": encoded.tokens[::-1]}
    return {m: full[m] for m in kinds}

  def outputs_of(full, params):
    """Projections, and in files of token confidence what is projected."""
    found = {f"{m}_full": x for m, x in full.items() if f"{m}_full" in theirs}
    for m, x in full.items():
      y = nn.Dense(len(params[m]["bias"])).apply({"params": params[m]}, x)
      found[m] = _summary(file, y) if np.ndim(theirs[m]) == 2 else y
    return found

  width = bert["words"].shape[1]
  heads = _heads(file, width, lambda heads: outputs_of(hidden(heads), tree))
  full = hidden(heads)

  def loss(params):
    outputs, value = outputs_of(full, params), 0.0
    for m in full:
      y = outputs[m]
      value += probe((y.mean(axis=1) if y.ndim == 3 else y, given[f"y_{m}"]))
    return value, outputs

  learn = {m: tree[m] for m in full}
  entries = [e for m in full for e in names.dense(f"fc_{m}", (m,))]
  return finish(file, loss, learn, entries)


def _summary(file, tokens):
  """Tokens f32[B T D] -> f32[B D], as the case says."""
  said = f"{file.meta.get('case')} {file.meta.get('covers')}"
  if re.search(r"(_|\b)cls(_|\b)", said):
    return tokens[:, 0]
  return tokens.mean(axis=1)


def _windows(given):
  """Their flat list of windows -> piece i32[B W L], mask bool[B W L]."""
  ids = given["input_ids"]
  real = given.get("attention_mask", np.ones_like(ids))
  # Without one, each note is one window.
  owner = given.get("overflow_to_sample_mapping", np.arange(len(ids)))
  B, L = int(owner.max()) + 1, ids.shape[1]
  W = int(np.bincount(owner).max())
  piece, mask = np.zeros((B, W, L), np.int32), np.zeros((B, W, L), bool)
  used = np.zeros(B, int)
  for i, b in enumerate(owner):
    piece[b, used[b]] = ids[i]
    mask[b, used[b]] = real[i]
    used[b] += 1
  return {"piece": piece, "mask": mask}
