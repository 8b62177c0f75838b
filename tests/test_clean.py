"""Units, text, ranges and order of charted rows, one rule at a time."""

import numpy as np
import pytest

from medpatch_jax.input import clean, variables

NAMES = [v.name for v in variables.VARIABLES]


def _clean(rows, **options):
  """rows of (second, item, number or None, text or None)."""
  second, item, number, text = zip(*rows)
  N = len(rows)
  return clean.clean(
    np.zeros(N, np.int64),
    np.array(second, np.int64),
    np.array(item, np.int64),
    np.array([np.nan if n is None else n for n in number], np.float64),
    np.array(text, object),
    **options,
  )


def _one(item, number=None, text=None, **options):
  """The value one row comes to; classes as their string; None if missing."""
  events, _ = _clean([(0, item, number, text)], **options)
  if not len(events.value):
    return None
  v = variables.VARIABLES[int(events.variable[0])]
  value = float(events.value[0])
  return v.classes[int(value)] if v.classes else pytest.approx(value)


@pytest.mark.parametrize(
  "item, number, text, wanted",
  [
    (220050, None, "120/80", 120),
    (220051, None, "120/80", 80),
    (220050, 120.0, "118 / 80", 118),
    (223835, 50.0, None, 0.5),
    (223835, 0.4, None, 0.4),
    (223835, 0.205, None, 0.21),  # Clamped.
    (223835, 15.0, None, None),  # 0.15: outside.
    (220277, 0.97, None, 97),
    (220277, 97.0, None, 97),
    (220277, 101.0, None, 100),
    (223761, 98.6, None, 37),
    (223762, 98.6, None, 37),
    (223762, 37.0, None, 37),
    (226531, 200.0, None, 90.7184),
    (226512, 80.0, None, 80),
    (226707, 70.0, None, 177.8),
    (226730, 178.0, None, 178),
    (226730, 1.75, None, 175),  # In metres.
    (226730, 0.0, None, None),
    (226730, 70.0, None, None),  # Inches, or a child: nobody can tell.
    (226512, 0.0, None, None),
    (226512, 8.0, None, None),
    (226531, 0.0, None, None),
    (220050, 0.0, None, None),
    (220051, 0.0, None, None),
    (220051, None, "120/0", None),
    (220052, 0.0, None, None),  # Once set to the range's end, 14.
    (220052, 9.0, None, 14),
    (220277, 0.0, None, None),
    (50931, 0.0, None, None),
    (220045, 0.0, None, 0),  # Hearts stop.
    (220045, 380.0, None, 350),
    (220045, 400.0, None, None),
    (50931, None, "ERROR", None),
    (50931, None, " 131 ", 131),
    (50820, 7.31, "7.31", 7.31),
    (51478, 1000.0, None, None),  # Urine glucose is no blood glucose.
    (223951, None, "Normal <3 Seconds", "0.0"),
    (224308, None, "Delayed", "1.0"),
    (220739, 4.0, "Spontaneously", "Spontaneously"),
    (220739, None, "spontaneously ", "Spontaneously"),
    (220739, None, "4 Spontaneously", "4 Spontaneously"),
    (220739, None, "3 To Voice", "To Speech"),  # Spelled otherwise: by score.
    (223901, 3.0, "Abn. flexion", "Abnormal Flexion"),
    (223900, 1.0, "", "No Response"),
    (223900, 1.0, "No Response-ETT", "No Response-ETT"),
    (223900, None, "asleep", None),
  ],
)
def test_one_row(item, number, text, wanted):
  got = _one(item, number, text)
  assert got == wanted if wanted is not None else got is None


def test_keep_leaves_the_ranges_out():
  assert _one(220045, 500.0, outliers="keep") == 500
  assert _one(226512, 0.0, outliers="keep") == 0
  assert _one(226730, 1.75, outliers="keep", units="published") == 1.75
  assert _one(223761, 98.6, outliers="keep") == 37


