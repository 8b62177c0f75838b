"""Compares finished runs on the same test stays, by paired tests.

  python -m experiments.compare --a=RUN --b=RUN
  python -m experiments.compare --a=RUN1,RUN2:late,RUN3 --b=RUN --out=FILE.json

prints each run of --a minus --b: intervals by paired bootstrap over patients,
p values by bootstrap and DeLong, Holm's correction over each table. A run is
the --workdir of a training that experiments.evaluate has scored; RUN:HEAD
takes another of its heads than the one chosen on validation, `ehr` for the
EHR alone; then only the stays with a series are compared. docs/statistics.md
says what the numbers mean.
"""

import os
import pathlib
import time

import numpy as np
from absl import flags

from data import errors
from experiments import flags as experiment_flags
from medpatch_jax import files
from medpatch_jax.evaluate import bootstrap, compare, predictions
from medpatch_jax.input import places
from medpatch_jax.train.log import logger


def define() -> None:
  flags.DEFINE_list("a", None, "Runs to compare: RUN or RUN:HEAD each.")
  flags.DEFINE_string("b", None, "The run they are compared with.")
  flags.DEFINE_integer("resamples", 1000, "Of patients.", lower_bound=100)
  flags.DEFINE_integer("seed", 0, "Of the resampling.", lower_bound=0)
  flags.DEFINE_string("out", None, "JSON file for all numbers.")


def read(run: str) -> tuple[predictions.Predictions, str]:
  """Predictions of `RUN` or `RUN:HEAD`, and which head is meant.

  Raises:
    ValueError: see `predictions.load`; or there is no such head.
  """
  folder, head = run, ""
  if ":" in run and not os.path.isdir(run):
    folder, head = run.rsplit(":", 1)
  found = predictions.load(pathlib.Path(folder) / predictions.NAME)
  head = head or found.chosen
  if head not in found.logits:
    near = errors.nearest(head, found.logits)
    raise ValueError(
      f"{folder}: has no head {head!r}.{near} It has {', '.join(found.logits)}."
    )
  return found, head


def shared(names: list[str], found: list[tuple]) -> tuple[list, list[str]]:
  """What runs predict for the stays that every one of them predicts.

  A modality's own head predicts nothing for a stay without it.

  Args:
    names: of the runs.
    found: of each what `read` returns, about the same stays.

  Returns:
    (the same of these stays, names of the runs that do not predict them all).

  Raises:
    ValueError: no stay is predicted by all.
  """
  has = [~np.isnan(run.logits[head]).any(axis=1) for run, head in found]
  partial = [name for name, rows in zip(names, has) if not rows.all()]
  both = np.all(has, axis=0)
  if not both.any():
    raise ValueError(
      f"no stay is predicted by all of {', '.join(names)}; compare fewer heads"
      " at once."
    )
  if partial:
    found = [(run.of(both), head) for run, head in found]
  return found, partial


def compared(
  runs: list[str], reference: str, resamples: int = 1000, seed: int = 0
) -> dict:
  """The comparison of `compare.build`, with progress.

  Raises:
    ValueError: a run cannot be read, or is about other stays.
  """
  names = [*runs, reference]
  twice = sorted({name for name in names if names.count(name) > 1})
  if twice:
    raise ValueError(f"{twice[0]} is named twice in --a and --b.")
  read_ = [read(name) for name in names]
  about, _ = read_[-1]
  for name, (found, _) in zip(runs, read_):
    predictions.check_same(found, about, (name, reference))
  read_, partial = shared(names, read_)
  about, _ = read_[-1]
  draws = bootstrap.draw(about.subject, resamples, seed)
  hidden = compare.suppressed([f.logits[head] for f, head in read_], about)
  scored, start = [], time.monotonic()
  for i, (name, (found, head)) in enumerate(zip(names, read_), 1):
    scored.append(
      compare.score(name, found.logits[head], about.label, draws, hidden)
    )
    left = (time.monotonic() - start) / i * (len(names) - i)
    logger.info("compare: %d of %d runs, %.0f s left", i, len(names), left)
  return compare.build(scored[:-1], scored[-1], about, seed, partial)


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  for name in ("a", "b"):
    if not values[name].value:
      raise ValueError(f"--{name} is missing: pass the --workdir of a run.")
  places.a_file("out", values.out)
  result = compared(values.a, values.b, values.resamples, values.seed)
  print(compare.text(result))
  if values.out:
    files.write_json(values.out, result)


if __name__ == "__main__":
  define()
  experiment_flags.run(main)
