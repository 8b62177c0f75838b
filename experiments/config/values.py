"""Words of flags -> checked values.

All raise ValueError with the flag, what was given and what was wanted.
"""

import functools
import os
import re

from medpatch_jax import schema
from medpatch_jax.train.log import logger


def released(names) -> tuple[str, ...]:
  """Checked names of released behaviours; `all` stands for each."""
  if list(names) == ["all"]:
    return schema.RELEASED
  return among(names, schema.RELEASED, "as_released")


def late_pooling(raw) -> str:
  """--late_pooling; by default stacked, but mean of the method as published."""
  if raw["late_pooling"]:
    return raw["late_pooling"]
  published = raw["as_published"] or raw["as_released"] or raw["authors"]
  baseline = raw["model"] != "medpatch"
  return "mean" if published or baseline else "stacked"


def among(names, valid, flag) -> tuple[str, ...]:
  unknown = [name for name in names if name not in valid]
  if unknown:
    raise ValueError(
      f"--{flag}={','.join(names)}: {unknown[0]!r} is unknown; wanted some"
      f" of {', '.join(valid)}."
    )
  return tuple(name for name in valid if name in names)


# What brings a modality of MIMIC's, and of own tables by its kind.
SOURCES = {"cxr": "--mimic_cxr", "rr": "--mimic_note", "dn": "--mimic_note"}
TABLES = {
  "series": "events",
  "image": "images",
  "text": "notes",
  "embedding": "embeddings",
}


def modalities(names, described, task) -> tuple[str, ...]:
  """Those named, else all that a stay of the train split has.

  Args:
    names: of --modalities, or None.
    described: `dataset.Description`.
    task: its name.

  Raises:
    ValueError: one is unknown, or no stay of the train split has it.
  """
  unseen = described.unseen
  if not names:
    names = [m for m in described.inputs if m not in unseen]
    if not names:
      raise ValueError(
        f"{task}: no stay of the train split has any of"
        f" {', '.join(described.inputs)}; build the dataset with more stays, or"
        " another source."
      )
    if unseen:
      _say_left_out(task, unseen, tuple(_brought(described, unseen)))
  names = among(names, described.inputs, "modalities")
  if wrong := [m for m in names if m in unseen]:
    raise ValueError(
      f"--modalities={','.join(names)}: no stay of {task}'s train split has"
      f" {', '.join(wrong)}; leave it out, or build the dataset with"
      f" {' and '.join(_brought(described, wrong))}."
    )
  return names


def _brought(described, names) -> list[str]:
  """What a build takes to have these modalities."""
  mimic = tuple(described.kinds)[:4] == schema.MODALITIES
  found = [
    f"{SOURCES.get(m, '--embeddings')}=DIR"
    if mimic and (m in SOURCES or described.kinds[m] == "embedding")
    else f"its table {TABLES[described.kinds[m]]}"
    for m in names
  ]
  return list(dict.fromkeys(found))


@functools.cache
def _say_left_out(task, names, brought) -> None:
  """Once, however many runs a command makes."""
  logger.info(
    "%s: no stay of the train split has %s: left out (built with %s)",
    task,
    ", ".join(names),
    " and ".join(brought),
  )


def given_places(raw) -> None:
  """Refuses names of files and folders of weights where nothing is.

  Raises:
    ValueError: names the flag; says how to download what has a hub's name.
  """
  for flag in ("bert", "vit", "authors", "init_from"):
    path = raw[flag]
    if not path or os.path.exists(path):
      continue
    hint = "give the name of a file or folder"
    if re.fullmatch(r"([\w.-]+/)?[\w.-]+", path) and flag != "authors":
      name = path if "/" in path or flag != "vit" else f"timm/{path}"
      hint = (
        "nothing is downloaded here; if it is a name of the Hugging Face hub,"
        f" `hf download {name} --local-dir=DIR`, then --{flag}=DIR"
      )
    raise ValueError(f"--{flag}={path}: no such file or folder; {hint}.")


def need_text_encoder(raw, sizes, kinds) -> None:
  """Refuses notes where nothing makes an encoder of texts.

  Raises:
    ValueError: names the preset and the modalities.
  """
  text = [m for m, kind in kinds.items() if kind == "text"]
  pretrained = raw["bert"] or raw["init_from"]
  if text and not sizes.learn_text and not pretrained:
    raise ValueError(
      f"--preset={raw['preset']} keeps the text encoder frozen and needs a"
      " pretrained one: pass --bert=DIR (a Hugging Face folder), or leave"
      f" {','.join(text)} out of --modalities."
    )


def span(text: str | None) -> tuple[int, int] | None:
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


def _by_part(values, kinds, raw) -> dict:
  """A preset's values by kind -> by modality, and "fuse" of the model."""
  each = {m: values[kind] for m, kind in kinds.items()}
  if raw["model"] == "medpatch":
    stacked = raw["late_pooling"] == "stacked"
    return each | {"fuse": values["fuse_stacked" if stacked else "fuse"]}
  return each | {"fuse": values.get(raw["model"], values["baseline"])}


def rates(sizes, described, kinds, raw) -> dict[str, float]:
  """Learning rates by part: the flag's, else the preset's.

  MedPatch's of "fuse" depends on the number of labels.
  """
  rates = _by_part(sizes.learning_rate, kinds, raw)
  mean = raw["model"] == "medpatch" and raw["late_pooling"] != "stacked"
  if len(described.labels) == 1 and mean:
    rates["fuse"] = sizes.learning_rate["fuse_one_label"]
  given = raw["learning_rate"]
  return rates | _named(
    given, rates, "learning_rate", float, lambda x: x > 0, "a number above 0"
  )


def epochs(sizes, kinds, raw) -> dict[str, int]:
  """Most epochs by part: the flag's, else the preset's."""
  most = _by_part(sizes.epochs, kinds, raw)
  return most | _named(
    raw["epochs"], most, "epochs", int, lambda x: x >= 0, "a whole number"
  )


def thresholds(values, modalities, confidence) -> dict[str, float]:
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
