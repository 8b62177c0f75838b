"""How much of the notes is past the windows that are read, and so dropped.

Dims: N rows of a split that have a kind of notes.
"""

import numpy as np

from medpatch_jax.input import dataset
from medpatch_jax.train.log import logger


def unread(run, split: str, m: str) -> np.ndarray:
  """Windows of each stay's notes that are not read.

  Notes of which it is not known yet are cut into windows now.

  Returns:
    i64[N], rows in the order of `run.rows(split, m)`.
  """
  rows, windows = run.rows(split, m), run.windows(split, m)
  for row in rows[windows[rows] == 0]:
    windows[row] = run.fields(split, m, row)["windows"]
  run.remember(split, m, windows[rows])
  return np.maximum(windows[rows].astype(np.int64) - run.shapes.max_windows, 0)


def of_test(run) -> dict[str, np.ndarray]:
  """`unread` of each kind of notes, rows as of `run.rows("test")`, 0 without."""
  found = {}
  for m in texts(run):
    every = np.zeros(run.data.size("test"), np.int64)
    every[run.rows("test", m)] = unread(run, "test", m)
    found[m] = every[run.rows("test")]
  return found


def texts(run) -> list[str]:
  """Modalities of the run that are notes."""
  return [m for m in run.config.modalities if run.config.kinds[m] == "text"]


def say(run, modalities=None, splits=dataset.SPLITS) -> None:
  """Logs once what is not read of each kind of notes and split read so far."""
  for m in texts(run):
    for split in splits:
      named = modalities is None or m in modalities
      if not named or (m, split) in run.said:
        continue
      if not run.windows(split, m).any():
        continue  # Read back from disk: it was said when it was made.
      run.said.add((m, split))
      _log(run, m, split, unread(run, split, m))


def _log(run, m, split, left) -> None:
  if not left.any():
    return
  size = run.size(split, run.rows(split, m))
  rows, windows = size.amount(left)
  logger.info(
    "%s: of %s %s of %s the notes go on after the %d windows that are read,"
    " %s windows in all are dropped; --max_note_windows reads more",
    m,
    rows,
    "hours" if run.data.description.hourly else "stays",
    split,
    run.shapes.max_windows,
    windows,
  )
