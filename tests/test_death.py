"""One rule about death, in every task: stays worked by hand."""

import json

import numpy as np
import pytest

from data.mimic import rules
from tests import mimic_raw
from tests.test_mimic import read

ADMISSIONS, PATIENTS = "mimiciv/hosp/admissions", "mimiciv/hosp/patients"
TASKS = (
  "in_hospital_mortality",
  "phenotyping",
  "decompensation",
  "length_of_stay",
  "radiology",
)
# Every stay begins at 10:00 of the first and lasts 72 hours, its admission from
# 08:00 to the eighth at noon. The hour 60 is the third at 22:00.
LEAVE, AT_60 = "2150-01-08 12:00:00", "2150-01-03 22:00:00"
# What is known of the death: deathtime, flag, dischtime, dod, and (dischtime,
# deathtime) of an earlier admission that ended in death; what is right: hours
# the stay ends after (0: it is left out), and whether it ended in death (None:
# not known).
STAYS = {
  "lived": ("", 0, LEAVE, "", None, 72, 0),
  "at 30 h": ("2150-01-02 16:00:00", 1, LEAVE, "2150-01-02", None, 30, 1),
  "at 48 h": ("2150-01-03 10:00:00", 1, LEAVE, "2150-01-03", None, 48, 1),
  "at 60 h": (AT_60, 1, LEAVE, "2150-01-03", None, 60, 1),
  "of the discharge": ("", 1, AT_60, "2150-01-03", None, 60, 1),
  "of a day before it": ("", 1, LEAVE, "2150-01-02", None, 38, 1),
  "flag forgotten": (AT_60, 0, LEAVE, "", None, 60, 1),
  "flag unknown": (AT_60, "", LEAVE, "", None, 60, 1),
  "discharged first": (AT_60, 1, "2150-01-03 20:00:00", "", None, 60, 1),
  "at home": ("", 0, LEAVE, "2150-01-08", None, 72, 0),
  "a year later": ("", 0, LEAVE, "2151-01-01", None, 72, 0),
  "discharged after its day": ("", 0, LEAVE, "2150-01-02", None, 38, None),
  "before the discharge": ("", 0, LEAVE, "2150-01-06", None, 72, None),
  "on the first day": ("", 0, "2150-01-01 23:00:00", "2150-01-01", None, 14, 0),
  "day before the admission": ("", 0, LEAVE, "2149-12-31", None, 0, 0),
  "a day that cannot be": (AT_60, 1, LEAVE, "2149-12-31", None, 60, 1),
  "at intime": ("2150-01-01 10:00:00", 1, LEAVE, "2150-01-01", None, 0, 1),
  "a time that cannot be": ("9999-01-01 00:00:00", 1, AT_60, "", None, 60, 1),
  "donor": ("", 0, LEAVE, "2150-01-01", ("2150-01-01 07:59:00",) * 2, 0, 0),
  "donor, no time": ("", 0, LEAVE, "", ("2149-12-30 12:00:00", ""), 0, 0),
  "admitted before": ("", 0, LEAVE, "", ("2150-01-01 09:00:00", AT_60), 60, 1),
}
CHARTED = (
  6,
  20,
  29,
  40,
  59,
  71,
)  # Half past these hours; the value is the hour.


def _time(hour):
  return str(np.datetime64("2150-01-01T10:30:00") + np.timedelta64(hour, "h"))


