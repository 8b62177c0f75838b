"""Finished runs on the same test stays, read for paired tests."""

import os
import pathlib
import time

import numpy as np

from data import errors
from medpatch_jax.evaluate import bootstrap, compare, predictions
from medpatch_jax.train.log import logger


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
