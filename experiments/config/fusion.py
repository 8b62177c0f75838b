"""Which model is trained on top of the encoders, and how its parts are made."""

import dataclasses

from experiments.config.flag import Affects, choice
from experiments.config.names import HEADS, LOSS_WEIGHTS, MODELS
from medpatch_jax import schema, stacking
from medpatch_jax.joint import FUSERS
from medpatch_jax.medpatch import LATE_POOLINGS, WITHOUT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fusion:
  """Choices of stage 3."""

  model: str = choice(
    "medpatch",
    str,
    Affects.FUSION,
    "MedPatch, or a baseline on the same encoders.",
    choices=MODELS,
    paper="medpatch, unimodal, early, joint, late, medfuse, metra, healnet",
  )
  fuser: str = choice(
    "concat",
    str,
    Affects.FUSION,
    "How the joint module puts modalities together: concat, bilinear (concat"
    " and products of any two), or a sequence model over them.",
    choices=FUSERS,
    paper="concat",
    released="concat, lstm, transformer",
    of_medpatch=True,
    module="medpatch",
  )
  without: tuple[str, ...] = choice(
    [],
    list,
    Affects.FUSION,
    "Modules left out.",
    choices=WITHOUT,
    values=f"{', '.join(WITHOUT)}; not all three",
    paper="Table 5",
    released="without_late_module is ours without unimodal",
    of_medpatch=True,
    module="medpatch",
  )
  as_published: bool = choice(
    False,
    bool,
    Affects.NOTHING,  # What it decides is recorded with --late_pooling.
    "The method of the paper: --late_pooling is mean by default, with its heads."
    " --as_released, --authors and experiments.paper imply it.",
    paper="yes",
    released="yes",
    reaches="the default of --late_pooling",
  )
  late_pooling: str = choice(
    None,
    str,
    Affects.FUSION,
    "Late head: stacked, a sum of what every source says beyond the base rate"
    " with products of any two modalities, its weights fitted on stays that no"
    " encoder learned from; mean of the logits of the sources a stay has"
    " (published); or sum of their evidence (log odds beyond the base rate),"
    " as of independent modalities.",
    choices=LATE_POOLINGS,
    unset="stacked; mean with `--as_published`",
    paper="mean",
    released="mean",
    of_medpatch=True,
    of_authors="mean",
    module="medpatch",
  )
  cross_fit: int | None = choice(
    None,
    int,
    Affects.FUSION,
    "Encoders trained beside each one, every one without another part of the"
    " patients of train, so that --late_pooling=stacked fits its weights on"
    " stays of train, too. 0 fits them on validation alone.",
    low=0,
    values="0, or 2 or more",
    unset=f"{stacking.FOLDS} where validation has fewer than {stacking.FEW}"
    " cases over all labels, else 0",
    paper="not there",
    released="not there",
    of_medpatch=True,
  )
  loss_weights: str = choice(
    "learned",
    str,
    Affects.FUSION,
    "Weights of the losses of high, low and late.",
    choices=LOSS_WEIGHTS,
    paper="learned",
    released="learned",
    of_medpatch=True,
  )
  head: str = choice(
    "validation",
    str,
    Affects.FUSION,
    "The reported head: fixed, or validation, the first of the others that is"
    " within one standard error of the best there.",
    choices=("validation", *HEADS),
    paper="not said",
    released="the best of five on TEST",
    of_medpatch=True,
  )
  modality_dropout: float = choice(
    0.0,
    float,
    Affects.FUSION,
    "Share of a stay's modalities hidden in each update of stage 3, for every"
    " model and every head as if they were absent; one is always left.",
    low=0.0,
    high=0.9,
  )
  finetune_encoders: bool = choice(
    False,
    bool,
    Affects.FUSION,
    "Stage 3 trains a copy of the encoders for features; confidences still"
    " come from the frozen ones.",
    paper="its figure shows two copies",
    released="never: the copies are one",
  )
  # Each behaviour reaches as far as config.BEHAVIOURS says.
  as_released: tuple[str, ...] = choice(
    [],
    list,
    Affects.ENCODER,
    "Behaviours of the released code to restore (docs/deviations.md), or all.",
    values=f"{', '.join(schema.RELEASED)}, or all",
    released="all",
    reaches="what each behaviour reaches",
  )
