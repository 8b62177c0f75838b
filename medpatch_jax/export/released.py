"""Models of the released code (nyuad-cai/MedPatch, f33c5ed) <-> ours.

Our side is one tree:

  encoder/<modality>     parameters of its encoder
  classifier/<modality>  stage 1's (unimodal models only)
  confidence/<modality>  parameters of `Confidence`
  temperature/<modality> f32[P C]
  medpatch               parameters of `MedPatch`

Theirs has one text encoder, whose BERT is that of both notes.
"""

import dataclasses

import numpy as np

from medpatch_jax import schema
from medpatch_jax.export import names, torch_file
from medpatch_jax.export.names import Entries

# Temperatures of one label come as [P], of more as [P, C]; P over there:
POSITIONS = {"cxr": 578, "rr": 512, "dn": 512}
HOURS = {True: 48, False: 2646}  # Of one label, of more.
# The order in which the released code makes its predictions.
PREDICTIONS = ("ehr", "cxr", "dn", "rr")
ABLATIONS = {
  "without_late_module": "unimodal",
  "without_missingness_module": "missingness",
  "without_joint_module": "joint",
}


@dataclasses.dataclass(frozen=True)
class Form:
  """What the names and shapes of a model over there depend on.

  Attributes:
    modalities: in our order.
    num_labels: C.
    fuser: concat, lstm or transformer.
    without: of unimodal, missingness, joint.
    predictions: the order of fuser inputs and of rows of `weights`.
    flag: the modalities in the order of their flag: columns of presence.
  """

  modalities: tuple[str, ...]
  num_labels: int
  fuser: str = "concat"
  without: tuple[str, ...] = ()
  predictions: tuple[str, ...] = PREDICTIONS
  flag: tuple[str, ...] | None = None

  @property
  def made(self) -> tuple[str, ...]:
    """The modalities in the order of their predictions."""
    return tuple(m for m in self.predictions if m in self.modalities)


def encoder_project(modality: str) -> str:
  """Name of a modality's projection in stage 1."""
  if modality == "cxr":
    return "cxr_model.cxr_encoder.projection_layer"
  return f"text_model.fc_{modality}"


def encoder(modality: str, tensors, path) -> Entries:
  """An encoder; what of it is there (stubs have a projection only)."""
  if modality == "ehr":
    return names.lstm("ehr_model.layer0", (*path, "layer_0"))
  entries = names.dense(encoder_project(modality), (*path, "project"))
  if modality == "cxr":
    theirs = "cxr_model.cxr_encoder.feature_extractor."
    depth = names.depth(tensors, rf"{theirs}blocks\.(\d+)\.")
    return entries + (
      names.vit(theirs, (*path, "backbone"), depth) if depth else []
    )
  theirs = "text_model.bert."
  depth = names.depth(tensors, rf"{theirs}encoder\.layer\.(\d+)\.")
  return entries + (names.bert(theirs, (*path, "bert"), depth) if depth else [])


def confidence(modality: str, path) -> Entries:
  return names.dense(
    f"{modality}_confidence_predictor.confidence_layer", (*path, "dense")
  )


def temperature(modality: str, num_labels: int, path) -> Entries:
  """[P] of one label or [P, C] -> [P, C]."""
  name = f"{modality}_temperature"
  if num_labels > 1:
    return names.same(name, path)
  return [
    names.Entry(name, tuple(path), lambda x: x[:, None], lambda x: x[:, 0])
  ]


def medpatch(form: Form, width: int, path=("medpatch",)) -> Entries:
  """`MedPatch`, of the joint width `width`."""
  entries = []
  if "unimodal" not in form.without:
    for m in form.modalities:
      entries += names.classifier(f"{m}_classifier", (*path, f"classifier_{m}"))
  if "missingness" not in form.without:
    flag = form.flag or form.modalities
    index = np.array([flag.index(m) for m in form.modalities])
    entries += names.classifier(
      "missingness_classifier",
      (*path, "missingness", "classifier"),
      index=index,
    )
  if "joint" not in form.without:
    for cluster in ("high", "low"):
      entries += _joint(form, width, cluster, (*path, cluster))
    entries += names.same("trainer_weights", (*path, "loss_scalars"))
  return entries + _late(form, (*path, "late", "score"))


