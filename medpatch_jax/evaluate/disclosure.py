"""Which counts may be shown, and which would tell one that may not.

A count of 1 to 10 stays is not shown. That is no protection where it can be
had by subtraction: 850 stays, 845 of them with a label, tell the five without
it; so do the sizes of all groups but one. `part` hides a count whose
complement is small, `pool` merges small groups with the next larger ones, and
`crossing` rounds the size of a set of groups that would tell what was merged.
"""

import numpy as np

SMALLEST_CELL = 11
HIDDEN = "<11"


def small(stays):
  """Whether a count, or each of an array of them, is not shown."""
  return (0 < stays) & (stays < SMALLEST_CELL)


def count(stays: int) -> int | str:
  """A count as it may be shown: 0 and 11 or more, else hidden."""
  return HIDDEN if small(stays) else stays


def part(stays: int, whole: int) -> int | str:
  """A count out of `whole`, which is shown too; ">839" of 850 hides 845."""
  if not small(stays) and small(whole - stays):
    return f">{whole - SMALLEST_CELL}"
  return count(stays)


def few(label: np.ndarray) -> np.ndarray:
  """Labels with 1 to 10 cases, or others, among stays [N C]: bool[C]."""
  cases = (label == 1).sum(axis=0)
  return small(cases) | small(len(label) - cases)


def pool(sizes: np.ndarray) -> np.ndarray:
  """Groups to be shown as one, so that no small one can be told.

  Args:
    sizes: i64[G], stays of each group; every stay is in one group, and the
      number of all stays is shown.

  Returns:
    bool[G]: the small groups, and the next larger ones until they have 11
    stays together. All False if no group is small.
  """
  sizes = np.asarray(sizes)
  merged = small(sizes)
  for group in np.argsort(sizes, kind="stable"):
    if not small(sizes[merged].sum()):
      break
    merged[group] |= sizes[group] > 0
  return merged


def crossing(inside: np.ndarray, sizes: np.ndarray) -> int | str:
  """Stays of a set of groups, shown beside the groups themselves.

  Args:
    inside: bool[G], the groups of the set.
    sizes: i64[G], as in `pool`, whose merged groups are shown without names.

  Returns:
    As `part`; or rounded to a multiple of 20 ("~160") where the exact size
    less that of the groups shown would tell a small number.
  """
  sizes = np.asarray(sizes)
  merged, stays = pool(sizes), int(sizes[inside].sum())
  within, beyond = (
    sizes[merged & side].sum() for side in (inside, np.invert(inside))
  )
  shown = part(stays, int(sizes.sum()))
  if isinstance(shown, int) and (small(within) or small(beyond)):
    return f"~{max(20, 20 * round(stays / 20))}"
  return shown
