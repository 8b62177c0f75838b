"""The authors' checkpoints (.pth.tar) <-> our tree; no code is ever run.

Their files hold `state_dict`, where the encoders appear up to three times, and
the scalars of the loss as `weights`. The tree is that of released.py.
"""

import dataclasses

import numpy as np

from medpatch_jax import schema
from medpatch_jax.export import names, released, torch_file

# Temperatures of one label come as [P], of more as [P, C]; P over there:
POSITIONS = {"cxr": 578, "rr": 512, "dn": 512}
HOURS = {True: 48, False: 2646}  # Of one label, of more.


def plain(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Their state dict without prefixes and duplicates.

  `module.` (of DataParallel) and `fusion_model.` are taken off, and the frozen
  copies (`*_model_fixed`), which the released code aliases to the encoders,
  must equal them.

  Raises:
    ValueError: two copies of one tensor differ, or one holds NaN or infinity.
  """
  tensors: dict[str, np.ndarray] = {}
  for name, x in state.items():
    short = name.removeprefix("module.").removeprefix("fusion_model.")
    short = short.replace("_model_fixed.", "_model.")
    if not np.isfinite(x).all():
      raise ValueError(f"parameter {name} holds NaN or infinity.")
    if short in tensors and not np.array_equal(tensors[short], x):
      raise ValueError(
        f"{name} differs from its other copy in the file; the released code"
        " writes both alike."
      )
    tensors[short] = x
  return tensors


def check(tensors, form: released.Form, width: int | None = None) -> int:
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
    tasks = [t.name for t in schema.TASKS.values() if len(t.labels) == labels]
    what = f"pass --task={tasks[0]}" if tasks else "no --task has as many"
    raise ValueError(
      f"checkpoint of {labels} labels, the task has {form.num_labels}: {what}."
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
  rows, wanted = len(tensors["weights"]), _sources(form)
  if rows != wanted:
    fit = [
      without
      for without in ((), *((w,) for w in released.ABLATIONS.values()))
      if _sources(dataclasses.replace(form, without=without)) == rows
    ]
    flags = " or ".join(f"--without={','.join(w)}" for w in fit)
    raise ValueError(
      f"checkpoint with {rows} sources in the late module, wanted {wanted}:"
      f" pass {flags or 'another --without'}."
    )
  return E


def _sources(form: released.Form) -> int:
  """Rows of the late module's scores."""
  index = released.late(form, ("x",))[0].ours
  return len(index(np.arange(len(form.modalities) + 3)))


def _any(start, tensors) -> bool:
  return any(name.startswith(start) for name in tensors)


def _width(tensors, modalities) -> int:
  """E, of whatever ends or starts with that width."""
  for m in modalities:
    for name in (released.encoder_project(m), f"{m}_high_proj"):
      if f"{name}.weight" in tensors:
        return len(tensors[f"{name}.weight"])
  if "ehr_model.layer0.weight_hh_l0" in tensors:
    return tensors["ehr_model.layer0.weight_hh_l0"].shape[1]
  raise ValueError("checkpoint without encoders.")


def read(path, form: released.Form, width: int | None = None) -> dict:
  """Reads an authors' checkpoint (.pth.tar) into our tree; no code is run.

  Args:
    path: file with `state_dict` and the loss scalars, `weights` (tensor, list
      of numbers, or left out); whatever else is in it is not looked at.
    form: what is expected in it. What the file does not tell is taken on
      trust: with two modalities, a model without unimodal predictions and one
      without the joint module look alike.
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
  state = {
    k: v
    for k, v in state.items()
    if isinstance(k, str) and isinstance(v, np.ndarray)
  }
  try:
    tensors = plain(state)
    E = check(tensors, form, width)
    tensors["trainer_weights"] = _scalars(content.get("weights"))
    drop = released.unused(form, E)
    tensors = {
      k: np.asarray(v, np.float32)
      for k, v in tensors.items()
      if k not in drop and not released.ignored(k, form)
    }
    tree = names.load(tensors, released.entries_of(form, E, tensors))
  except ValueError as e:
    raise ValueError(f"{path}: {e}") from None
  if "joint" in form.without:
    tree["medpatch"]["loss_scalars"] = np.zeros(1, np.float32)
  return tree


def _scalars(weights) -> np.ndarray:
  """The loss scalars of high, low and late; equal where none are there."""
  if weights is None:
    return np.ones(3, np.float32)
  scalars = np.zeros(0)
  # Lists in lists could be of any size.
  if isinstance(weights, np.ndarray):
    scalars = np.asarray(weights, np.float32).reshape(-1)
  elif isinstance(weights, (list, tuple)) and all(
    isinstance(x, (int, float)) for x in weights
  ):
    scalars = np.array(weights, np.float32)
  if len(scalars) != 3:
    raise ValueError(
      "the loss scalars, `weights`, are not three numbers (high, low, late)."
    )
  return scalars


def write(path, tree: dict, form: released.Form, width: int) -> None:
  """Writes our tree as a checkpoint that the released code can load.

  Raises:
    ValueError: the tree is not of `form`, or the two notes' BERTs differ.
  """
  tree = {**tree, "medpatch": dict(tree["medpatch"])}
  scalars = np.ones(3, np.float32)
  if "joint" in form.without:
    tree["medpatch"].pop("loss_scalars", None)
  depths = _depth_names(tree)
  tensors = names.dump(tree, released.entries_of(form, width, depths))
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
