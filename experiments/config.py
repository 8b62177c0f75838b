"""One frozen `Config` of a run, from flags or from a run's folder."""

import dataclasses
import importlib.util
import json
import pathlib
import re

from experiments import flags
from medpatch_jax import presets, schema
from medpatch_jax.input import channels, dataset, missing
from medpatch_jax.medpatch import WITHOUT
from medpatch_jax.train import loop, store

# Flags that only MedPatch has.
OF_MEDPATCH = (
  "calibration",
  "confidence",
  "threshold",
  "fuser",
  "without",
  "late_pooling",
  "loss_weights",
  "head",
  "authors",
)
# Flags that decide what a run computes: a workdir holds one value of each.
NAMES = (
  "data_dir",
  "task",
  "preset",
  "model",
  "modalities",
  "seed",
  "batch_size",
  "learning_rate",
  "schedule",
  "adam_b2",
  "clip",
  "epochs",
  "patience",
  "calibration",
  "calibration_steps",
  "confidence",
  "threshold",
  "fuser",
  "without",
  "late_pooling",
  "loss_weights",
  "head",
  "pairs",
  "train_fraction",
  "held_out",
  "missing_train",
  "modality_dropout",
  "hours_per_stay",
  "as_released",
  "bert",
  "vit",
  "ehr",
  "staleness",
  "deviation",
  "ehr_dropout",
  "clip_z",
  "classifier_norm",
  "augment",
  "finetune_encoders",
  "authors",
  "dtype",
  "init_from",
  "freeze",
)
# Flags that do not, but for rounding, with the value an evaluation takes.
SAFE = {
  "save_minutes": 1.0,
  "save_steps": None,
  "parallel": "pmap",
  "accumulate": 1,
  "remat": False,
  "profile": None,
  "wandb": None,
  "missing_test": (),
  "cache_gb": None,
}
# Of the first kind: what an encoder and its token confidence depend on,
TRAINING = (
  "data_dir",
  "task",
  "preset",
  "pairs",
  "train_fraction",
  "held_out",
  "missing_train",
  "hours_per_stay",
  "seed",
  "batch_size",
  "schedule",
  "adam_b2",
  "clip",
  "patience",
  "classifier_norm",
  "authors",
  "dtype",
  "init_from",
  "freeze",
)
# and for each kind of encoder beside, flags and released behaviours,
OF_KIND = {
  "series": (
    ("ehr", *channels.ADDED, "ehr_dropout", "clip_z"),
    ("padding_tokens",),
  ),
  "image": (("vit", "augment"), ("image_norm", "mirror")),
  "text": (("bert",), ("padding_tokens",)),
}
FILES = ("authors", "vit", "bert", "init_from")
# then what temperatures and pools depend on.
CALIBRATION = ("calibration", "calibration_steps")
POOLING = ("absent_tokens", "ehr_uncalibrated", "entropy_direction")


