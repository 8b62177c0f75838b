"""No count of 1 to 10 is shown, or left over when others are subtracted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax.evaluate import disclosure


def test_counts_by_hand():
  shown = [disclosure.count(n) for n in (0, 1, 10, 11)]
  assert shown == [0, "<11", "<11", 11]
  parts = [disclosure.part(n, 50) for n in (0, 3, 11, 39, 40, 49, 50)]
  assert parts == [0, "<11", 11, 39, ">39", ">39", 50]


@pytest.mark.parametrize(
  ("sizes", "merged"),
  [
    ([50, 40, 30], []),
    ([50, 40, 3], [40, 3]),
    ([50, 40, 6, 5], [6, 5]),
    ([50, 12, 40, 0, 1, 1], [12, 1, 1]),
    ([20, 4], [20, 4]),
    ([5], [5]),
  ],
)
def test_pool_by_hand(sizes, merged):
  found = disclosure.pool(np.array(sizes))
  assert [n for n, m in zip(sizes, found) if m] == merged


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_no_small_group_is_alone(sizes):
  sizes = np.array(sizes)
  merged = disclosure.pool(sizes)
  assert not disclosure.small(sizes[~merged]).any()
  together = sizes[merged].sum()
  assert not disclosure.small(together) or merged[sizes > 0].all()
  # A merged total fits several sizes of each small group in it.
  assert (
    not merged.any() or (merged & (sizes > 0)).sum() > 1 or (sizes.sum() < 11)
  )


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=4, max_size=4), st.integers(0, 3))
def test_a_crossing_set_tells_no_small_group(sizes, which):
  """An exact size less that of the groups shown is never small."""
  sizes = np.array(sizes)
  inside = np.arange(4) != which
  shown = disclosure.crossing(inside, sizes)
  merged = disclosure.pool(sizes)
  if not isinstance(shown, int):
    return
  within = shown - sizes[inside & ~merged].sum()
  assert not disclosure.small(within)
  assert not disclosure.small(sizes[merged].sum() - within)


def test_crossing_by_hand():
  # 8 and 9 are merged; the set would tell the 8, and then the 9.
  sizes, inside = np.array([100, 8, 60, 9]), np.array([1, 1, 0, 0], bool)
  assert disclosure.crossing(inside, sizes) == "~100"
  assert disclosure.crossing(np.ones(4, bool), sizes) == 177
  assert disclosure.crossing(np.array([1, 0, 1, 0], bool), sizes) == 160
  assert disclosure.crossing(np.array([0, 1, 0, 0], bool), sizes) == "<11"


def test_rounding_leaves_several_values_of_a_small_group():
  for big, a, b in itertools.product(range(20, 60), (1, 5, 10), (2, 9)):
    sizes, inside = np.array([big, a, 70, b]), np.array([1, 1, 0, 0], bool)
    if a + b < 11:
      continue
    shown = disclosure.crossing(inside, sizes)
    fits = [
      x
      for x in range(a + b + 1)
      if disclosure.crossing(inside, np.array([big, x, 70, a + b - x])) == shown
    ]
    assert a in fits and len(fits) > 1