def _tables():
  tables = {name: [] for name in mimic_raw.rows()}
  for n, (death, flag, leave, dod, before, *_) in enumerate(STAYS.values(), 1):
    admit = "2150-01-01 08:00:00"
    tables[PATIENTS].append([n, "F", 60, 2150, "2008 - 2010", dod])
    tables[ADMISSIONS].append([n, 100 + n, admit, leave, death, "WHITE", flag])
    if before:
      start = "2149-12-01 08:00:00"
      tables[ADMISSIONS].append([n, 500 + n, start, *before, "WHITE", 1])
    tables["mimiciv/icu/icustays"].append(
      [n, 100 + n, 1000 + n, "A", "A", "2150-01-01 10:00:00"]
      + ["2150-01-04 10:00:00", ""]
    )
    tables["mimiciv/hosp/diagnoses_icd"].append([n, 100 + n, 1, "5849", 9])
    for hour in CHARTED:
      time = _time(hour)
      tables["mimiciv/icu/chartevents"].append(
        [n, 100 + n, 1000 + n, "", time, "", 220045, hour, hour, "", ""]
      )
      tables["mimiciv/hosp/labevents"].append(
        [n, n, 100 + n, 50931, time, 100 + hour, 100 + hour, "mg/dL"]
      )
      tables["mimic-iv-note/note/radiology"].append(
        ["", n, 100 + n, "RR", hour, time, "", f"Of hour {hour}."]
      )
    for seq, time in ((1, "2150-01-01 11:00:00"), (2, "2150-01-07 00:00:00")):
      tables["mimic-iv-note/note/discharge"].append(
        ["", n, 100 + n, "DS", seq, time, "", f"Note {seq}."]
      )
  # Subject 1 has films of the first hour and of hour 48, subject 6 of midnight
  # of the fifth.
  tables["mimic-cxr-jpg/mimic-cxr-2.0.0-metadata"] = [
    [f"d{study}", subject, study, *more]
    for subject, study, *more in mimic_raw.FILMS
  ] + [["d15", 2, 15, "AP", "21500101", "110000"]]
  tables["mimic-cxr-jpg/mimic-cxr-2.0.0-chexpert"] = [
    [subject, study, *[""] * 14] for subject, study in ((1, 15), (2, 15))
  ]
  return tables


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """task -> (name of a stay -> example, report)."""
  raw = mimic_raw.write(tmp_path_factory.mktemp("raw"), _tables())
  mimic_raw.film(raw, 2, 15).parent.mkdir(parents=True)
  mimic_raw.film(raw, 2, 15).write_bytes(
    mimic_raw.film(raw, 1, 15).read_bytes()
  )
  out, names = {}, list(STAYS)
  for task in TASKS:
    path = mimic_raw.build(raw, tmp_path_factory.mktemp("out"), task)
    stays = {names[s - 1]: e for s, e in read(path)[0].items()}
    out[task] = stays, json.loads((path / "report.json").read_text())
  path = mimic_raw.build(
    raw, tmp_path_factory.mktemp("out"), rules=rules.published()
  )
  out["published"] = {names[s - 1]: e for s, e in read(path)[0].items()}
  return out


@pytest.mark.parametrize("name", STAYS)
def test_a_stay_ends_at_the_death(name, built):
  *_, end, died = STAYS[name]
  seen = [h for h in CHARTED if h < end]
  for task in ("phenotyping", "length_of_stay", "decompensation"):
    stay = built[task][0].get(name)
    if not end or (task == "decompensation" and died is None):
      assert stay is None
      continue
    assert len(stay["ehr"]) == end
    assert np.flatnonzero(stay["ehr"][:, -9]).tolist() == seen  # Heart rate.
    assert np.flatnonzero(stay["ehr"][:, -10]).tolist() == seen  # Glucose.
    assert stay["rr_hours"].tolist() == [h + 0.5 for h in seen]
  mortality = built["in_hospital_mortality"][0].get(name)
  if end <= 48 or died is None:
    assert mortality is None
  else:
    assert mortality["label"].tolist() == [died]


@pytest.mark.parametrize("name", STAYS)
def test_nothing_is_predicted_of_the_dead(name, built):
  *_, end, died = STAYS[name]
  if not end:
    return
  last = end - 1 if end < 72 or died else 72
  left = built["length_of_stay"][0][name]
  assert left["label_hours"].tolist() == list(range(7, last + 1))
  np.testing.assert_array_equal(left["label"][:, 0], end - left["label_hours"])
  if died is not None:
    soon = built["decompensation"][0][name]
    assert soon["label_hours"].tolist() == list(range(7, last + 1))
    wanted = died * (soon["label_hours"] > end - 24)
    np.testing.assert_array_equal(soon["label"][:, 0], wanted)


def test_notes_and_films_of_after_the_death(built):
  stays, report = built["phenotyping"]
  assert stays["lived"]["dn"] == b"Note 2."
  assert stays["at 60 h"]["dn"] == b"Note 1."
  assert stays["at home"]["dn"] == b"Note 2."
  # A film of hour 1 and one of hour 48, of a stay of 72 and of none.
  assert stays["lived"]["cxr_hour"] == np.float32(48 + 1 / 60)
  assert stays["at 30 h"]["cxr_hour"] == 1
  assert set(built["radiology"][0]) == {"lived", "at 30 h"}
  for name in (
    "stays_that_end_with_the_day_of_the_death",
    "films_after_the_death",
  ):
    assert report["facts"][name] in ("<11", 0), name
  # Thirteen, as they may be shown.
  assert report["facts"]["stays_that_end_at_the_death"] == "~20"
  assert report["facts"]["chart_rows_after_the_death"] > 11
  for name in ("lab_rows", "reports"):
    facts = report["facts"]
    assert (
      facts[f"{name}_after_the_death"] == facts["chart_rows_after_the_death"]
    )
  assert "discharge_notes_after_the_death" in report["facts"]


def test_rules_are_counted(built):
  for task in TASKS:
    said = [f["rule"] for f in built[task][1]["filters"]]
    assert "begun before the patient's death" in said
    mortality = task == "in_hospital_mortality"
    assert ("of a patient alive after 48 hours" in said) == mortality


def test_published_stays_go_on(built):
  stays = built["published"]
  assert set(stays) == set(STAYS)
  assert {len(e["ehr"]) for e in stays.values()} == {72}
