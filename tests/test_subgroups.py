"""Who is in which group, and that small groups are shown together."""

import numpy as np

from medpatch_jax.evaluate import disclosure, subgroups


def sizes(groups):
  return {group.name: int(group.rows.sum()) for group in groups}


def test_age_bands_by_hand():
  bands = subgroups.age_band(np.array([18, 44.9, 45, 64, 65, 79.5, 80, np.nan]))
  assert bands.tolist() == [
    "under 45",
    "under 45",
    "45 to 64",
    "45 to 64",
    "65 to 79",
    "65 to 79",
    "80 and over",
    "unknown",
  ]


def test_groups_cover_every_stay_once_and_keep_their_order():
  names = np.array(["b"] * 20 + ["a"] * 30 + ["c"] * 2 + ["d"] * 10)
  groups = subgroups.by_name(names)
  assert sizes(groups) == {"a": 30, "b": 20, subgroups.POOLED: 12}
  assert [group.name for group in groups][-1] == subgroups.POOLED
  np.testing.assert_array_equal(sum(g.rows for g in groups), np.ones(62))
  ordered = subgroups.by_name(names, ("b", "a"))
  assert [group.name for group in ordered][:2] == ["b", "a"]


def test_one_small_group_takes_the_next_with_it():
  """Or else all stays less the other groups would tell its size."""
  names = np.array(["F"] * 40 + ["M"] * 30 + ["?"] * 4)
  assert sizes(subgroups.by_name(names)) == {"F": 40, subgroups.POOLED: 34}
  assert subgroups.by_name(np.array(["F"] * 40 + ["?"] * 4)) == []


def test_patterns_of_presence():
  present = np.repeat(
    [[1, 0], [1, 1], [0, 0], [0, 1]], [30, 50, 6, 7], axis=0
  ).astype(bool)
  groups = subgroups.by_presence(present, ("ehr", "cxr"))
  assert sizes(groups) == {"ehr+cxr": 50, "ehr": 30, subgroups.POOLED: 13}
  assert [g.modalities for g in groups] == [("ehr", "cxr"), ("ehr",), None]
  openly = subgroups.by_presence(present, ("ehr", "cxr"), rule=disclosure.OPEN)
  assert list(sizes(openly).values()) == [50, 30, 7, 6]


def test_stays_of_few_patients_are_a_small_group():
  names, patient = np.repeat(["a", "b", "c"], [40, 30, 20]), np.arange(90)
  patient[70:] = 0  # The 20 of c are of one patient.
  groups = subgroups.by_name(names, patient=patient)
  assert sizes(groups) == {"a": 40, subgroups.POOLED: 50}


def test_divide_takes_words_and_numbers():
  found = subgroups.divide(
    {
      "age": np.full(45, 50.0),
      "gender": ["F"] * 15 + [" "] * 30,
      "weight": np.append(np.arange(33.0), [np.nan] * 12),
    }
  )
  assert sizes(found["age"]) == {"45 to 64": 45}
  assert sizes(found["gender"]) == {"unknown": 30, "F": 15}
  assert [(g.name, g.rows.sum()) for g in found["weight"]] == [
    ("lowest third", 11),
    ("middle third", 11),
    ("highest third", 11),
    ("unknown", 12),
  ]
  assert subgroups.thirds(np.full(3, np.nan)).tolist() == ["unknown"] * 3
