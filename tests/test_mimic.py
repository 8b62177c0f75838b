"""Hand-worked stays: cohort, series, films, notes and labels."""

import json
import types

import numpy as np
import pytest

from data import build, splits
from data.mimic import ccs, cohort, quality, release, rules
from medpatch_jax.evaluate import disclosure
from medpatch_jax.input import variables
from tests import mimic_raw


def examples(path):
  """Every example of a built dataset, with its split."""
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(path)
  for split in splits.SPLITS:
    if builder.info.splits[split].num_examples:
      for example in builder.as_data_source(split):
        yield example | {"split": split}


def read(path):
  """-> (subject -> example, metadata) of a dataset of one stay a subject."""
  found = {e["subject_id"]: e for e in examples(path)}
  return found, json.loads((path / "metadata.json").read_text())


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  return mimic_raw.write(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def built(raw, tmp_path_factory):
  """task -> (subject -> example, metadata, report)."""
  out = {}
  for task in ("in_hospital_mortality", "phenotyping"):
    path = _build(raw, tmp_path_factory.mktemp("out"), task)
    report = json.loads((path / "report.json").read_text())
    out[task] = *read(path), report
  return out


def _build(raw, out, task, **options):
  return build.build(
    source="mimic",
    task=task,
    data_dir=out,
    quiet=True,
    threads=2,
    **mimic_raw.folders(raw) | options,
  )


def _column(metadata, name):
  return metadata["columns"].index(name)


def test_cohort(built):
  stays, _, report = built["phenotyping"]
  assert sorted(stays) == [1, 5, 6]
  # Of 8 stays: one transfer, two of one admission, one minor, one eventless.
  # The report hides such small counts; the filters' order is what it shows.
  assert [f["stays_left"] for f in report["filters"]] == ["<11"] * 7
  stays, _, _ = built["in_hospital_mortality"]
  assert sorted(stays) == [1, 6]


def test_filters_count_stays(raw, tmp_path, monkeypatch):
  kept = []
  original = cohort.load

  def load(*args, **options):
    kept.append(original(*args, **options))
    return kept[-1]

  monkeypatch.setattr(cohort, "load", load)
  _build(raw, tmp_path, "phenotyping")
  counts = [n for _, n in kept[0].filters]
  assert counts == [8, 7, 5, 5, 5, 4, 3]


def test_age_by_anchor_loses_who_turned_eighteen(raw, tmp_path):
  by_anchor = rules.Rules(age="anchor")
  path = _build(raw, tmp_path, "phenotyping", rules=by_anchor)
  assert sorted(read(path)[0]) == [1, 5]


def test_labels(built):
  stays, metadata, _ = built["in_hospital_mortality"]
  assert stays[1]["label"].tolist() == [1.0]
  assert stays[6]["label"].tolist() == [0.0]
  stays, metadata, report = built["phenotyping"]
  names = {
    s: [metadata["label_names"][i] for i in np.flatnonzero(stays[s]["label"])]
    for s in stays
  }
  renal = "Acute and unspecified renal failure"
  assert names[1] == [renal, "Essential hypertension"]
  assert names[5] == [renal]
  assert names[6] == ["Septicemia (except in labor)"]
  assert report["facts"]["distinct_icd10_codes_without_category"] == "<11"


def test_series_worked_by_hand(built):
  stays, metadata, _ = built["in_hospital_mortality"]
  ehr = stays[1]["ehr"]
  assert ehr.shape == (48, 76)

  def series(name):
    return ehr[:, _column(metadata, name)]

  def hours(name):
    return np.flatnonzero(series(f"mask->{name}")).tolist()

  first = {
    "Height": 70 * 2.54,
    "Weight": 200 * 0.453592,
    "Systolic blood pressure": 120,
    "Diastolic blood pressure": 80,
    "Temperature": 37,
    "Fraction inspired oxygen": 0.5,
    "Oxygen saturation": 97,
    "Heart rate": 88,
    "Glucose": 128,  # The normal value: nothing measured yet.
    "pH": 7.4,
  }
  for name, value in first.items():
    assert series(name)[0] == pytest.approx(value), name
  assert hours("Height") == hours("Weight") == [0]
  assert hours("Temperature") == [0, 1]
  assert series("Temperature")[1] == pytest.approx(38)
  assert hours("Heart rate") == [0, 3, 47]
  assert series("Heart rate")[[2, 3, 46, 47]].tolist() == [88, 350, 350, 90]
  assert hours("Respiratory rate") == [3]
  assert series("Respiratory rate")[3] == 20
  # The second at 14:20 with, the last at 14:30 without an admission.
  assert hours("Glucose") == [4]
  assert series("Glucose")[4:].tolist() == [150] * 44
  assert hours("Glasgow coma scale total") == [2]
  assert series("Glasgow coma scale total->15")[:3].tolist() == [1, 1, 0]
  assert series("Glasgow coma scale total->9")[2:].tolist() == [1] * 46
  eye = "Glasgow coma scale eye opening"
  assert hours(eye) == [2]
  assert series(f"{eye}->4 Spontaneously")[2:].tolist() == [1] * 46
  assert series(f"{eye}->Spontaneously")[:2].tolist() == [1, 1]
  assert series("Capillary refill rate->1.0")[[2, 3]].tolist() == [0, 1]
  values = ehr[:, : -len(variables.VARIABLES)]
  one_hot = np.delete(values, variables.continuous(), axis=1)
  assert set(np.unique(one_hot)) == {0.0, 1.0}
  np.testing.assert_array_equal(one_hot.sum(axis=1), 5)


def test_length_is_the_stays_or_48(built):
  stays, metadata, _ = built["phenotyping"]
  assert {s: len(e["ehr"]) for s, e in stays.items()} == {
    1: 60,
    5: 30,
    6: 48,
  }
  last = stays[1]["ehr"][48, _column(metadata, "Heart rate")]
  assert last == 99
  for split, index in metadata["index"].items():
    mine = [e for e in stays.values() if e["split"] == split]
    assert index["hours"] == [len(e["ehr"]) for e in mine]
    assert index["present"] == [
      int(e["present"] @ np.array([1, 2, 4, 8])) for e in mine
    ]
    assert index["subject"] == list(range(len(mine)))


def test_last_film_of_the_window_with_both_edges(built):
  stays, _, _ = built["in_hospital_mortality"]
  assert stays[1]["present"].tolist() == [True, True, True, False]
  assert stays[1]["cxr_hour"] == 48
  assert _grey(stays[1]) == 14
  assert stays[6]["cxr_hour"] == 0
  assert _grey(stays[6]) == 61
  stays, _, _ = built["phenotyping"]
  assert _grey(stays[1]) == 15  # The stay goes on for 60 hours.
  assert stays[5]["cxr"] == b""
  assert not stays[5]["present"][1]
  assert np.isnan(stays[5]["cxr_hour"])


def _grey(example):
  """The level of the film, which is its study's number; checks its form."""
  import io

  from PIL import Image

  image = Image.open(io.BytesIO(example["cxr"]))
  assert image.mode == "L"
  assert min(image.size) == 512 and image.size == (512, 591)
  return round(np.asarray(image).mean())


def test_reports_in_order_within_the_window(built):
  stays, _, _ = built["in_hospital_mortality"]
  assert stays[1]["rr"].decode() == (
    'Heart "large",\nlungs, clear.\n\nAddendum.\n\nLater report.'
  )
  assert stays[1]["rr_hours"].tolist() == [1, 1, 2]
  assert stays[6]["rr"] == b"At intime."
  assert stays[1]["dn"] == b""
  assert not stays[1]["present"][3]
  stays, _, _ = built["phenotyping"]
  assert stays[1]["rr"].endswith(b"After 48 hours.")
  # A report of blanks is no report.
  assert not stays[5]["present"][2]
  assert stays[5]["rr"] == b""


def test_last_discharge_note_with_its_addendum(built):
  stays, _, _ = built["phenotyping"]
  assert stays[1]["dn"] == b"Final.\n\nAnd more."
  assert stays[1]["dn_hour"] == 62
  assert stays[1]["present"].tolist() == [True] * 4
  assert not stays[6]["present"][3]


def test_people(built):
  stays, _, _ = built["phenotyping"]
  assert {s: e["age"] for s, e in stays.items()} == {1: 60, 5: 70, 6: 18}
  assert stays[1]["gender"] == b"F"
  assert stays[1]["ethnicity"] == b"White"
  assert stays[5]["ethnicity"] == b"Hispanic"
  assert stays[6]["ethnicity"] == b"other"


@pytest.mark.parametrize(
  "charted, group",
  [
    ("WHITE", "White"),
    ("BLACK/CAPE VERDEAN", "Black"),
    ("ASIAN - KOREAN", "Asian"),
    ("HISPANIC/LATINO - CUBAN", "Hispanic"),
    ("PORTUGUESE", "other"),
    ("UNABLE TO OBTAIN", "unknown"),
    ("PATIENT DECLINED TO ANSWER", "unknown"),
    (None, "unknown"),
  ],
)
def test_ethnic_group(charted, group):
  assert cohort.ethnic_group(charted) == group


def test_normaliser_is_of_the_train_split(built):
  stays, metadata, report = built["phenotyping"]
  train = [e["ehr"] for e in stays.values() if e["split"] == "train"]
  rows = np.concatenate(train).astype(np.float64)
  columns = metadata["continuous"]
  assert columns == variables.continuous().tolist()
  mean, std = np.array(metadata["mean"]), np.array(metadata["std"])
  np.testing.assert_allclose(mean[columns], rows[:, columns].mean(axis=0))
  # Nobody has a pH: the normal value is every hour's, and 1 the spread.
  spread = rows[:, columns].std(axis=0, ddof=1)
  assert spread[-1] == 0 and mean[columns][-1] == np.float32(7.4)
  np.testing.assert_allclose(
    std[columns], np.where(spread < 1e-9, 1, spread), rtol=1e-6
  )
  assert {
    "variable": "pH",
    "why": "never measured in train",
    "done": "the normal value 7.4 is its mean, z-scored with a standard"
    " deviation of 1",
  } in report["constant_variables"]
  rest = np.delete(np.arange(76), columns)
  assert set(mean[rest]) == {0.0} and set(std[rest]) == {1.0}


def _beside(root):
  """The raw files with what the published pipeline reads in its own way."""
  tables = mimic_raw.rows()
  for time, item, value, number in (
    ("12:30", 220210, "8", "8"),  # Of two at one time "8" is the greater
    ("12:30", 224690, "23", "23"),  # text,
    ("12:30", 220739, "Spontaneously", "4"),
    ("12:30", 220739, "To Speech", "3"),  # T comes after S.
    ("12:30", 220051, "95", "95"),  # but a pressure is a number.
    ("12:30", 220180, "110", "110"),
    ("13:30", 227242, "111", "111"),  # No item of the map.
    ("13:30", 226707, "70", "70"),  # Inches; centimetres are more.
    ("13:30", 226730, "178", "178"),
    ("14:30", 226707, "71", "71"),  # Inches that stay inches.
    ("13:30", 223761, "70", "70"),  # Fahrenheit that stays so.
    ("13:30", 223835, "0.5", "0.5"),  # Percent, whatever it is.
    ("13:30", 220045, "90", ""),
    ("14:30", 220045, "", "91"),
  ):
    tables["mimiciv/icu/chartevents"].append(
      [5, 105, 1050, "", f"2150-01-01 {time}:00", "", item, value, number]
      + ["", ""]
    )
  # Its stay is none of the cohort.
  tables["mimiciv/icu/chartevents"].append(
    [5, 105, 1059, "", "2150-01-01 15:30:00", "", 220277, "90", "90", "", ""]
  )
  for time, value in (("13:30", "131"), ("15:30", "___")):
    tables["mimiciv/hosp/labevents"].append(
      [99, 5, 105, 50931, f"2150-01-01 {time}:00", value, "130", "mg/dL"]
    )
  # Somebody like subject 5 whose diagnoses nobody coded.
  for name, index in (("hosp/patients", 0), ("hosp/admissions", 1)):
    body = tables[f"mimiciv/{name}"]
    row = list(next(r for r in body if r[0] == 5))
    row[0], row[index] = 8, 108 if index else 8
    body.append(row)
  row = next(r for r in tables["mimiciv/icu/icustays"] if r[0] == 5)
  tables["mimiciv/icu/icustays"].append([8, 108, 1080, *row[3:]])
  row = next(r for r in tables["mimiciv/icu/chartevents"] if r[0] == 5)
  tables["mimiciv/icu/chartevents"].append([8, 108, 1080, *row[3:]])
  return mimic_raw.write(root, tables)


def test_as_published(tmp_path):
  """Every choice of `rules.published`, each by a row worked by hand."""
  raw = _beside(tmp_path / "raw")
  path = _build(raw, tmp_path / "out", "phenotyping", rules=rules.published())
  stays, metadata = read(path)
  assert sorted(stays) == [1, 5]  # Not 8: no diagnosis code.

  def series(name, subject=1):
    return stays[subject]["ehr"][:, _column(metadata, name)]

  for name, values in (
    ("Respiratory rate", [19, 19, 8, 8, 8, 8]),
    ("Glasgow coma scale eye opening->To Speech", [0, 0, 1, 1, 1, 1]),
    ("Diastolic blood pressure", [59, 59, 110, 110, 110, 110]),
    ("mask->Diastolic blood pressure", [0, 0, 1, 0, 0, 0]),
    ("Height", [170, 170, 170, 178, 71, 71]),
    ("Temperature", [36.6, 36.6, 36.6, 70, 70, 70]),
    ("Fraction inspired oxygen", [0.21, 0.21, 0.21, 0.005, 0.005, 0.005]),
    ("Heart rate", [86, 75, 75, 90, 90, 90]),
    ("mask->Heart rate", [0, 1, 0, 1, 0, 0]),
    ("Glucose", [128, 128, 128, 131, 131, 131]),
    ("mask->Glucose", [0, 0, 0, 1, 0, 0]),
    ("mask->Oxygen saturation", [0, 0, 0, 0, 0, 0]),
  ):
    np.testing.assert_allclose(
      series(name, 5)[:6], np.float32(values), rtol=1e-6, err_msg=name
    )
  # Charted before intime.
  assert series("mask->Height").sum() == 0
  report = json.loads((path / "report.json").read_text())
  (remark,) = [r for r in report["remarks"] if "--phenotypes=FILE" in r]
  assert remark.startswith("Labels of <11 stays with ICD-10 codes")
  assert series("mask->Glasgow coma scale total").sum() == 0
  assert series("Heart rate")[3] == 500
  assert series("Respiratory rate")[3] == 25
  # Labs of the admission only, urine glucose among them.
  assert series("Glucose")[[4, 5]].tolist() == [140, 1000]
  assert series("Glasgow coma scale eye opening->4 Spontaneously")[0] == 1
  # The whole admission's reports.
  assert stays[1]["rr"].startswith(b"Before.")


# Codes of ICD-10-CM that came after the list of 2019 (October 2019 to 2022),
# and the category of the code they were split from.
NEWER = {
  "N1830": 158, "N1831": 158, "N1832": 158,  # Chronic kidney disease.
  "I4811": 106, "I4819": 106, "I4820": 106, "I4821": 106,  # Fibrillation.
  "I4710": 106, "I4719": 106,  # Supraventricular tachycardia.
  "E8720": 55, "E8721": 55, "E8722": 55, "E8729": 55,  # Acidosis.
  "R051": 133, "R059": 133,  # Cough.
  "K2100": 138, "D84821": 57, "M5459": 205, "I7121": 115, "D75821": 62,
  # Below a heading that is no code: all its codes are of one category.
  "J1282": 122, "I2694": 103, "I202": 101, "K7682": 151, "G4042": 83,
}  # fmt: skip


@pytest.mark.parametrize("code", NEWER)
def test_a_newer_code_takes_the_category_of_its_prefix(code):
  assert code not in ccs.categories(10)
  assert ccs.lookup(code, 10) == (NEWER[code], True)
  dotted = f" {code[:3]}.{code[3:]} ".lower()
  assert ccs.lookup(dotted, 10) == (NEWER[code], True)


@pytest.mark.parametrize(
  "code, version",
  [
    ("U071", 10),  # COVID-19: U07 is in no list.
    ("U099", 10),
    ("I5A", 10),  # I5 is no heading.
    ("Z8616", 10),  # Below Z86.1 stand codes of four categories,
    ("D89831", 10),  # below D89.8 of two,
    ("T40711A", 10),  # below T40.7 poisonings and adverse effects.
    ("N1", 10),
    ("", 10),
    (" . ", 10),
    (None, 10),
    ("58490", 9),  # The list of ICD-9 is its last: no newer code can be.
    ("389", 9),  # 038.9 that has lost its zero, not hearing loss.
  ],
)
def test_codes_without_a_category(code, version):
  assert ccs.lookup(code, version) == (None, False)


def test_newer_codes_are_labelled_counted_and_listed(tmp_path):
  tables = mimic_raw.rows()
  tables["mimiciv/hosp/diagnoses_icd"] = [
    (1, 101, 1, "N18.30", 10),
    (1, 101, 2, "n1830 ", 10),  # The same once more.
    (1, 101, 3, "U071", 10),
    (5, 105, 1, "j1282", 10),
    (5, 105, 2, "Mr Smith", 10),  # No code: it is counted, never listed.
    (5, 105, 3, "", 10),
    (6, 106, 1, "I4820", 10),
    (6, 106, 2, "5849", 9),
  ]
  raw = mimic_raw.write(tmp_path / "raw", tables)
  path = _build(raw, tmp_path / "out", "phenotyping", mimic_cxr=None)
  stays, metadata = read(path)
  names = {
    s: [metadata["label_names"][i] for i in np.flatnonzero(stays[s]["label"])]
    for s in stays
  }
  assert names[1] == ["Chronic kidney disease"]
  assert [n.split(" (")[0] for n in names[5]] == ["Pneumonia"]
  assert sorted(names[6]) == [
    "Acute and unspecified renal failure",
    "Cardiac dysrhythmias",
  ]
  report = json.loads((path / "report.json").read_text())
  few = "<11"
  assert report["codes_without_category"] == [
    {"version": 10, "code": "U071", "patients": few}
  ]
  for name in (
    "distinct_icd10_codes_by_their_prefix",
    "diagnoses_of_icd10_by_their_prefix",
    "distinct_icd10_codes_without_category",
    "diagnoses_of_a_blank_code",
  ):
    assert report["facts"][name] == few, name
  for file in ("report.txt", "quality.html", "quality.json", "report.json"):
    text = (path / file).read_text()
    assert "U071" in text and "SMITH" not in text.upper()


def test_the_order_of_listed_codes_tells_no_small_count():
  people = types.SimpleNamespace(
    codes=[(10, "U071", 3), (10, "U099", 9), (9, "0000", 2), (10, "I5A", 11)]
  )
  listed = [(c["code"], c["patients"]) for c in quality.codes(people)]
  few = "<11"
  rest = [("0000", few), ("U071", few), ("U099", few)]
  assert listed == [("I5A", "~20"), *rest]
  listed = quality.codes(people, disclosure.OPEN)
  assert [c["patients"] for c in listed] == [11, 9, 3, 2]


def test_only_the_whole_demo_alone_is_openly_licensed():
  """Its numbers of rows, each of them, and no films or notes beside it."""
  demo = dict(zip(release.TABLES, release.ROWS[release.DEMO]))
  assert release.licence(demo).endswith("Open Database License v1.0")
  assert release.licence(demo | {"outputevents": None})
  for rows in (
    dict(zip(release.TABLES, release.ROWS["v2.2"])),
    demo | {"labevents": demo["labevents"] + 1},
    demo | {"labevents": None},
    {},
  ):
    assert release.licence(rows) is None
  assert release.licence(demo, cxr="films") is None
  assert release.licence(demo, note="notes") is None


def test_codes_of_both_versions():
  assert ccs.category("0389", 9) == ccs.category("A419", 10) == 2
  assert ccs.category("78552", 9) == ccs.category("R6521", 10) is not None
  assert ccs.category(" 5849 ", 9) == 157
  assert ccs.category("nonsense", 9) is None
  assert ccs.category("5849", 11) is None
  assert len(ccs.categories(9)) > 15_000
  assert len(ccs.categories(10)) > 70_000


@pytest.mark.parametrize(
  "core, ethnic, caregiver, years, wanted",
  [
    (True, "ethnicity", False, "2017 - 2019", "v1.0"),
    (False, "race", False, "2017 - 2019", "v2.0 or v2.1"),
    (False, "race", True, "2017 - 2019", "v2.2"),
    (False, "race", True, "2020 - 2022", "v3.0 or v3.1"),
  ],
)
def test_release_by_folders_columns_and_years(
  core, ethnic, caregiver, years, wanted
):
  columns = {
    "admissions": {ethnic},
    "chartevents": {"caregiver_id"} if caregiver else set(),
  }
  found = release.by_layout(core, columns, ["2008 - 2010", years])
  assert found == wanted


@pytest.mark.parametrize("name", release.ROWS)
def test_release_by_counts(name):
  rows = dict(zip(release.TABLES, release.ROWS[name]))
  found, remarks = release.detect("v2.2", rows)
  assert found == name and remarks[0].startswith("Row counts of all 7 tables")
  rows["outputevents"] = None  # Not there.
  assert release.detect("v2.2", rows)[0] == name
  rows["chartevents"] -= 1
  found, remarks = release.detect("v2.2", rows)
  assert found == name and "chartevents are not those of" in remarks[0]
  rows = {t: n - 1 for t, n in rows.items() if n}
  found, remarks = release.detect("v2.2", rows)
  assert found == "v2.2" and "no release" in remarks[0]
  assert "truncated download" in remarks[0]


def test_release_by_the_name_of_its_folder():
  """What a recursive download of the site leaves tells v2.0 from v2.1."""
  detect = release.detect
  assert detect("v2.0 or v2.1", {"patients": 1}, "/x/mimiciv/2.1")[0] == "v2.1"
  assert detect("v2.0 or v2.1", {"patients": 1}, "/x/2.2/iv")[0] == (
    "v2.0 or v2.1"
  )
  assert detect("v2.0 or v2.1", {"patients": 1}, "/3.12.0/iv")[0] == (
    "v2.0 or v2.1"
  )
  rows = dict(zip(release.TABLES, release.ROWS["v2.0 or v2.1"]))
  assert detect("v2.2", rows, "mimic-iv-2.0")[0] == "v2.0"
  found, remarks = detect("v3.0 or v3.1", {"patients": 1}, "mimiciv/3.0/")
  assert found == "v3.0" and "not those of v3.1" in remarks[0]


def test_releases_of_films_and_notes(tmp_path):
  names, remarks = release.others(None, None, {})
  assert not names and not remarks
  full = dict(release.OTHERS)
  names, remarks = release.others(tmp_path / "2.0.0", "note", full)
  assert names == ["MIMIC-CXR-JPG 2.0.0", "MIMIC-IV-Note 2.2"] and not remarks
  (tmp_path / "mimic-cxr-2.1.0-test-set-labeled.csv").write_text("")
  names, remarks = release.others(tmp_path, None, full | {"radiology": 5})
  assert names == ["MIMIC-CXR-JPG 2.1.0"]
  assert "radiology has 5 rows, 2,321,355 as published" in remarks[0]


def test_tables_nothing_is_taken_from_are_counted(raw, tmp_path):
  root = tmp_path / "raw"
  mimic_raw.write(root)
  outputs = root / "mimiciv" / "icu" / "outputevents.csv"
  outputs.write_text("subject_id,hadm_id\n1,101\n")
  path = _build(root, tmp_path / "out", "in_hospital_mortality")
  found = json.loads((path / "report.json").read_text())
  assert found["tables"]["outputevents"]["rows"] == 1
  assert found["tables"]["diagnoses_icd"]["rows"] == 6
  assert "Row counts are those of no release" in found["remarks"][0]
  # Damage there is told and stops nothing.
  outputs.write_text("subject_id,hadm_id\n")
  path = _build(root, tmp_path / "more", "in_hospital_mortality")
  found = json.loads((path / "report.json").read_text())
  assert any("outputevents.csv: holds a header" in r for r in found["remarks"])
