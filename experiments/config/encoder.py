"""What the encoders are, and where they start from."""

import dataclasses

from experiments.config.flag import PATH, Affects, choice
from experiments.config.names import EHR
from medpatch_jax import presets


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
  """Choices of the encoders."""

  preset: str = choice(
    "tiny",
    str,
    Affects.ENCODER,
    "Sizes of the model: base as published, tiny for two cores.",
    choices=tuple(presets.PRESETS),
    paper="base",
    released="base",
  )
  ehr: str = choice(
    "lstm",
    str,
    Affects.SERIES,
    "Encoder of the hourly series. additive is a generalised additive model,"
    " with pairwise interactions, of what was measured so far"
    " (medpatch_jax/encode/additive.py; docs/challenge2012.md tells how it did).",
    choices=EHR,
    paper="LSTM",
    released="both, the transformer over variables",
    of_authors="lstm",
  )
  staleness: bool = choice(
    False,
    bool,
    Affects.SERIES,
    "The series gets, for each variable, a channel of the time since it was"
    " measured.",
    of_authors=False,
  )
  deviation: bool = choice(
    False,
    bool,
    Affects.SERIES,
    "The series gets, for each variable that is a number, a channel of how far"
    " it is from its mean, above or below.",
    of_authors=False,
  )
  ehr_dropout: float = choice(
    0.0,
    float,
    Affects.SERIES,
    "Share of the LSTM's summary dropped in training of stage 1.",
    low=0.0,
    high=0.9,
  )
  clip_z: float | None = choice(
    None,
    float,
    Affects.SERIES,
    "Values of the series further than this many standard deviations from"
    " their mean are cut there.",
    low=1.0,
  )
  classifier_norm: bool = choice(
    True,
    bool,
    Affects.ENCODER,
    "A LayerNorm comes before the Dense of each modality's own classifier, as in"
    " the paper.",
    paper="yes",
    released="yes",
    of_authors=True,
  )
  augment: bool = choice(
    None,
    bool,
    Affects.IMAGE,
    "Radiographs are rotated, shifted and scaled in training.",
    preset="augment",
    unset="by preset: yes of `base`, no of `tiny`",
    paper="yes",
    released="yes, see mirror",
  )
  vit: str | None = choice(
    None,
    PATH,
    Affects.IMAGE,
    "timm checkpoint of ViT-S/16 for the radiographs.",
    values="timm checkpoint",
    paper="ViT-S/16 at 384",
    released="ViT-S/16 at 384",
    content=True,
  )
  bert: str | None = choice(
    None,
    PATH,
    Affects.TEXT,
    "Hugging Face folder of a pretrained BERT-type encoder for the notes.",
    values="Hugging Face folder",
    unset="none; base needs it",
    paper="BioBERT",
    released="Bio_ClinicalBERT",
    content=True,
  )
  authors: str | None = choice(
    None,
    PATH,
    Affects.ENCODER,
    "Checkpoint (.pth.tar) of the authors' code to go on from: its encoders,"
    " confidence heads and temperatures are taken as they are, stage 3 starts"
    " from its parameters (--epochs=0 takes these as they are, too).",
    values=".pth.tar of the released code",
    content=True,
    of_medpatch=True,
  )
  init_from: str | None = choice(
    None,
    PATH,
    Affects.ENCODER,
    "Exported folder, timm checkpoint, Hugging Face folder or the authors'"
    " .pth.tar to start from (docs/export.md): what fits by name and shape is"
    " taken, and the vocabulary.",
    values="exported folder, timm checkpoint, Hugging Face folder, .pth.tar of"
    " the released code",
    content=True,
  )
  freeze: str | None = choice(
    None,
    str,
    Affects.ENCODER,
    "What --init_from brings of the encoders stays as it is: only what is new"
    " of them, heads, confidence, temperatures and fusion are fitted.",
    choices=("encoders",),
    values="encoders; needs `--init_from`",
  )
