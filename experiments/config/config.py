"""One frozen `Config` of a run, from flags or from a run's folder."""

import dataclasses
import pathlib

from experiments.config import flag, refusals, values
from experiments.config.confidence import Confidence
from experiments.config.data import Data
from experiments.config.encoder import Encoder
from experiments.config.flag import FREE, OF_KIND, PATH, Affects
from experiments.config.fusion import Fusion
from experiments.config.machine import Machine
from experiments.config.optimisation import Optimisation
from medpatch_jax import files, presets
from medpatch_jax.input import dataset, missing
from medpatch_jax.medpatch import WITHOUT
from medpatch_jax.train import loop, store

GROUPS = (Data, Encoder, Confidence, Fusion, Optimisation, Machine)
# Results of a modality -> what of `Affects` they depend on, beside its encoder.
STAGES = {
  "unimodal": (),
  "confidence": (),
  "calibrate": (Affects.TEMPERATURE,),
  "pools": (Affects.TEMPERATURE, Affects.POOLS),
  "token_calibration": (),
  "tokens": (Affects.ENCODINGS,),
  "summaries": (Affects.ENCODINGS,),
}
# What each behaviour of --as_released decides.
BEHAVIOURS = {
  "image_norm": (Affects.IMAGE,),
  "mirror": (Affects.IMAGE,),
  "padding_tokens": (Affects.SERIES, Affects.TEXT),
  "absent_tokens": (Affects.POOLS, Affects.ENCODINGS),
  "ehr_uncalibrated": (Affects.POOLS,),
  "entropy_direction": (Affects.POOLS,),
  "late_norm": (Affects.FUSION,),
  "presence_order": (Affects.FUSION,),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Data, Encoder, Confidence, Fusion, Optimisation, Machine):
  """A run, as values: of every flag the one that holds, and what follows.

  Attributes:
    sizes: the preset, with what flags replace of it.
    kinds: modality -> series, image, text or embedding.
    flag_order: the modalities as --modalities names them.
    given: every recorded flag as it was given; config.json of the workdir.
  """

  sizes: presets.Preset
  kinds: dict[str, str]
  flag_order: tuple[str, ...]
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
    raw = {
      name: override[name] if name in override else getattr(f, name)
      for name in FLAGS
    }
    for name in ("data_dir", "workdir"):
      if not raw[name]:
        raise ValueError(f"--{name} is missing: pass a folder.")
    for name, one in FLAGS.items():
      one.check(name, raw[name])
    if raw["model"] != "medpatch" and f is not None:
      refusals.refuse_of_baseline(FLAGS, raw)
    raw["late_pooling"] = values.late_pooling(raw)
    given = {name: raw[name] for name in RECORDED}
    given["data_dir"] = str(pathlib.Path(raw["data_dir"]).absolute())
    given["as_released"] = values.released(raw["as_released"])
    sizes = presets.PRESETS[raw["preset"]]
    if raw["max_note_windows"]:
      windows = raw["max_note_windows"]
      sizes = dataclasses.replace(sizes, max_windows=windows)
    described = dataset.describe(raw["data_dir"], raw["task"])
    modalities = values.modalities(raw["modalities"], described, raw["task"])
    kinds = {m: described.kinds[m] for m in modalities}
    without = values.among(raw["without"], WITHOUT, "without")
    values.need_text_encoder(raw, sizes, kinds)
    read = {
      "data_dir": str(raw["data_dir"]),
      "workdir": pathlib.Path(raw["workdir"]),
      "share": pathlib.Path(raw["share"]) if raw["share"] else None,
      "profile": values.span(raw["profile"]),
      "modalities": modalities,
      "without": without,
      "as_released": given["as_released"],
      "learning_rate": values.rates(sizes, described, kinds, raw),
      "epochs": values.epochs(sizes, kinds, raw),
      "threshold": values.thresholds(
        raw["threshold"], modalities, raw["confidence"]
      ),
    }
    for name in ("missing_train", "missing_test"):
      read[name] = missing.parse(raw[name], modalities, name)
    refusals.refuse(raw, without, kinds)
    refusals.refuse_with_authors(FLAGS, raw, kinds)
    if f is not None:  # A run that is read back may do without.
      values.given_places(raw)
    of_preset = {
      name: getattr(sizes, one.preset)
      for name, one in FLAGS.items()
      if one.preset and raw[name] is None
    }
    order = tuple(raw["modalities"] or modalities)
    return cls(
      **raw | of_preset | read,
      sizes=sizes,
      kinds=kinds,
      flag_order=order,
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
    if set(given) != set(RECORDED):
      odd = ", ".join(sorted(set(given) ^ set(RECORDED)))
      raise ValueError(
        f"{path}: written by another version of this code (it and ours differ in"
        f" {odd}); evaluate with that version, or train again."
      )
    free = {name: FLAGS[name].default for name in FLAGS if name not in given}
    known = free | given | {"workdir": workdir, "share": share} | override
    try:
      return cls.from_flags(None, **known)
    except (KeyError, TypeError, AttributeError) as error:
      raise files.Damaged(
        f"{path}: a field is of another kind ({error!r}); delete it and give the"
        " command of the training again, with its flags."
      ) from None

  @property
  def settings(self) -> loop.Settings:
    """What the loop takes."""
    return loop.Settings(
      schedule=self.schedule,
      b2=self.adam_b2,
      clip=self.clip,
      patience=self.patience,
      seed=self.seed,
      save_minutes=self.save_minutes,
      save_steps=self.save_steps,
      accumulate=self.accumulate,
      profile=self.profile,
    )

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
      stage: a name of `STAGES`.
      m: modality.
      split: of pools, tokens and summaries.
    """
    reach = {Affects.ENCODER, OF_KIND[self.kinds[m]], *STAGES[stage]}
    key = {"stage": stage, "modality": m}
    if self.pairs == "paired":
      key["modalities"] = self.modalities
    if split == "test":
      key["missing"] = missing.name(self.missing_test)
    for name, one in FLAGS.items():
      if one.affects in reach:
        key[name] = self._part(name, m)
    key["as_released"] = [
      name for name in self.as_released if reach & set(BEHAVIOURS[name])
    ]
    return key

  def _part(self, name: str, m: str):
    """A flag's value, as far as a result of modality `m` depends on it."""
    if FLAGS[name].by_part:
      return getattr(self, name)[m]
    value = self.given[name]
    # Of files, what is in them: one may be replaced under its name.
    return store.content(value) if FLAGS[name].content and value else value

  def of_module(self, module: str) -> dict:
    """Values of the flags that are fields of a module of the method."""
    return {
      name: getattr(self, name)
      for name, one in FLAGS.items()
      if one.module == module
    }

  def training(self) -> dict[str, str]:
    """The recorded flags as a model card shows them: no place, nothing unset."""
    shown = {
      name: "given" if FLAGS[name].kind is PATH else value
      for name, value in self.given.items()
      if name != "data_dir" and value is not None and value not in ([], ())
    }
    return {
      name: ",".join(map(str, v)) if isinstance(v, (list, tuple)) else v
      for name, v in shown.items()
    }


FLAGS = flag.of(*GROUPS)
# Those that decide what a run computes: a workdir holds one value of each.
RECORDED = tuple(n for n, one in FLAGS.items() if one.affects not in FREE)
