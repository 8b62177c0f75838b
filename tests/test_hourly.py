"""Decompensation, length of stay and radiology: what is known, and when."""

import json

import numpy as np
import pytest

from data.mimic import hourly as labels_lib
from data.mimic import rules
from medpatch_jax import schema
from medpatch_jax.input import dataset, hourly
from tests import mimic_raw
from tests.test_mimic import read

ADMISSIONS = "mimiciv/hosp/admissions"
TASKS = ("decompensation", "length_of_stay", "radiology")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """The raw stays, subject 1 dead after 58 hours of 60: task -> path."""
  tables = mimic_raw.rows()
  mimic_raw.cell(ADMISSIONS, 0, "deathtime", "2150-01-03 20:00:00")(tables)
  root = mimic_raw.write(tmp_path_factory.mktemp("raw"), tables)
  out = tmp_path_factory.mktemp("out")
  return {task: mimic_raw.build(root, out, task) for task in TASKS}


def rows(path, most=None):
  """(subject, hour) -> row of the view on a built dataset, all fields."""
  data = dataset.Dataset(path.parent.parent, path.parent.name, most)
  fields = ("subject_id", "ehr", "cxr", "rr", "label")
  out = {}
  for split in dataset.SPLITS:
    hours, present = data.hours(split), data.present(split)
    labels = data.labels_of(split)
    for i, row in enumerate(data.source(split, fields)):
      row |= {"present": present[i], "all": labels[i]}
      out[int(row["subject_id"]), int(hours[i])] = row
  return out


def test_hours_that_are_labelled(built):
  """From the fifth, the first measurement on, to the end or the death."""
  for task in ("decompensation", "length_of_stay"):
    stays, _ = read(built[task])
    assert set(stays) == {1, 5, 6}
    hours = {s: e["label_hours"].tolist() for s, e in stays.items()}
    assert hours[1] == list(range(5, 58))
    assert hours[5] == list(range(5, 31))
    assert hours[6] == list(range(12, 49))  # Measured at hour 12.


def test_death_within_a_day(built):
  stays, _ = read(built["decompensation"])
  dies = dict(zip(stays[1]["label_hours"], stays[1]["label"][:, 0]))
  # At hour 34 death is 24 hours away, at hour 35 less.
  assert [dies[h] for h in (5, 34, 35, 57)] == [0, 0, 1, 1]
  assert not stays[5]["label"].any() and not stays[6]["label"].any()


def test_hours_that_are_left(built):
  stays, metadata = read(built["length_of_stay"])
  assert stays[1]["label"][:, 0].tolist() == [58.0 - h for h in range(5, 58)]
  view = rows(built["length_of_stay"])
  for hour, name in ((5, "2 to 3 days"), (10, "2 to 3 days")):
    assert view[1, hour]["label"][schema.BUCKETS.index(name)] == 1
  assert view[1, 11]["label"].tolist() == [0, 1] + 8 * [0]
  assert view[1, 35]["label"].tolist() == [1] + 9 * [0]
  assert metadata["classes"] and len(metadata["bucket_hours"]) == 10


@pytest.mark.parametrize("left, name", [
  (0, "Under a day"), (23.99, "Under a day"), (24, "1 to 2 days"),
  (191.9, "7 to 8 days"), (192, "8 to 14 days"), (335.9, "8 to 14 days"),
  (336, "Over 14 days"), (9000, "Over 14 days"),
])  # fmt: skip
def test_buckets(left, name):
  assert schema.BUCKETS[int(hourly.bucket(left))] == name


def test_a_row_sees_what_was_known_by_then(built):
  """Films at hours 0, 48 and 48:01; reports at 1, 1, 2 and 48:01."""
  view, films = rows(built["decompensation"]), {}
  whole, _ = read(built["decompensation"])
  for (subject, hour), row in view.items():
    np.testing.assert_array_equal(row["ehr"], whole[subject]["ehr"][:hour])
    assert row["present"].tolist() == [
      True,
      bool(row["cxr"]),
      bool(row["rr"]),
      False,
    ]
    np.testing.assert_array_equal(row["label"], row["all"])
    films[subject, hour] = row["cxr"]
  assert films[1, 5] == films[1, 47] != films[1, 48] != films[1, 49]
  assert films[1, 49] == films[1, 57] and films[1, 49] != films[1, 5]
  early = 'Heart "large",\nlungs, clear.\n\nAddendum.\n\nLater report.'
  assert view[1, 5]["rr"] == view[1, 48]["rr"] == early
  assert view[1, 49]["rr"] == early + "\n\nAfter 48 hours."
  assert view[5, 5]["rr"] == "" and not view[5, 30]["present"][2]