def _joint(form, width, cluster, path) -> Entries:
  entries = []
  for m in form.modalities:
    if m != "ehr":
      entries += names.dense(f"{m}_{cluster}_proj", (*path, f"project_{m}"))
  fuser, index = f"{cluster}_fuser", None
  if form.fuser == "lstm":
    entries += names.lstm(f"{fuser}_lstm", (*path, "lstm"))
  elif form.fuser == "transformer":
    # One head of 8 is never as wide as its input.
    entries += names.transformer(
      f"{fuser}_transformer.layers", (*path, "transformer"), depth=1
    )
  else:
    block = np.arange(form.num_labels * width)
    index = np.concatenate(
      [block + form.made.index(m) * len(block) for m in form.modalities]
    )
  return entries + names.classifier(
    f"{fuser}_classifier", (*path, "classifier"), index=index
  )


def _late(form, path) -> Entries:
  made = () if "unimodal" in form.without else form.made
  ours = [] if "unimodal" in form.without else list(form.modalities)
  index = [made.index(m) for m in ours]
  extra = 1 - ("missingness" in form.without)
  extra += 2 * ("joint" not in form.without)
  index += range(len(made), len(made) + extra)
  return names.rows("weights", path, index)


def unused(form: Form, width: int) -> set[str]:
  """Names of parameters that an ablation over there keeps but never uses."""
  full = medpatch(dataclasses.replace(form, without=()), width)
  used = {e.name for e in medpatch(form, width)}
  return {e.name for e in full} - used


def entries_of(form: Form, width: int, tensors) -> Entries:
  """Everything of a c-msma or c-e-msma model over there."""
  entries = medpatch(form, width)
  for m in form.modalities:
    entries += encoder(m, tensors, ("encoder", m))
    entries += confidence(m, ("confidence", m))
    entries += temperature(m, form.num_labels, ("temperature", m))
  return entries


def ignored(name: str, form: Form) -> bool:
  """Whether a tensor over there has no part in any prediction of `form`."""
  if name.startswith("text_model."):
    rest = name.removeprefix("text_model.")
    if rest.startswith("bert.pooler.") or rest.endswith(".position_ids"):
      return True
    return any(
      rest.startswith(f"fc_{m}.")
      for m in schema.MODALITIES
      if m not in form.modalities
    )
  if "ehr" not in form.modalities and name.startswith(
    ("ehr_confidence_predictor.", "ehr_temperature")
  ):
    return True  # Built over there without EHR, too.
  # An older transformer on top of the ViT, built and never called.
  head = "cxr_model.cxr_encoder."
  return name.startswith(
    (f"{head}pos_embedding", f"{head}cls_token", f"{head}transformer.")
  )


