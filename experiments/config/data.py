"""Which stays a run learns from, and what it sees of them."""

import dataclasses

from experiments.config.flag import PATH, Affects, choice
from medpatch_jax.input import missing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """Choices of the data; `Flag.affects` says how far each one reaches."""

  data_dir: str = choice(
    None,
    PATH,
    Affects.ENCODER,
    "Folder that data.build wrote.",
    values="a folder",
    unset="none; it has to be given",
  )
  task: str = choice(
    "phenotyping",
    str,
    Affects.ENCODER,
    "What to predict: the name of a dataset in data_dir.",
    values="a dataset in `--data_dir`",
    paper="both",
    released="both",
  )
  # One that is left out takes no part; those left are trained alike.
  modalities: tuple[str, ...] = choice(
    None,
    list,
    Affects.FUSION,
    "Subset of the dataset's to learn from, as ehr,cxr. The order matters to"
    " presence_order only.",
    values="any subset of the dataset's: ehr, cxr, rr, dn of MIMIC's (no dn in"
    " mortality)",
    unset="all of the task",
    paper="two, three or four",
    released="the order of its flag matters, see presence_order",
    reaches="stage 3; with --pairs=paired every encoder",
  )
  pairs: str = choice(
    "partial",
    str,
    Affects.ENCODER,
    "Train on all stays, or only on those with every modality.",
    choices=("partial", "paired"),
    paper="both",
    released="both",
  )
  train_fraction: float = choice(
    1.0,
    float,
    Affects.ENCODER,
    "Share of the train split's patients to learn from.",
    above=0.0,
    high=1.0,
  )
  held_out: float = choice(
    0.0,
    float,
    Affects.ENCODER,
    "Share of these patients that encoders and their confidence do not see, and"
    " that stage 3 learns from, and from no others (stacking; Wolpert 1992).",
    low=0.0,
    high=0.9,
    of_authors=0.0,
  )
  missing_train: missing.Rates = choice(
    [],
    list,
    Affects.ENCODER,
    "Share of the stays of train and validation that modalities are taken"
    " from: rate, modality=rate, or modality=rate:rate, the second for stays"
    " with the label, or of several with more than the median stay.",
    values="rate, modality=rate, modality=rate:rate",
  )
  missing_test: missing.Rates = choice(
    [],
    list,
    Affects.RESULTS,
    "The same for the test split; not a matter of training.",
    values="rate, modality=rate, modality=rate:rate",
  )
  hours_per_stay: int = choice(
    8,
    int,
    Affects.ENCODER,
    "Of a task that predicts at every hour (decompensation, length_of_stay):"
    " hours of a stay that train and validation take, spread over it; 0 for"
    " all. The test split has all.",
    low=0,
  )
  max_note_windows: int = choice(
    None,
    int,
    Affects.TEXT,
    "Windows that are read of a stay's notes of one kind, the earliest; what is"
    " beyond is dropped, and the log and results.json count the windows and the"
    " stays this happens to.",
    low=1,
    preset="max_windows",
    unset="16 of `base` (8,160 word pieces), 4 of `tiny` (504)",
  )
