"""Counts of people that may be printed."""

import itertools

import pytest

from data import counts


def test_small_counts_are_hidden():
  assert [counts.shown(n) for n in (0, 1, 10, 11)] == [0, "<11", "<11", 11]


def test_what_is_left_of_a_total_is_hidden_too():
  assert counts.share(95, 100) == ">89"
  assert counts.share(100, 100) == 100 and counts.share(0, 100) == 0
  assert counts.share(89, 100) == 89
  assert counts.share(5, 12) == "<11"
  assert counts.percent(5, 200) == "<5.5"
  assert counts.percent(195, 200) == ">94.5"
  assert counts.percent(50, 200) == 25.0
  assert counts.percent(200, 200) == 100.0
  assert counts.percent(3, 8) == "hidden"
  assert counts.percent(0, 0) is None


def test_cells_of_a_printed_total():
  assert counts.cells({"F": 5, "M": 95}) == {"F": "<11", "M": "hidden"}
  assert counts.cells({"F": 40, "M": 60}) == {"F": 40, "M": 60}
  found = counts.cells({"a": 5, "b": 20, "c": 75, "d": 0})
  assert found == {"a": "<11", "b": "hidden", "c": 75, "d": 0}
  # Two hidden ones are not told by their sum.
  assert counts.cells({"a": 5, "b": 6, "c": 75})["c"] == 75


@pytest.mark.parametrize("end", [None, 50])
def test_chain_gives_no_small_difference_away(end):
  """Every pair of printed numbers of any falling counts."""
  for steps in itertools.product((0, 3, 9, 11, 30), repeat=4):
    falling = [(str(i), 50 + sum(steps[i:])) for i in range(5)]
    found = counts.chain(falling, end)
    assert [n for n, _ in found] == list("01234")
    numbers = [n for _, n in found if isinstance(n, int)]
    if end is not None:
      numbers.append(end)
    for a, b in itertools.combinations(numbers, 2):
      assert a - b == 0 or a - b >= 11, (steps, found)
    # Nothing is hidden without need.
    if set(steps) <= {0, 11, 30}:
      assert found == falling


def test_chain_ends_in_small_counts():
  falling = list(zip("abcd", (30, 14, 9, 3)))
  assert [n for _, n in counts.chain(falling)] == [30, 14, "<11", "<11"]
  falling = list(zip("abcd", (30, 14, 9, 0)))
  assert [n for _, n in counts.chain(falling)] == [30, 14, "<11", 0]


def test_coarse_shares_step_by_eleven_people():
  shares = {counts.coarse(n, 110) for n in range(111)}
  assert shares == {10.0 * i for i in range(11)}
  assert counts.coarse(3, 0) is None