@dataclasses.dataclass(frozen=True)
class Config:
  """A run, as values."""

  data_dir: str
  task: str
  workdir: pathlib.Path
  preset: str
  model: str
  sizes: presets.Preset
  modalities: tuple[str, ...]
  flag_order: tuple[str, ...]
  kinds: dict[str, str]
  settings: loop.Settings
  learning_rates: dict[str, float]
  epochs: dict[str, int]
  batch_size: int
  calibration: str
  calibration_steps: int
  confidence: str
  thresholds: dict[str, float]
  fuser: str
  without: tuple[str, ...]
  late_pooling: str
  loss_weights: str
  head: str
  pairs: str
  train_fraction: float
  held_out: float
  missing_train: missing.Rates
  missing_test: missing.Rates
  modality_dropout: float
  hours_per_stay: int
  as_released: tuple[str, ...]
  parallel: str
  bert: str | None
  vit: str | None
  ehr: str
  staleness: bool
  deviation: bool
  ehr_dropout: float
  clip_z: float | None
  classifier_norm: bool
  augment: bool
  finetune_encoders: bool
  authors: str | None
  dtype: str
  remat: bool
  init_from: str | None
  freeze: str | None
  share: pathlib.Path | None
  cache_gb: float | None
  given: dict

  @classmethod
  def from_flags(cls, f, **override) -> "Config":
    """Builds and checks the configuration.

    Args:
      f: parsed absl flags, or any object with their names.
      **override: values that replace a flag's.

    Raises:
      ValueError: a flag is missing, unknown or out of range, or two do not go
        together; the message names the flag and what it takes.
    """

    def get(name):
      return override[name] if name in override else getattr(f, name)

    for name in ("data_dir", "workdir"):
      if not get(name):
        raise ValueError(f"--{name} is missing: pass a folder.")
    given = {name: get(name) for name in NAMES}
    given["data_dir"] = str(pathlib.Path(given["data_dir"]).absolute())
    given["as_released"] = _released(get("as_released"))
    for name in ("clip", "train_fraction"):
      if given[name] is not None and not given[name] > 0:
        raise ValueError(f"--{name}={given[name]}: wanted a number above 0.")
    sizes = presets.PRESETS[get("preset")]
    described = dataset.describe(get("data_dir"), get("task"))
    modalities = _among(
      get("modalities") or described.inputs, described.inputs, "modalities"
    )
    kinds = {m: described.kinds[m] for m in modalities}
    without = _among(get("without"), WITHOUT, "without")
    text = [m for m in modalities if kinds[m] == "text"]
    pretrained = get("bert") or get("init_from")
    if text and not sizes.learn_text and not pretrained:
      raise ValueError(
        f"--preset={get('preset')} keeps the text encoder frozen and needs a"
        " pretrained one: pass --bert=DIR (a Hugging Face folder), or leave"
        f" {','.join(text)} out of --modalities."
      )
    settings = loop.Settings(
      schedule=get("schedule") or sizes.schedule,
      b2=get("adam_b2"),
      clip=get("clip"),
      patience=get("patience") or sizes.patience,
      seed=get("seed"),
      save_minutes=get("save_minutes"),
      save_steps=get("save_steps"),
      accumulate=get("accumulate"),
      profile=_span(get("profile")),
      wandb=get("wandb"),
    )
    _together(get, without, kinds)
    if get("model") != "medpatch":
      _baseline(f, get, kinds)
    return cls(
      data_dir=str(get("data_dir")),
      task=get("task"),
      workdir=pathlib.Path(get("workdir")),
      preset=get("preset"),
      model=get("model"),
      sizes=sizes,
      modalities=modalities,
      flag_order=tuple(get("modalities") or modalities),
      kinds=kinds,
      settings=settings,
      learning_rates=_rates(sizes, described, kinds, get),
      epochs=_epochs(sizes, kinds, get),
      batch_size=get("batch_size") or sizes.batch_size,
      calibration=get("calibration"),
      calibration_steps=get("calibration_steps"),
      confidence=get("confidence"),
      thresholds=_thresholds(get("threshold"), modalities, get("confidence")),
      fuser=get("fuser"),
      without=without,
      late_pooling=get("late_pooling"),
      loss_weights=get("loss_weights"),
      head=get("head"),
      pairs=get("pairs"),
      train_fraction=get("train_fraction"),
      held_out=get("held_out"),
      missing_train=missing.parse(
        get("missing_train"), modalities, "missing_train"
      ),
      missing_test=missing.parse(
        get("missing_test"), modalities, "missing_test"
      ),
      modality_dropout=get("modality_dropout"),
      hours_per_stay=get("hours_per_stay"),
      as_released=given["as_released"],
      parallel=get("parallel"),
      bert=get("bert"),
      vit=get("vit"),
      ehr=get("ehr"),
      staleness=get("staleness"),
      deviation=get("deviation"),
      ehr_dropout=get("ehr_dropout"),
      clip_z=get("clip_z"),
      classifier_norm=get("classifier_norm"),
      augment=sizes.augment if get("augment") is None else get("augment"),
      finetune_encoders=get("finetune_encoders"),
      authors=get("authors"),
      dtype=get("dtype"),
      remat=get("remat"),
      init_from=get("init_from"),
      freeze=get("freeze"),
      share=pathlib.Path(get("share")) if get("share") else None,
      cache_gb=get("cache_gb"),
      given=given,
    )

  @classmethod
  def from_workdir(cls, workdir, share=None, **override) -> "Config":
    """The configuration of a run that was trained in `workdir`.

    Args:
      workdir: its folder.
      share: the folder it shared encoders in, if it did.
      **override: values of flags that do not change what was trained.

    Raises:
      ValueError: nothing was trained there, or by another version.
    """
    path = pathlib.Path(workdir or ".") / "config.json"
    if not workdir or not path.exists():
      raise ValueError(
        f"--workdir={workdir}: holds no trained run ({path.name} is missing);"
        " train first with python -m experiments.train."
      )
    given = json.loads(path.read_text("utf-8"))
    if set(given) != set(NAMES):
      odd = ", ".join(sorted(set(given) ^ set(NAMES)))
      raise ValueError(
        f"{path}: written by another version of this code (it and ours differ in"
        f" {odd}); evaluate with that version, or train again."
      )
    values = SAFE | given | {"workdir": workdir, "share": share} | override
    return cls.from_flags(None, **values)

  @property
  def results(self) -> pathlib.Path:
    """Folder of the test results: the run's, or one of it for what is missing."""
    if not self.missing_test:
      return self.workdir
    return self.workdir / "missing" / missing.name(self.missing_test)

  def key(self, stage: str, m: str, split: str | None = None) -> dict:
    """Everything that a stage's result for one modality depends on.

    But for what is computed before it. A store or checkpoint of another key
    is never taken for this one.

    Args:
      stage: unimodal, confidence, calibrate, pools, tokens or summaries.
      m: modality.
      split: of the last three.
    """
    names, behaviours = OF_KIND[self.kinds[m]]
    names = (*TRAINING, *names)
    own = {
      "stage": stage,
      "modality": m,
      "learning_rate": self.learning_rates[m],
      "epochs": self.epochs[m],
    }
    if self.pairs == "paired":
      own["modalities"] = self.modalities
    if split == "test":
      own["missing"] = missing.name(self.missing_test)
    if stage in ("calibrate", "pools"):
      names += CALIBRATION
    if stage == "pools":
      behaviours += POOLING
      own |= {"confidence": self.confidence, "threshold": self.thresholds[m]}
    if stage in ("tokens", "summaries"):
      behaviours += ("absent_tokens",)
    own["as_released"] = [n for n in self.as_released if n in behaviours]
    # Of files, what is in them: one may be replaced under its name.
    return own | {
      name: store.content(self.given[name])
      if name in FILES and self.given[name]
      else self.given[name]
      for name in names
    }