def test_what_rows_are_cut_by(built):
  """Films and reports in order of time, the ends of these those of the text."""
  for task in TASKS[:2]:
    stays, _ = read(built[task])
    for stay in stays.values():
      ends = stay["rr_ends"]
      text = stay["rr"].decode()
      assert not len(ends) or ends[-1] == len(text)
      assert (np.diff(stay["cxr_hours"]) > 0).all()
      assert (np.diff(stay["rr_hours"]) >= 0).all()
      assert stay["dn"] == b"" and not stay["present"][3]


def test_a_bounded_number_of_each_stay_spread_over_it():
  first, last = np.array([5, 5, 20, 7]), np.array([104, 7, 20, 6])
  stay, hour = hourly.rows(first, last, 10)
  assert np.bincount(stay, minlength=4).tolist() == [10, 3, 1, 0]
  assert hour[stay == 1].tolist() == [5, 6, 7] and hour[stay == 2] == [20]
  # One of each tenth of the hundred hours.
  assert ((hour[stay == 0] - 5) // 10).tolist() == list(range(10))
  again = hourly.rows(first, last, 10)
  np.testing.assert_array_equal(hour, again[1])
  assert len(hourly.rows(first, last, None)[0]) == 104


def test_only_train_and_validation_are_sampled(built):
  path = built["length_of_stay"]
  data = dataset.Dataset(path.parent.parent, path.parent.name, 3)
  for split in dataset.SPLITS:
    stays = len(data.records(split, ("stay_id",)))
    size = data.size(split)
    assert (
      size == 3 * stays if split != "test" else size > 3 * stays or not stays
    )
    assert len(data.subject(split)) == len(data.labels_of(split)) == size


def test_findings_of_the_linked_film(built, tmp_path):
  stays, metadata = read(built["radiology"])
  # Subject 5 has no film in the stay.
  assert set(stays) == {1, 6} and metadata["label_names"] == list(
    schema.FINDINGS
  )
  named = lambda e: [n for n, v in zip(schema.FINDINGS, e["label"]) if v]  # noqa: E731
  # The last film, a minute after 48 hours; what is uncertain is negative.
  assert named(stays[1]) == ["Fracture"] and stays[1]["cxr_hour"] > 48
  assert named(stays[6]) == ["No Finding"]
  # No report, which names the findings.
  for stay in stays.values():
    assert stay["rr"] == b"" and stay["present"].tolist() == [1, 1, 0, 0]
  assert metadata["inputs"] == ["ehr", "cxr"]
  root = mimic_raw.write(tmp_path / "raw")
  path = mimic_raw.build(
    root, tmp_path / "out", "radiology", rules=rules.Rules(uncertain="positive")
  )
  assert named(read(path)[0][1]) == ["Fracture", "Pneumonia"]


def test_radiology_needs_films(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  mimic_raw.assert_refused(
    root,
    tmp_path / "out",
    "--task=radiology needs --mimic_cxr",
    task="radiology",
    mimic_cxr=None,
  )


def test_reports_say_what_is_labelled(built):
  for task, word in (
    ("decompensation", "Death within 24 hours"),
    ("length_of_stay", "Under a day"),
    ("radiology", "Edema"),
  ):
    text = (built[task] / "report.txt").read_text()
    assert word in text and "Published of stays with a film" in text
    quality = json.loads((built[task] / "quality.json").read_text())
    said = " ".join(c["check"] for c in quality["checks"])
    assert ("hour to predict" in said) == (task != "radiology")
    assert {c["result"] for c in quality["checks"]} == {"ok"}


def test_the_dead_and_the_short_are_not_predicted():
  hours, label = labels_lib.label("decompensation", 0.5, 100.0, 3.0)
  assert len(hours) == len(label) == 0
  hours, _ = labels_lib.label("length_of_stay", 0.5, 4.9, np.inf)
  assert len(hours) == 0
  hours, label = labels_lib.label("length_of_stay", 5.2, 7.5, 6.0)
  assert hours.tolist() == [6, 7] and label[:, 0].tolist() == [1.5, 0.5]
