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
from medpatch_jax.export import names
from medpatch_jax.export.names import Entries

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
  """[P] of one label or [P, C] -> [P, C], positive as at their division."""

  def ours(x):
    return np.maximum(x.reshape(len(x), -1), np.float32(1e-9))

  def theirs(x):
    return x[:, 0] if num_labels == 1 else x

  return [names.Entry(f"{modality}_temperature", tuple(path), ours, theirs)]


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
  return entries + late(form, (*path, "late", "score"))


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


def late(form, path) -> Entries:
  """The table of scores, a row for each source."""
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
