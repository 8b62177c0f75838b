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

from medpatch_jax import calibrate, layers, medpatch, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.encode import cxr, ehr, notes, tokens
from medpatch_jax.export import names, released
from medpatch_jax.train import losses, optimizer
from medpatch_jax.unimodal import Unimodal
from tests.golden import NotUnderstood


@dataclasses.dataclass(frozen=True)
class File:
  """A golden file.

  Attributes:
    tensors: {key: array}.
    meta: its JSON, and the kind of the file.
  """

  tensors: dict[str, np.ndarray]
  meta: dict

  @property
  def kind(self) -> str:
    return self.meta["kind"]

  @property
  def args(self) -> dict:
    return self.meta.get("args") or {}

  def group(self, prefix: str) -> dict[str, np.ndarray]:
    """{name: array} of the keys `prefix/name`."""
    start = f"{prefix}/"
    return {
      k.removeprefix(start): v
      for k, v in self.tensors.items()
      if k.startswith(start)
    }

  @property
  def inputs(self) -> dict[str, np.ndarray]:
    return self.group("in")

  @property
  def params(self) -> dict[str, np.ndarray]:
    return self.group("param")


def _labels(file):
  """in/y -> f32[B C]."""
  y = file.inputs["y"].astype(np.float32)
  return y[:, None] if y.ndim == 1 else y


def _order(text):
  return tuple(m.lower() for m in text.split("-"))


def _modalities(file):
  flag = _order(file.args["modalities"])
  unknown = set(flag) - set(schema.MODALITIES)
  if unknown:
    raise NotUnderstood(f"modalities {sorted(unknown)}")
  return tuple(m for m in schema.MODALITIES if m in flag), flag


def _known(file, known):
  unknown = set(file.inputs) - set(known)
  if unknown:
    raise NotUnderstood(f"inputs {names.listed(unknown)}")


def _present(file, modality, B):
  given = file.inputs
  if f"{modality}_present" in given:
    return given[f"{modality}_present"]
  if modality in ("rr", "dn") and modality in given:
    return np.array([bool(note.strip()) for note in given[modality]])
  return np.ones(B, bool)


def _fields(file, modality, released_names):
  """Inputs of the encoder, and a module that reads them."""
  given = file.inputs
  if modality == "ehr":
    hours = np.arange(given["x"].shape[1])
    mask = hours[None] < given["seq_lengths"][:, None]
    # As wide as the longest stay, whatever the width of the array.
    longest = int(given["seq_lengths"].max())
    return {"x": given["x"][:, :longest], "mask": mask[:, :longest]}
  x = given[f"{modality}_tokens"]
  return {"tokens": x, "mask": np.ones(x.shape[:2], bool)}


def _encoder(modality, width, released_names, summary="first"):
  if modality == "ehr":
    return ehr.LSTM(width, released=released_names)
  how = summary if modality == "cxr" else "mean"
  return tokens.Tokens(width, how, released_names)


def _batch(file, modalities, released_names):
  label = _labels(file)
  B = len(label)
  return schema.Batch(
    inputs={m: _fields(file, m, released_names) for m in modalities},
    present=np.stack([_present(file, m, B) for m in modalities], axis=1),
    label=label,
    weight=np.ones(B, np.float32),
  )


# The whole model ----------------------------------------------------------


