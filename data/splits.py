"""Which split a subject belongs to: published lists, or a stable hash."""

import csv
import hashlib

import numpy as np

from data.errors import InputError
from medpatch_jax.input import cell

SPLITS = ("train", "validation", "test")
SHARES = (0.7, 0.1, 0.2)


def fraction(number, salt):
  """A number in [0, 1) that depends on the id alone, not on machine or run."""
  digest = hashlib.blake2b(f"{salt}/{number}".encode(), digest_size=8).digest()
  return int.from_bytes(digest, "big") / 2**64


def order(stays, split):
  """Record order i64[N]: by split, within it by a hash of the stay's id.

  Any run of records is so a fair sample of its split.
  """
  position = np.array([fraction(s, "order") for s in stays])
  return np.lexsort((stays, position, split))


def by_hash(subjects):
  """Index into SPLITS for each id, i64[N]; 70, 10 and 20 %."""
  edges = np.cumsum(SHARES)[:-1]
  return np.array(
    [np.searchsorted(edges, fraction(s, "split"), "right") for s in subjects],
    np.int64,
  )


def by_group(subjects, groups):
  """Index into SPLITS for each id, i64[N]: the last of the groups is test.

  Of the others as large a share is validation as in `by_hash`, by its hash.

  Args:
    subjects: ids.
    groups: a word of each, which sort by time, as "2008 - 2010".

  Raises:
    InputError: there are not two groups, or one is unknown.
  """
  known = sorted({g for g in groups if g})
  if len(known) < 2 or not all(groups):
    raise InputError(
      f"--split=anchor_year_group: found {len(known)} groups"
      f"{'' if all(groups) else ', and patients without one'}; wanted two or"
      " more, one for every patient of the cohort."
    )
  share = SHARES[1] / (SHARES[0] + SHARES[1])
  early = np.array([fraction(s, "split") < share for s in map(int, subjects)])
  last = np.array([g == known[-1] for g in groups])
  return np.where(last, 2, np.where(early, 1, 0)).astype(np.int64)


def by_lists(subjects, validation_list, test_list):
  """Splits from files of `subject_id,0|1`; who is in neither is train.

  Raises:
    InputError: a file is missing or malformed, names nobody of the cohort,
      or a subject is in both.
  """
  split = np.zeros(len(subjects), np.int64)
  chosen = {}
  for index, path in ((1, validation_list), (2, test_list)):
    if path is None:
      continue
    chosen[index] = _read(path)
    mine = np.array([s in chosen[index] for s in subjects], bool)
    if len(subjects) and not mine.any():
      raise InputError(f"{path}: names no subject of the cohort.")
    split[mine] = index
  both = set(chosen.get(1, ())) & set(chosen.get(2, ()))
  if both:
    row = min(chosen[1][s] for s in both)
    raise InputError(
      f"{validation_list}: row {row} names a subject of the test list too;"
      " no subject may be in two splits."
    )
  return split


def _read(path):
  """Subjects marked 1 -> their row number."""
  try:
    with open(path, encoding="utf-8-sig", newline="") as file:
      rows = list(csv.reader(file))
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise InputError(
      f"{path}: cannot be read ({type(error).__name__})."
    ) from None
  marked = {"0": {}, "1": {}}
  for number, row in enumerate(rows, 1):
    row = list(map(cell.strip, row))
    flag = row[1] if len(row) > 1 else ""
    words = not any(c[:1].isdigit() for c in row)
    if not row or (number == 1 and words):
      continue  # A blank line, or a header.
    subject = cell.whole(row[0])
    if subject is None or flag not in ("0", "1", "0.0", "1.0"):
      raise InputError(
        f"{path}: row {number} is not `subject_id,0` or `subject_id,1`."
      )
    marked[flag[0]][subject] = number
  both = marked["0"].keys() & marked["1"].keys()
  if both:
    raise InputError(
      f"{path}: {len(both):,} subjects are marked both 1 and 0, the first in"
      f" row {min(marked['1'][s] for s in both)}; wanted each of them once."
    )
  return marked["1"]