def _released(names) -> tuple[str, ...]:
  """Checked names of released behaviours; `all` stands for each."""
  if list(names) == ["all"]:
    return schema.RELEASED
  return _among(names, schema.RELEASED, "as_released")


def _among(names, valid, flag) -> tuple[str, ...]:
  unknown = [name for name in names if name not in valid]
  if unknown:
    raise ValueError(
      f"--{flag}={','.join(names)}: {unknown[0]!r} is unknown; wanted some"
      f" of {', '.join(valid)}."
    )
  return tuple(name for name in valid if name in names)


def _together(get, without, kinds) -> None:
  """Refuses flags that contradict each other."""
  if get("save_steps") and get("save_minutes") != SAFE["save_minutes"]:
    raise ValueError("--save_steps is instead of --save_minutes: pass one.")
  if get("wandb") and not importlib.util.find_spec("wandb"):
    raise ValueError(
      f"--wandb={get('wandb')}: the package wandb is not installed; install it,"
      " or leave the flag out."
    )
  if set(without) == set(WITHOUT):
    raise ValueError("--without leaves no prediction: leave one module in.")
  if "joint" in without and get("head") not in ("validation", "late"):
    raise ValueError(
      f"--head={get('head')} averages the joint module's predictions, which"
      " --without=joint leaves out: pass --head=late."
    )
  released = _released(get("as_released"))
  if get("late_pooling") == "sum" and "late_norm" in released:
    raise ValueError(
      "--as_released=late_norm is of --late_pooling=mean: leave one out."
    )
  if get("modality_dropout") and "absent_tokens" in released:
    raise ValueError(
      "--modality_dropout hides what --as_released=absent_tokens shows; leave"
      " one out."
    )
  if get("held_out") and get("model") in ("joint", flags.RAW):
    raise ValueError(
      f"--held_out is of a stage 3 on frozen encoders; --model={get('model')}"
      " learns all at once: leave it out."
    )
  if get("ehr_dropout") and get("ehr") != "lstm":
    raise ValueError(
      f"--ehr_dropout is of --ehr=lstm; --ehr={get('ehr')} has its own."
    )
  if get("freeze") and not get("init_from"):
    raise ValueError(
      f"--freeze={get('freeze')} keeps what --init_from brings: pass it, too."
    )
  if get("init_from") and get("authors"):
    raise ValueError(
      "--init_from and --authors both bring encoders: leave one out."
    )
  if not get("authors"):
    return
  if "text" in kinds.values() and not get("bert"):
    raise ValueError(
      "--authors holds no vocabulary: pass --bert=DIR, the folder of the text"
      " encoder it was made with."
    )
  for name, wanted in (
    ("ehr", "lstm"),
    ("staleness", False),
    ("deviation", False),
    ("classifier_norm", True),
    ("calibration", "position"),
    ("late_pooling", "mean"),
    ("held_out", 0.0),
  ):
    if get(name) != wanted:
      raise ValueError(
        f"--{name}={get(name)}: --authors brings its own, {wanted}; leave"
        f" --{name} out."
      )