class _Model:
  """MedPatch as a golden file describes it."""

  INPUTS = {"x", "y", "seq_lengths", "rr", "dn"} | {
    f"{m}_{f}" for m in schema.MODALITIES for f in ("tokens", "present")
  }

  def __init__(self, file, released_names):
    self.file, self.released = file, released_names
    _known(file, self.INPUTS)
    self.modalities, flag = _modalities(file)
    args = file.args
    C = int(args["num_classes"])
    without = args.get("ablation") or []
    without = [without] if isinstance(without, str) else without
    if set(without) - set(released.ABLATIONS):
      raise NotUnderstood(f"ablation {without}")
    predictions = file.meta.get("prediction_order")
    if predictions is None:
      own = file.kind.startswith("default")
      predictions = schema.MODALITIES if own else released.PREDICTIONS
    self.form = released.Form(
      modalities=self.modalities,
      num_labels=C,
      fuser=args.get("fuser") or "concat",
      without=tuple(released.ABLATIONS[w] for w in without),
      predictions=tuple(m.lower() for m in predictions),
      flag=flag,
    )
    params = dict(file.params)
    first = f"{self.modalities[0]}_classifier.classifier.fc.weight"
    self.width = params[first].shape[1]
    self.unused = released.unused(self.form, self.width)
    wanted = {
      k: v
      for k, v in params.items()
      if k not in self.unused and not released.ignored(k, self.form)
    }
    try:
      self.tree = names.load(
        wanted, released.entries_of(self.form, self.width, wanted)
      )
    except ValueError as e:
      raise NotUnderstood(str(e)) from None
    self.entries = released.medpatch(self.form, self.width, ())
    if "joint" in self.form.without:
      self.tree["medpatch"]["loss_scalars"] = np.zeros(1, np.float32)
    self.module = medpatch.MedPatch(
      modalities=self.modalities,
      num_labels=C,
      width=self.width,
      fuser=self.form.fuser,
      without=self.form.without,
      released=released_names,
      flag_order=flag,
    )
    self.batch = self._pools()

  def _pools(self):
    batch = _batch(self.file, self.modalities, self.released)
    entropy = self.file.args.get("fusion_type", "c-msma") == "c-e-msma"
    inputs = {}
    for i, m in enumerate(self.modalities):
      encoder = _encoder(m, self.width, self.released)
      encoded, _ = encoder.apply(
        {"params": self.tree["encoder"][m]},
        batch.inputs[m],
        batch.present[:, i],
      )
      logits = Confidence(self.form.num_labels).apply(
        {"params": self.tree["confidence"][m]}, encoded.tokens
      )
      table = jnp.maximum(self.tree["temperature"][m], 1e-9)
      inputs[m] = medpatch.pools(
        encoded,
        logits,
        calibrate.Temperature(table, jnp.ones(table.shape[1])),
        threshold=self.file.args[f"{m}_confidence_threshold"],
        kind="entropy" if entropy else "confidence",
        modality=m,
        released=self.released,
      )
    return schema.Pools(inputs, batch.present, batch.label, batch.weight)

  def loss(self, params):
    outputs, out = self.module.apply({"params": params}, self.batch)
    label, weight = self.batch.label, self.batch.weight
    total, count, _ = losses.fused(outputs, out, label, weight)
    return total / count, outputs

  def term(self, logits):
    total, count = losses.bce(logits, self.batch.label, self.batch.weight)
    return total / count

  def heads(self, outputs):
    """Our heads under their names."""
    # Without the joint module the released code repeats the missingness
    # logits in place of high and low.
    other = outputs.get("missingness")
    return {
      "high_conf": outputs.get("high", other),
      "low": outputs.get("low", other),
      "late": outputs["late"],
    }

  def theirs(self, tree):
    """Our tree of parameters or gradients -> their names."""
    tree = dict(tree)
    if "joint" in self.form.without:
      del tree["loss_scalars"]
    return names.dump(tree, self.entries)


def run_model(file, released_names):
  model = _Model(file, released_names)
  run = jax.jit(jax.value_and_grad(model.loss, has_aux=True))
  (loss, outputs), grads = run(model.tree["medpatch"])
  heads = model.heads(outputs)
  ours = {f"out/{k}": v for k, v in heads.items()}
  ours["loss/loss"] = loss
  for k, head in (("high", "high_conf"), ("low", "low"), ("late", "late")):
    if heads[head] is not None:
      ours[f"loss/{k}"] = model.term(heads[head])
  ours |= {f"grad/{k}": v for k, v in model.theirs(grads).items()}
  return ours | {f"grad/{k}": None for k in model.unused}


def run_train_steps(file, released_names):
  """Six steps of the released trainer on one batch."""
  model = _Model(file, released_names)
  rule = optimizer.adam(1e-3, b2=0.9)
  params = model.tree["medpatch"]

  @jax.jit
  def step(params, state):
    grad = jax.value_and_grad(model.loss, has_aux=True)
    (loss, outputs), grads = grad(params)
    heads = model.heads(outputs)
    terms = [model.term(heads[k]) for k in ("high_conf", "low", "late")]
    updates, state = rule.update(grads, state, params)
    row = jnp.stack([loss, *terms])
    return optax.apply_updates(params, updates), state, row

  state, rows = rule.init(params), []
  for _ in range(len(file.group("out")["losses"])):
    params, state, row = step(params, state)
    rows.append(row)
  ours = {f"out/{k}": v for k, v in model.theirs(params).items()}
  ours |= {f"out/{k}": file.params[k] for k in model.unused}
  return ours | {"out/losses": np.stack(rows)}


