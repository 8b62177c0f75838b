"""No count of 1 to 10 is shown, or left over when others are subtracted."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax.evaluate import disclosure
from medpatch_jax.evaluate.disclosure import OPEN, SECRET


def bounds(shown, whole=None):
  """Least and greatest count that is shown so."""
  if isinstance(shown, int):
    return shown, shown
  if shown == "hidden":
    return 0, 10**9
  number = int(shown[1:].replace(",", ""))
  if shown[0] == "~":
    return 11 if number == 20 else number - 5, number + 4
  return (1, number - 1) if shown[0] == "<" else (number + 1, whole - 1)


def test_counts_by_hand():
  assert [SECRET.total(n) for n in (0, 1, 10, 11)] == [0, "<11", "<11", 11]
  rough = [SECRET.rough(n) for n in (0, 10, 11, 24, 25, 164, 12_345)]
  assert rough == [0, "<11", "~20", "~20", "~30", "~160", "~12,350"]
  parts = [SECRET.part(n, 50) for n in (0, 3, 11, 39, 40, 49, 50)]
  assert parts == [0, "<11", "~20", "~40", ">39", ">39", 50]
  # Neither is shown of a whole that is not.
  assert SECRET.part(0, 5) == "hidden" and SECRET.part(5, 5) == "<11"
  assert SECRET.part(5, 12) == "<11"
  # Stays are shown, patients decide.
  assert SECRET.total(30, 3) == "<11" and SECRET.part(30, 90, 3, 50) == "<11"
  assert SECRET.part(30, 90, 20, 9) == "hidden"
  for n in (0, 3, 39, 49, 50):
    assert OPEN.part(n, 50, 1, 1) == OPEN.rough(n) == OPEN.total(n) == n


def test_percents_of_what_is_shown():
  assert SECRET.percent(5, 200) == "<5.5"
  assert SECRET.percent(195, 200) == ">94.5"
  assert SECRET.percent(50, 200) == SECRET.percent(54, 200) == 25.0
  assert SECRET.percent(200, 200) == 100.0 and SECRET.percent(0, 200) == 0.0
  assert SECRET.percent(3, 8) == "hidden" and SECRET.percent(0, 0) is None
  assert OPEN.percent(3, 8) == 37.5


@settings(deadline=None)
@given(st.integers(0, 500), st.integers(11, 500))
def test_what_is_shown_fits_and_fits_no_small_count_alone(n, whole):
  n = min(n, whole)
  low, high = bounds(SECRET.part(n, whole), whole)
  assert low <= n <= high
  for count in (n, whole - n):
    if disclosure.small(count):
      assert high - low >= 9 or whole < 21


def test_cells_of_a_total():
  assert SECRET.cells({"F": 5, "M": 95}) == {"F": "<11", "M": "hidden"}
  assert SECRET.cells({"F": 40, "M": 60}) == {"F": "~40", "M": "~60"}
  found = SECRET.cells({"a": 5, "b": 20, "c": 75, "d": 0})
  assert found == {"a": "<11", "b": "hidden", "c": "~80", "d": 0}
  # One and one beside 75 of 77: their sum would tell both.
  found = SECRET.cells({"a": 1, "b": 1, "c": 75})
  assert found == {"a": "<11", "b": "<11", "c": "hidden"}
  assert SECRET.cells({"a": 10, "b": 10}) == {"a": "hidden", "b": "hidden"}
  assert OPEN.cells({"F": 5, "M": 95}) == {"F": 5, "M": 95}


def test_no_small_cell_is_the_only_one_that_fits():
  """Whoever knows the total, and counts all numbers that add up to it."""
  for counts in itertools.product((0, 1, 4, 10, 11, 29, 75), repeat=3):
    total = sum(counts)
    if total < 11:
      continue
    shown = list(SECRET.cells(dict(enumerate(counts))).values())
    ranges = [bounds(cell) for cell in shown]
    for i, n in enumerate(counts):
      if not disclosure.small(n):
        continue
      others = [r for j, r in enumerate(ranges) if j != i]
      fits = {
        x
        for x in range(ranges[i][0], min(ranges[i][1], total) + 1)
        if sum(r[0] for r in others)
        <= total - x
        <= sum(min(r[1], total) for r in others)
      }
      assert n in fits and len(fits) > 1, (counts, shown)


@pytest.mark.parametrize("end", [None, 50])
def test_chain_gives_no_small_difference_away(end):
  """Every pair of printed numbers of any falling counts."""
  for steps in itertools.product((0, 3, 9, 11, 30), repeat=4):
    falling = [(str(i), 50 + sum(steps[i:])) for i in range(5)]
    found = SECRET.chain(falling, end)
    assert [n for n, _ in found] == list("01234")
    numbers = [n for _, n in found if isinstance(n, int)]
    if end is not None:
      numbers.append(end)
    for a, b in itertools.combinations(numbers, 2):
      assert a - b == 0 or a - b >= 11, (steps, found)
    # Nothing is hidden without need.
    if set(steps) <= {0, 11, 30}:
      assert found == falling
    assert OPEN.chain(falling, end) == falling


def test_chain_counts_patients_behind_its_differences():
  """Many stays may be of one patient."""
  falling = list(zip("abcd", (130, 100, 70, 40)))
  assert SECRET.chain(falling, lost=[0, 11, 11, 11]) == falling
  for lost, shown in (
    ([0, 11, 11, 1], [130, 100, disclosure.WORD, 40]),
    ([0, 1, 1, 1], [*[disclosure.WORD] * 3, 40]),
    ([0, 1, 11, 1], [disclosure.WORD, 100, disclosure.WORD, 40]),
  ):
    assert [n for _, n in SECRET.chain(falling, lost=lost)] == shown
  assert OPEN.chain(falling, lost=[0, 1, 1, 1]) == falling


def test_chain_ends_in_small_counts():
  falling = list(zip("abcd", (30, 14, 9, 3)))
  assert [n for _, n in SECRET.chain(falling)] == [30, 14, "<11", "<11"]
  falling = list(zip("abcd", (30, 14, 9, 0)))
  assert [n for _, n in SECRET.chain(falling)] == [30, 14, "<11", 0]


def test_shares_of_curves_step_by_ten_people():
  shares = {SECRET.share(n, 100) for n in range(101)}
  assert shares == {10.0 * i for i in range(11)}
  assert SECRET.share(3, 0) is None and OPEN.share(3, 100) == 3.0


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


def test_patients_not_stays_are_few():
  label = np.zeros((60, 2))
  label[:30] = 1
  patient = np.arange(60)
  patient[:20] = 0  # Thirty cases are of eleven patients ...
  label[29, 1] = 0  # ... or of ten.
  assert disclosure.few(label, patient).tolist() == [False, True]
  assert disclosure.few(label).tolist() == [False, False]
  assert disclosure.people(label == 1, patient).tolist() == [11, 10]


def test_a_head_of_few_values_is_a_table():
  rng = np.random.default_rng(0)
  columns = [np.zeros(99), rng.integers(9, size=99), rng.normal(size=99)]
  found = disclosure.tables(np.stack(columns, axis=1))
  assert found.tolist() == [True, True, False]
