"""One frozen `Config` of a run, from flags or from a run's folder."""

import dataclasses
import pathlib

from experiments.config import refusals, values
from experiments.config.given import (
  CALIBRATION,
  FILES,
  NAMES,
  OF_KIND,
  POOLING,
  SAFE,
  TRAINING,
)
from medpatch_jax import files, presets
from medpatch_jax.input import dataset, missing
from medpatch_jax.medpatch import WITHOUT
from medpatch_jax.train import loop, store


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
  cross_fit: int | None
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
  wandb: str | None
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

    if get("model") != "medpatch":
      refusals.refuse_of_baseline(f, get)
    override["late_pooling"] = values.late_pooling(get)
    for name in ("data_dir", "workdir"):
      if not get(name):
        raise ValueError(f"--{name} is missing: pass a folder.")
    given = {name: get(name) for name in NAMES}
    given["data_dir"] = str(pathlib.Path(given["data_dir"]).absolute())
    given["as_released"] = values.released(get("as_released"))
    for name in ("clip", "train_fraction"):
      if given[name] is not None and not given[name] > 0:
        raise ValueError(f"--{name}={given[name]}: wanted a number above 0.")
    sizes = presets.PRESETS[get("preset")]
    if get("max_note_windows"):
      windows = get("max_note_windows")
      sizes = dataclasses.replace(sizes, max_windows=windows)
    described = dataset.describe(get("data_dir"), get("task"))
    modalities = values.modalities(get("modalities"), described, get("task"))
    kinds = {m: described.kinds[m] for m in modalities}
    without = values.among(get("without"), WITHOUT, "without")
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
      profile=values.span(get("profile")),
    )
    refusals.refuse(get, without, kinds)
    if f is not None:  # A run that is read back may do without.
      values.given_places(get)
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
      learning_rates=values.rates(sizes, described, kinds, get),
      epochs=values.epochs(sizes, kinds, get),
      batch_size=get("batch_size") or sizes.batch_size,
      calibration=get("calibration"),
      calibration_steps=get("calibration_steps"),
      confidence=get("confidence"),
      thresholds=values.thresholds(
        get("threshold"), modalities, get("confidence")
      ),
      fuser=get("fuser"),
      without=without,
      late_pooling=get("late_pooling"),
      cross_fit=get("cross_fit"),
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
      wandb=get("wandb"),
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
    given = files.read_json(
      path,
      dict,
      "give the command of the training again, with its flags, once it is"
      " deleted.",
    )
    if set(given) != set(NAMES):
      odd = ", ".join(sorted(set(given) ^ set(NAMES)))
      raise ValueError(
        f"{path}: written by another version of this code (it and ours differ in"
        f" {odd}); evaluate with that version, or train again."
      )
    known = SAFE | given | {"workdir": workdir, "share": share} | override
    try:
      return cls.from_flags(None, **known)
    except (KeyError, TypeError, AttributeError) as error:
      raise files.Damaged(
        f"{path}: a field is of another kind ({error!r}); delete it and give the"
        " command of the training again, with its flags."
      ) from None

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