def plain(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Their state dict without prefixes and duplicates.

  `fusion_model.` is taken off, and the frozen copies (`*_model_fixed`), which
  the released code aliases to the encoders, must equal them.

  Raises:
    ValueError: two copies of one tensor differ.
  """
  tensors: dict[str, np.ndarray] = {}
  for name, x in state.items():
    short = name.removeprefix("fusion_model.").replace(
      "_model_fixed.", "_model."
    )
    if short in tensors and not np.array_equal(tensors[short], x):
      raise ValueError(
        f"{name} differs from its other copy in the file; the released code"
        " writes both alike."
      )
    tensors[short] = x
  return tensors


def check(tensors, form: Form, width: int | None = None) -> int:
  """Refuses a model of another size, kind or label count.

  Returns:
    the joint width E.

  Raises:
    ValueError: naming what was found, what was wanted and the flag to change.
  """
  head = "{}_confidence_predictor.confidence_layer.weight"
  found = tuple(m for m in schema.MODALITIES if head.format(m) in tensors)
  if found != form.modalities:
    raise ValueError(
      f"checkpoint of modalities {','.join(found) or 'none'}, wanted"
      f" {','.join(form.modalities)}: pass --modalities={','.join(found)}."
    )
  if "weights" not in tensors:
    raise ValueError(
      "checkpoint without late scores (`weights`): no MedPatch model; wanted"
      " one of fusion type c-msma or c-e-msma."
    )
  labels = len(tensors[head.format(found[0])])
  if labels != form.num_labels:
    raise ValueError(
      f"checkpoint of {labels} labels, the task has {form.num_labels}: pass"
      f" --task={'in_hospital_mortality' if labels == 1 else 'phenotyping'}."
    )
  E = _width(tensors, found)
  if width is not None and E != width:
    raise ValueError(
      f"checkpoint of joint width {E}, the model has {width}: pass a --preset"
      f" of width {E}."
    )
  fusers = [
    k for k in ("lstm", "transformer") if _any(f"high_fuser_{k}.", tensors)
  ]
  fuser = (fusers or ["concat"])[0]
  if fuser != form.fuser and _any("high_fuser_", tensors):
    raise ValueError(
      f"checkpoint with fuser {fuser}, wanted {form.fuser}: pass --fuser={fuser}."
    )
  rows = len(tensors["weights"])
  wanted = len(_late(form, ("x",))[0].ours(np.arange(rows + 9)))
  if rows != wanted:
    raise ValueError(
      f"checkpoint with {rows} sources in the late module, wanted {wanted}:"
      " change --without."
    )
  return E


def _any(start, tensors) -> bool:
  return any(name.startswith(start) for name in tensors)


def _width(tensors, modalities) -> int:
  """E, of whatever ends or starts with that width."""
  for m in modalities:
    for name in (encoder_project(m), f"{m}_high_proj"):
      if f"{name}.weight" in tensors:
        return len(tensors[f"{name}.weight"])
  if "ehr_model.layer0.weight_hh_l0" in tensors:
    return tensors["ehr_model.layer0.weight_hh_l0"].shape[1]
  raise ValueError("checkpoint without encoders.")


def read(path, form: Form, width: int | None = None) -> dict:
  """Reads an authors' checkpoint (.pth.tar) into our tree; no code is run.

  Args:
    path: file with `state_dict` and the loss scalars, `weights`.
    form: what is expected in it.
    width: E expected; None takes what is there.

  Returns:
    the tree of this file's header.

  Raises:
    ValueError: not such a file; another size, kind, or label count; tensors
      missing, left over, or not finite.
  """
  content = torch_file.read(path)
  state = content.get("state_dict") if isinstance(content, dict) else None
  if not isinstance(state, dict):
    raise ValueError(
      f"{path}: has no `state_dict`; wanted a .pth.tar of MedPatch."
    )
  state = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
  tensors = plain(state)
  try:
    E = check(tensors, form, width)
    scalars = content.get("weights")
    tensors["trainer_weights"] = (
      scalars if isinstance(scalars, np.ndarray) else np.ones(3, np.float32)
    )
    drop = unused(form, E)
    tensors = {
      k: np.asarray(v, np.float32)
      for k, v in tensors.items()
      if k not in drop and not ignored(k, form)
    }
    tree = names.load(tensors, entries_of(form, E, tensors))
  except ValueError as e:
    raise ValueError(f"{path}: {e}") from None
  if "joint" in form.without:
    tree["medpatch"]["loss_scalars"] = np.zeros(1, np.float32)
  return tree


def write(path, tree: dict, form: Form, width: int) -> None:
  """Writes our tree as a checkpoint that the released code can load.

  Raises:
    ValueError: the tree is not of `form`, or the two notes' BERTs differ.
  """
  tree = {**tree, "medpatch": dict(tree["medpatch"])}
  scalars = np.ones(3, np.float32)
  if "joint" in form.without:
    tree["medpatch"].pop("loss_scalars", None)
  depths = _depth_names(tree)
  tensors = names.dump(tree, entries_of(form, width, depths))
  scalars = tensors.pop("trainer_weights", scalars)
  state = {}
  for name, x in tensors.items():
    if name.split(".")[0] in ("ehr_model", "cxr_model", "text_model"):
      fixed = name.replace("_model.", "_model_fixed.", 1)
      state |= {name: x, f"fusion_model.{name}": x, f"fusion_model.{fixed}": x}
    else:
      state[f"fusion_model.{name}"] = x
  torch_file.write(path, {"state_dict": state, "weights": scalars})


def _depth_names(tree):
  """Names that tell `encoder` how deep our encoders are."""
  found = []
  for m, params in tree["encoder"].items():
    inner = params.get("backbone" if m == "cxr" else "bert", {})
    theirs = (
      "cxr_model.cxr_encoder.feature_extractor.blocks"
      if m == "cxr"
      else "text_model.bert.encoder.layer"
    )
    blocks = [k for k in inner if k.startswith("block_")]
    found += [f"{theirs}.{k.removeprefix('block_')}." for k in blocks]
  return found


def pad_temperature(position, label, modality: str) -> np.ndarray:
  """Temperatures f32[P C] and f32[C] -> the table's length over there."""
  position, label = np.asarray(position), np.asarray(label)
  length = POSITIONS.get(modality) or HOURS[len(label) == 1]
  rest = np.broadcast_to(label, (max(0, length - len(position)), len(label)))
  return np.concatenate([position[:length], rest]).astype(np.float32)
