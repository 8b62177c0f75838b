"""Sweeps as values: what `experiments.ablate` trains and holds side by side."""

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Callable

from medpatch_jax import baselines, files, schema
from medpatch_jax.joint import FUSERS


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a table.

  Attributes:
    name: shown, and the name of its folder.
    flags: of experiments.train, as on the command line.
    reference: name of the row it is compared with; none for such a row.
    trained: name of the row whose training it takes and only tests otherwise,
      with --missing_test.
  """

  name: str
  flags: tuple[str, ...] = ()
  reference: str | None = None
  trained: str | None = None


def _deviations(modalities):
  """Each behaviour of the released code alone, beside the method as published.

  A switch that only acts on another option is compared with that option.
  """
  del modalities
  special = {"mirror": "augment", "entropy_direction": "entropy"}
  rows = [
    Row("published", ("--as_published",)),
    Row("augment", ("--as_published", "--augment"), "published"),
    Row("entropy", ("--as_published", "--confidence=entropy"), "published"),
    Row("stacked", ("--as_published", "--late_pooling=stacked"), "published"),
  ]
  flags = {row.name: row.flags for row in rows}
  for name in schema.RELEASED:
    base = special.get(name, "published")
    rows.append(Row(name, (*flags[base], f"--as_released={name}"), base))
  return (
    *rows,
    Row("adam_b2", ("--as_published", "--adam_b2=0.9"), "published"),
    Row("all", ("--as_released=all", "--adam_b2=0.9"), "published"),
  )


def _models(modalities):
  """MedPatch, every baseline on the same encoders, each modality alone."""
  rows = [
    Row("medpatch"),
    Row("medpatch, published", ("--as_published",), "medpatch"),
    Row("medpatch, sum", ("--late_pooling=sum",), "medpatch"),
  ]
  for name in baselines.BASELINES:
    flags = (f"--model={name}",)
    if name in baselines.ONLY_OF:
      if not set(baselines.ONLY_OF[name]) <= set(modalities):
        continue
      flags += (f"--modalities={','.join(baselines.ONLY_OF[name])}",)
    rows.append(Row(name, flags, "medpatch"))
  rows += [
    Row(f"{m} alone", ("--model=unimodal", f"--modalities={m}"), "medpatch")
    for m in modalities
  ]
  return tuple(rows)


def _fusion(modalities):
  """Who can use what: late fusion, and MedPatch by fuser and late weights."""
  del modalities
  published = "--as_published"
  tuned = ("--finetune_encoders", "--learning_rate=fuse=1e-3")
  alone = ("--without=unimodal,missingness", "--learning_rate=fuse=1e-3")
  return (
    Row("late", ("--model=late",)),
    Row("published", (published,), "late"),
    *(
      Row(f"published, {f}", (published, f"--fuser={f}"), "late")
      for f in FUSERS[1:]
    ),
    Row("joint module alone", (published, *alone), "late"),
    Row("stacked", (), "late"),
    Row("stacked, without joint", ("--without=joint",), "stacked"),
    *(Row(f"stacked, {f}", (f"--fuser={f}",), "stacked") for f in FUSERS[1:]),
    Row("stacked, random", ("--confidence=random",), "stacked"),
    Row("stacked, no patching", ("--threshold=0.5",), "stacked"),
    Row("stacked, tuned", (*tuned, "--epochs=fuse=10"), "late"),
  )


def _modules(modalities):
  """Paper Table 5: modules left out, alone and together."""
  del modalities
  names = ("unimodal", "missingness", "joint")
  sets = [(n,) for n in names] + list(itertools.combinations(names, 2))
  return (
    Row("all modules"),
    *(
      Row(
        f"without {' and '.join(s)}",
        (f"--without={','.join(s)}",),
        "all modules",
      )
      for s in sets
    ),
  )


def _modalities(modalities):
  """Every subset of the modalities, beside all of them."""
  every = ",".join(modalities)
  rows = [Row(every)]
  for size in range(len(modalities) - 1, 0, -1):
    for some in itertools.combinations(modalities, size):
      name = ",".join(some)
      rows.append(Row(name, (f"--modalities={name}",), every))
  return tuple(rows)


def _leave_one_out(modalities):
  """Is more worse? Every modality left out, beside all; also as published."""
  rows = []
  for first, given in (("all", ()), ("published", ("--as_published",))):
    rows.append(Row(first, given))
    for m in modalities:
      others = ",".join(n for n in modalities if n != m)
      name = f"without {m}" if not given else f"published, without {m}"
      rows.append(Row(name, (*given, f"--modalities={others}"), first))
  return tuple(rows)


def _patching(modalities):
  """Who is in which group: by confidence, by chance, all in one."""
  del modalities
  return (
    Row("confidence"),
    Row("entropy", ("--confidence=entropy",), "confidence"),
    Row("random", ("--confidence=random",), "confidence"),
    Row("no patching", ("--threshold=0.5",), "confidence"),
  )


def _robustness(modalities):
  """What is missing in training x what is missing at test.

  At random, one modality always, or more often where the outcome is worse.
  """
  training = {
    "as recorded": (),
    "30 % missing": ("--missing_train=0.3",),
    "modality dropout": ("--modality_dropout=0.3",),
  }
  test = {
    "30 % missing": "0.3",
    "60 % missing": "0.6",
    "missing by outcome": "0.1:0.6",
    **{f"no {m}": f"{m}=1" for m in modalities},
  }
  rows = []
  for trained, flags in training.items():
    first = f"{trained}, tested as recorded"
    reference = rows[0].name if rows else None
    rows.append(Row(first, flags, reference))
    for tested, rates in test.items():
      flag = f"--missing_test={rates}"
      reference = f"as recorded, tested with {tested}"
      name = f"{trained}, tested with {tested}"
      other = None if name == reference else reference
      rows.append(Row(name, (*flags, flag), other, first))
  return tuple(rows)


def _values(flag: str, first, *others, published: bool = False):
  """A sweep over a flag's values; all are compared with the first.

  Args:
    flag: its name.
    first, *others: values.
    published: of the method as published, where it matters only there.
  """
  given = ("--as_published",) if published else ()

  def rows(modalities):
    del modalities
    reference = f"{flag} {first}"
    return (
      Row(reference, (*given, f"--{flag}={first}")),
      *(
        Row(f"{flag} {v}", (*given, f"--{flag}={v}"), reference) for v in others
      ),
    )

  return rows


THRESHOLDS = 0.75, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.85, 0.9, 0.95

# Name -> rows, given the modalities that the dataset has.
SWEEPS: dict[str, Callable[[tuple[str, ...]], tuple[Row, ...]]] = {
  "deviations": _deviations,
  "models": _models,
  "fusion": _fusion,
  "modules": _modules,
  "modalities": _modalities,
  "leave_one_out": _leave_one_out,
  "patching": _patching,
  "robustness": _robustness,
  "threshold": _values("threshold", *THRESHOLDS),
  "calibration": _values("calibration", "position", "label", "scalar", "none"),
  "fuser": _values("fuser", *FUSERS),
  "loss_weights": _values("loss_weights", "learned", "uniform", "uncertainty"),
  "late_pooling": _values("late_pooling", "stacked", "mean", "sum"),
  "head": _values("head", "late", "combined", "reduced", published=True),
  "pairs": _values("pairs", "partial", "paired"),
  "held_out": _values("held_out", 0, 0.1, 0.2, 0.3),
  "train_fraction": _values("train_fraction", 1.0, 0.5, 0.25, 0.1),
}


# Of a sweep's file; a name is that of a folder, too.
FIELDS = [
  {
    "name": str,
    "flags": ([str], None),
    "reference": (str, None),
    "trained": (str, None),
  }
]
NAME = re.compile(r"\w[^/\\\x00-\x1f\x7f]{0,99}")


def load(name: str, modalities: tuple[str, ...]) -> tuple[Row, ...]:
  """The sweep of that name, or of a JSON file.

  The file holds a list of {"name": ..., "flags": ["--flag=value", ...],
  "reference": a name or absent, "trained": a name or absent}.

  Args:
    name: of SWEEPS, or of a file.
    modalities: those that the runs may take.

  Raises:
    ValueError: neither a known name nor such a file; names the field.
  """
  if name in SWEEPS:
    return SWEEPS[name](modalities)
  path = pathlib.Path(name)
  if not path.is_file():
    raise ValueError(
      f"--sweep={name}: wanted one of {', '.join(SWEEPS)}, or a JSON file."
    )
  wanted = (
    "wanted a list of"
    ' {"name": ..., "flags": ["--flag=value"], "reference": ...}.'
  )
  rows = tuple(
    Row(
      r["name"],
      tuple(r.get("flags") or ()),
      r.get("reference"),
      r.get("trained"),
    )
    for r in files.read_json(path, FIELDS, wanted)
  )
  names = [row.name for row in rows]
  for row in rows:
    if names.count(row.name) > 1:
      raise ValueError(f"{path}: name {row.name!r} is there twice.")
    if not NAME.fullmatch(row.name):
      raise ValueError(
        f"{path}: name {row.name!r} is no name of a folder: wanted at most 100"
        " characters, the first a letter or digit, none a slash, a backslash"
        " or a line break."
      )
    for field in ("reference", "trained"):
      other = getattr(row, field)
      if other is not None and other not in names:
        raise ValueError(
          f"{path}: row {row.name!r} has {field} {other!r}, which is no row;"
          f" wanted one of {', '.join(names)}."
        )
  return rows