def _span(text: str | None) -> tuple[int, int] | None:
  """--profile, START:STOP, as two numbers."""
  if text is None:
    return None
  found = re.fullmatch(r"(\d+):(\d+)", text)
  if not found or not int(found[1]) < int(found[2]):
    raise ValueError(
      f"--profile={text}: wanted START:STOP, two numbers of updates, START the"
      " smaller."
    )
  return int(found[1]), int(found[2])


def _baseline(f, get, kinds) -> None:
  """Refuses flags that a baseline has no place for."""
  model = get("model")
  for name in OF_MEDPATCH:
    default = f[name].default if f is not None else get(name)
    if get(name) != default:
      raise ValueError(
        f"--{name} is MedPatch's, --model={model} has no such part; leave it"
        " out."
      )
  if model == "unimodal" and len(kinds) != 1:
    raise ValueError(
      f"--model=unimodal takes one modality, not {', '.join(kinds)}: pass"
      f" --modalities={next(iter(kinds))}, or another."
    )
  if get("vit") and model == flags.RAW:
    raise ValueError(
      f"--vit={get('vit')}: --model={model} reads pixels; leave it out."
    )
  if get("finetune_encoders") and model in ("unimodal", "early", "late"):
    raise ValueError(
      f"--model={model} keeps its encoders as stage 1 left them; pass"
      " --model=joint to train them on."
    )


def _by_part(values, kinds, get) -> dict:
  """A preset's values by kind -> by modality, and "fuse" of the model."""
  each = {m: values[kind] for m, kind in kinds.items()}
  if get("model") == "medpatch":
    return each | {"fuse": values["fuse"]}
  return each | {"fuse": values.get(get("model"), values["baseline"])}


def _rates(sizes, described, kinds, get) -> dict[str, float]:
  """Learning rates by part: the flag's, else the preset's.

  MedPatch's of "fuse" depends on the number of labels.
  """
  rates = _by_part(sizes.learning_rate, kinds, get)
  if len(described.labels) == 1 and get("model") == "medpatch":
    rates["fuse"] = sizes.learning_rate["fuse_one_label"]
  given = get("learning_rate")
  return rates | _named(
    given, rates, "learning_rate", float, lambda x: x > 0, "a number above 0"
  )


def _epochs(sizes, kinds, get) -> dict[str, int]:
  """Most epochs by part: the flag's, else the preset's."""
  most = _by_part(sizes.epochs, kinds, get)
  return most | _named(
    get("epochs"), most, "epochs", int, lambda x: x >= 0, "a whole number"
  )


def _thresholds(values, modalities, confidence) -> dict[str, float]:
  low, high, default = (
    (0.0, 1.0, 0.8113) if confidence == "entropy" else (0.5, 1.0, 0.75)
  )
  return dict.fromkeys(modalities, default) | _named(
    values,
    modalities,
    "threshold",
    float,
    lambda x: low <= x <= high,
    f"a number in [{low}, {high}]",
  )


def _named(values, names, flag, kind, good, wanted) -> dict:
  """Words of a flag, `number` for all names or `name=number`, as a dict.

  Args:
    values: the words, later ones replace earlier ones; None for none.
    names: those that may be named.
    flag: its name, for the message.
    kind: float or int.
    good: whether a number may be given.
    wanted: what a good one is, in words.
  """
  out = {}
  for value in values or ():
    name, _, word = str(value).rpartition("=")
    try:
      number = kind(word)
    except ValueError:
      number = None
    if number is None or not good(number) or (name and name not in names):
      raise ValueError(
        f"--{flag}={value}: wanted {wanted}, or name=number with a name of"
        f" {', '.join(names)}."
      )
    out.update({name: number} if name else dict.fromkeys(names, number))
  return out