def test_counts_what_it_does():
  _, counts = _clean(
    [
      (0, 220045, 380.0, None),
      (0, 220045, 500.0, None),
      (0, 223761, 98.6, None),
      (0, 223900, None, "asleep"),
      (0, 50931, None, "ERROR"),
    ]
  )
  assert counts["Heart rate", "clamped"] == 1
  assert counts["Heart rate", "outside"] == 1
  assert counts["Temperature", "converted"] == 1
  assert counts["Glasgow coma scale verbal response", "text"] == 1
  assert counts["Glucose", "text"] == 1


def _last(rows, name, **options):
  """The value of a variable that an hour would keep."""
  events = clean.arrange(_clean(rows)[0], **options)
  mine = events.variable == NAMES.index(name)
  return float(events.value[mine][-1])


def test_order_is_time_then_item_then_value():
  name = "Respiratory rate"
  late = [(60, 224690, 30.0, None), (0, 220210, 20.0, None)]
  assert _last(late, name) == 30
  tie = [(0, 220210, 20.0, None), (0, 224690, 30.0, None)]
  assert _last(tie, name) == _last(tie[::-1], name) == 20
  assert _last(tie, name, ties="value") == 30
  text = [(0, 220210, 23.0, "23"), (0, 224690, 8.0, "8")]
  assert _last(text, name, ties="text") == 8
  assert _last(text[::-1], name, ties="text") == 8
  assert _last(text, name, ties="value") == 23
  same = [(0, 220210, 22.0, None), (0, 220210, 20.0, None)]
  assert _last(same, name) == _last(same[::-1], name) == 22


def test_of_two_classes_at_one_time_the_greater_score_stays():
  rows = [(0, 220739, 2.0, "To Pain"), (0, 220739, 1.0, "None")]
  name = "Glasgow coma scale eye opening"
  pain = variables.VARIABLES[NAMES.index(name)].classes.index("To Pain")
  assert _last(rows, name) == _last(rows[::-1], name) == pain


def test_total_needs_the_three_parts_at_one_time():
  rows = [
    (0, 220739, None, "To Speech"),
    (0, 223901, None, "Localizes Pain"),
    (0, 223900, None, "No Response-ETT"),
    (60, 220739, None, "Spontaneously"),
  ]
  events = clean.total(clean.arrange(_clean(rows)[0]))
  goal = NAMES.index("Glasgow coma scale total")
  mine = events.variable == goal
  assert events.second[mine].tolist() == [0]
  chosen = int(events.value[mine][0])
  assert variables.VARIABLES[goal].classes[chosen] == "9"


def test_only_height_and_weight_are_carried_in():
  rows = [
    (-25 * 3600, 226512, 70.0, None),
    (-3600, 226512, 80.0, None),
    (-60, 220045, 90.0, None),
    (0, 220045, 91.0, None),
  ]
  events, count = clean.carry(clean.arrange(_clean(rows)[0]), 24)
  assert count == 1
  assert sorted(events.value.tolist()) == [80, 91]
  assert events.second.tolist() == [0, 0]
  events, count = clean.carry(clean.arrange(_clean(rows)[0]), 0)
  assert (count, events.value.tolist()) == (0, [91])


def test_published_map_differs_where_it_says():
  ours = set(clean.sources()[0].tolist())
  theirs = set(clean.sources(variables.published())[0].tolist())
  assert theirs - ours == {224689, 224422, 51478, 51491, 51094, 50831}
  assert ours - theirs == {223951, 224308, 227242}
  # How normal values are spelled is a choice beside it.
  eye = NAMES.index("Glasgow coma scale eye opening")
  assert variables.of("published")[eye].normal == "Spontaneously"
  assert variables.of(normals="published")[eye].normal == "4 Spontaneously"
  assert variables.of() == variables.VARIABLES


def test_units_as_published_are_those_of_its_code():
  """Its functions ask for words that no label has, so that items go by value."""
  for item, number, wanted in (
    (223835, 0.5, 0.005),
    (223835, 50.0, 0.5),
    (223761, 70.0, 70),
    (223761, 98.6, 37),
    (226707, 70.0, 70),
    (226531, 200.0, 90.7184),
    (220277, 0.97, 97),
  ):
    assert _one(item, number, outliers="keep", units="published") == wanted