# Stages 1 and 2 -----------------------------------------------------------


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
  _known(file, _Model.INPUTS)
  extra = names.classifier(f"{m}_classifier", ("classifier",))
  tree, entries = _stage_params(file, m, extra, ())
  batch = _batch(file, (m,), released_names)
  width = len(tree["classifier"]["norm"]["scale"])
  model = Unimodal(
    encoder=_encoder(m, width, released_names, summary),
    num_labels=batch.label.shape[1],
    modality=m,
    modalities=(m,),
  )

  def loss(params):
    outputs, _ = model.apply({"params": params}, batch)
    total, count = losses.bce(outputs[m], batch.label, batch.weight)
    return total / count, outputs[m]

  run = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, logits), grads = run(tree)
  ours = {"out/logits": logits, "loss/loss": value}
  return ours | _stage_grads(file, grads, entries)


def run_confidence(file, released_names):
  """The head itself; these files count padded hours whatever the switches."""
  stage, m, _ = _stage(file)
  if stage not in ("c-unimodal", "temp_c-unimodal"):
    raise NotUnderstood(f"stage {stage!r}")
  _known(file, _Model.INPUTS)
  label = _labels(file)
  B, C = label.shape
  extra = released.confidence(m, ("confidence",))
  if stage == "temp_c-unimodal":
    extra += released.temperature(m, C, ("temperature",))
  tree, entries = _stage_params(file, m, extra, (f"{m}_classifier.",))
  counted = (*released_names, "padding_tokens", "absent_tokens")
  batch = _batch(file, (m,), counted)
  width = file.params[
    f"fusion_model.{m}_classifier.classifier.fc.weight"
  ].shape[1]
  encoder = _encoder(m, width, counted)
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

  run = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, logits), grads = run(
    {k: v for k, v in tree.items() if k != "encoder"}
  )
  if C == 1:
    logits = logits[..., 0]
  zeros = jax.tree.map(np.zeros_like, tree["encoder"])
  ours = {"out/logits": logits, "loss/loss": value}
  return ours | _stage_grads(file, {"encoder": zeros, **grads}, entries)


# Single modules -----------------------------------------------------------


def _load(file, entries, drop=()):
  params = {k: v for k, v in file.params.items() if not k.startswith(drop)}
  try:
    return names.load(params, entries)
  except ValueError as e:
    raise NotUnderstood(str(e)) from None


def _finish(file, loss, tree, entries):
  """Value, outputs and gradients of loss(tree) -> (value, {name: output})."""
  run = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, outputs), grads = run(tree)
  ours = {f"out/{k}": v for k, v in outputs.items()}
  ours["loss/loss"] = value
  return ours | {f"grad/{k}": v for k, v in names.dump(grads, entries).items()}


def run_classifier(file, released_names):
  _known(file, {"x", "y"})
  entries = [
    dataclasses.replace(e, name=e.name.removeprefix("."))
    for e in names.classifier("", ())
  ]
  tree, label = _load(file, entries), _labels(file)
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
  _known(file, {"x", "seq_lengths", "y_feats", "y_tokens"})
  fields = _fields(file, "ehr", ())
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
  _known(file, {"x", "y"})
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
  _known(file, {"x", "y"})
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
  _known(file, {"image", "y"})
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
  _known(
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
  _known(file, {"a", "b", "y"})
  given = file.inputs

  def loss(b):
    total, count = losses.bce(b, given["y"], jnp.ones(len(b)))
    return total / count

  value, grad = jax.value_and_grad(loss)(given["b"])
  return {"out/loss": value, "grad/b": grad, "grad/a": None}


def run_ece(file, released_names):
  _known(file, {"probs", "labels"})
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
  _known(file, {"grads", "lr"})
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
  "default": _paired(run_model),
  "default_entropy": _paired(run_model),
  "cmsma": _paired(run_model),
  "emsma": _paired(run_model),
  "train_steps": _paired(run_train_steps),
  "unimodal": _paired(run_unimodal),
  "confidence": _paired(run_confidence),
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
