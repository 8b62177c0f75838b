"""MEDS: the same records as from MIMIC's own files; and bad input."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from data import build as build_lib
from data import errors, synthetic
from data.meds import mapping
from data.mimic import cohort
from tests import meds_folder, mimic_raw
from tests.meds_folder import MAP, SECRET
from tests.test_mimic import examples

# MIMIC's splits and MEDS's.
NAMES = {"train": "train", "validation": "tuning", "test": "held_out"}


def read(path):
  return {int(e["stay_id"]): e for e in examples(path)}


def both(raw, root, monkeypatch, task, map=None):
  """The same stays from MIMIC's files and from MEDS: (stays, metadata) twice."""
  cohorts = []
  load = cohort.load

  def loaded(*args, **options):
    cohorts.append(load(*args, **options))
    return cohorts[-1]

  monkeypatch.setattr(cohort, "load", loaded)
  path = build_lib.build(
    source="mimic",
    task=task,
    data_dir=root / "mimic",
    threads=1,
    quiet=True,
    **mimic_raw.folders(raw),
  )
  (people,) = cohorts
  theirs = read(path)
  metadata = json.loads((path / "metadata.json").read_text())
  where = dict(zip(people.subject_id.tolist(), people.split.tolist()))
  names = list(NAMES.values())
  meds_folder.of_mimic(
    raw, root / "meds", {s: names[i] for s, i in where.items()}
  )
  begins = _starts(root / "meds")
  until = [
    begins[s] + datetime.timedelta(seconds=round(3600 * e))
    for s, e in zip(people.stay_id.tolist(), people.end.tolist())
  ]
  (root / "labels").mkdir()
  for i, name in enumerate(metadata["label_names"]):
    table = {
      "subject_id": people.subject_id,
      "prediction_time": pa.array(until, pa.timestamp("us")),
      "boolean_value": people.label[:, i] == 1,
    }
    parquet.write_table(
      pa.table(table), root / f"labels/{name.replace('/', ' ')}.parquet"
    )
  (root / "map.yaml").write_text(meds_folder.MIMIC_MAP)
  found = build_lib.build(
    source="meds",
    meds=root / "meds",
    labels=root / "labels",
    map=map or root / "map.yaml",
    images=mimic_raw.folders(raw)["mimic_cxr"],
    task="again",
    data_dir=root / "out",
    threads=1,
    quiet=True,
  )
  again = json.loads((found / "metadata.json").read_text())
  return (theirs, metadata), (read(found), again)


def _starts(root):
  rows = [
    r
    for p in sorted(root.rglob("data/*/*.parquet"))
    for r in parquet.read_table(p).to_pylist()
  ]
  return {r["icustay_id"]: r["time"] for r in rows if r["icustay_id"]}


def same(theirs, ours):
  """Asserts that two datasets hold the same."""
  (stays, about), (again, about_again) = theirs, ours
  assert list(stays) == list(again) and len(stays) > 2
  assert about["columns"] == about_again["columns"]
  np.testing.assert_array_equal(about["mean"], about_again["mean"])
  np.testing.assert_array_equal(about["std"], about_again["std"])
  for number, stay in stays.items():
    other = again[number]
    assert {"ehr", "label", "age", "gender", "split"} <= set(other)
    for field in set(stay) & set(other) - {"present"}:
      np.testing.assert_array_equal(stay[field], other[field], field)


def test_records_of_a_twin_are_those_of_mimics_own_files(tmp_path, monkeypatch):
  """The central one: 40 subjects, every variable, film and report."""
  synthetic.write(
    tmp_path / "raw", subjects=40, seed=3, density=0.02, film_size=64
  )
  found = both(tmp_path / "raw", tmp_path, monkeypatch, "in_hospital_mortality")
  same(*found)
  stays, _ = found[1]
  assert any(s["cxr"] for s in stays.values())
  assert any(s["rr"] for s in stays.values())


def test_cleaning_worked_by_hand_is_that_of_mimics_own_files(
  tmp_path, monkeypatch
):
  """Pounds, inches, pressures as text, carried in, clamped, coma totals."""
  raw = mimic_raw.write(tmp_path / "raw")
  found = both(raw, tmp_path, monkeypatch, "phenotyping", map="mimic")
  same(*found)
  assert {"ehr", "ethnicity"} <= set(found[1][0][1010])


def test_the_map_of_the_page_is_one(repository, tmp_path):
  page = (repository / "docs/meds.md").read_text("utf-8")
  (tmp_path / "a.yaml").write_text(page.split("```yaml")[1].split("```")[0])
  found = mapping.read(tmp_path / "a.yaml")
  assert found.hours == 48 and len(found.of("variable")) == 4
  assert found.of("variable")[1].sources[1].multiply == 0.5555556


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
  path = meds_folder.build(tmp_path_factory.mktemp("ward"))
  return read(path), json.loads((path / "metadata.json").read_text()), path


def test_a_sample_by_hand(ward):
  stays, metadata, path = ward
  stay, columns = stays[1], metadata["columns"]

  def column(name):
    return stay["ehr"][:, columns.index(name)].tolist()

  # Neither what was charted before the window nor after the prediction time.
  assert column("Heart rate") == [71] * 6
  assert column("mask->Heart rate") == [1, 0, 0, 0, 0, 0]
  np.testing.assert_allclose(column("Temperature"), [37] + [37] * 5, atol=1e-5)
  assert column("mask->Temperature") == [0, 1, 0, 0, 0, 0]
  assert column("Rhythm->af") == [0, 1, 1, 1, 1, 1]
  assert column("Pump->yes") == [0, 0, 0, 1, 1, 1]
  assert stay["nursing"] == b"sleeps, pink" and stay["nursing_hours"] == [3]
  assert stay["gender"] == b"F" and stay["age"] == 50
  assert [stays[s]["split"] for s in (1, 7, 8)] == [
    "train", "validation", "test",
  ]  # fmt: skip
  assert [float(stays[s]["label"][0]) for s in (1, 2)] == [0, 1]
  assert metadata["label_names"] == ["death"]
  assert metadata["source_version"] == "ward"
  assert (
    "MEDS 0.4, ward, by map.yaml (sha256" in (path / "report.txt").read_text()
  )


def test_nothing_later_than_the_prediction_time_is_seen(ward, tmp_path):
  shards = meds_folder.rows()
  shards = {
    name: [r for r in body if r[1] is None or r[1] <= 6]
    for name, body in shards.items()
  }
  cut = read(meds_folder.build(tmp_path, shards=shards))
  for number, stay in ward[0].items():
    np.testing.assert_array_equal(stay["ehr"], cut[number]["ehr"])
    assert stay["nursing"] == cut[number]["nursing"]


def test_words_are_labels_and_several_times_of_a_subject_are_samples(tmp_path):
  samples = [(s, h) for s in range(1, 9) for h in (4, 6)]
  words = ["home", "ward"] * 7 + ["home", "icu"]
  path = meds_folder.build(
    tmp_path, samples=samples, categorical_value=words, map=MAP
  )
  metadata = json.loads((path / "metadata.json").read_text())
  assert metadata["label_names"] == ["death_home", "death_icu", "death_ward"]
  stays = read(path)
  assert len(stays) == 16 and stays[16]["label"].tolist() == [0, 1, 0]
  # At hour 4 the window began two hours before the chart.
  assert stays[1]["ehr"][:, 0].tolist() == [60, 60, 71, 71, 71, 71]


def test_embeddings_of_the_window_are_a_modality(tmp_path):
  shards = meds_folder.rows()
  for body in shards.values():
    for subject in {r[0] for r in body}:
      at = [r[0] for r in body].index(subject) + 3
      body.insert(at, (subject, 0.25, "ECG//12", None, "ecg/a.npy"))
      last = max(i for i, r in enumerate(body) if r[0] == subject)
      body.insert(last + 1, (subject, 8, "ECG//12", None, "ecg/b.npy"))
  ecg = "embeddings:\n  ecg: {codes: [ECG//*], model: org/ecg-1}\n"
  given = meds_folder.write(tmp_path, shards=shards, map=MAP + ecg)
  (tmp_path / "meds/ecg").mkdir()
  np.save(tmp_path / "meds/ecg/a.npy", np.arange(6.0).reshape(2, 3))
  path = build_lib.build(**given)
  metadata = json.loads((path / "metadata.json").read_text())
  assert metadata["embeddings"]["ecg"]["model"] == "org/ecg-1"
  for stay in read(path).values():
    np.testing.assert_array_equal(stay["ecg"], [[0, 1, 2], [3, 4, 5]])
    assert stay["ecg_hours"] == [0.25]


def _shift(shards):
  shards["train/0"][4] = (1, 0.1, "TEMP//F", 98.6, None)


def _apart(shards):
  shards["train/0"].append((1, 8, "HR", 70.0, None))


def _two(shards):
  shards["tuning/0"].insert(0, (3, 1, "HR", 70.0, None))


def _nan(shards):
  shards["train/0"][3] = (1, 0.5, "HR", float("nan"), None)


def _word(shards):
  shards["train/0"][5] = (1, 2, "RHYTHM", None, SECRET)


def _limit(shards):
  shards["train/0"][3] = (1, 0.5, "HR", None, "<5")


def _empty(shards):
  shards["train/0"][3] = (1, 0.5, None, 70.0, None)


@pytest.mark.parametrize(
  "change, options, wanted",
  [
    (_shift, {}, r"train/0.parquet, row 5, column time: .* by time"),
    (_apart, {}, r"train/0.parquet, row 61, column subject_id: .* together"),
    (_two, {}, r"tuning/0.parquet, row 1, column subject_id: .* one shard"),
    (_nan, {}, r"train/0.parquet, row 4, column numeric_value: NaN"),
    (_word, {}, r"row 6, column text_value: is none of the categories of R"),
    (_limit, {}, r"row 4, column text_value: .*limit.*--censored=drop"),
    (_empty, {}, r"train/0.parquet, row 4, column code: is empty"),
    (None, {"version": "0.3.3"}, "meds_version: found '0.3.3', wanted 0.4"),
    (None, {"version": None}, "meds_version: found none, wanted 0.4"),
    (
      None,
      {"map": MAP.replace("[HR]", "[HEART]")},
      r"variable Heart rate: matches no code of .*optional: true",
    ),
    (
      None,
      {"samples": [(1, 6, True), (99, 6, False)]},
      r"death.parquet, row 2, column subject_id: the subject has no row in",
    ),
    (
      None,
      {"samples": [(1, 6, True), (1, 6, False)]},
      r"death.parquet, row 2, column prediction_time: .* been there before",
    ),
    (
      None,
      {"map": MAP.replace("{hours: 6}", "{start: [PUMP//*]}")
       , "samples": [(1, 6, True), (2, 3, True)]},
      r"death.parquet, row 2, .*no event that begins a window",
    ),
    (None, {"integer_value": list(range(8))}, "row 3, .*neither 0 nor 1"),
    (None, {"float_value": [0.0, float("nan")] * 4}, "row 2, .*neither 0 nor"),
    (None, {"weight": [0] * 8}, "no column of values; wanted one of boolean"),
    (None, {"map": MAP.replace("hours: 6", "hour: 6")}, "'hour' is unknown"),
    (
      None,
      {"map": MAP.replace("{hours: 6}", "{start: [PUMP//*], stay_id: icu}")},
      "column icu: is missing",
    ),
    (None, {"map": "window: {hours: 6}\n"}, "maps no code to an input"),
    (None, {"map": MAP.replace("unit: /min", "units: x")}, "'units' is unknown"),
  ],
)  # fmt: skip
def test_bad_input_is_one_line(tmp_path, change, options, wanted):
  shards = meds_folder.rows()
  if change:
    change(shards)
  with pytest.raises(errors.InputError, match=wanted) as error:
    meds_folder.build(tmp_path, shards=shards, **options)
  assert "\n" not in str(error.value) and SECRET not in str(error.value)
  assert not (tmp_path / "out").exists()


def _damage(path, root):
  path.write_bytes(path.read_bytes()[:-9])


def _unsplit(path, root):
  path = root / "meds/metadata/subject_splits.parquet"
  parquet.write_table(pa.table({"subject_id": [1], "split": ["dev"]}), path)


def _half_split(path, root):
  path = root / "meds/metadata/subject_splits.parquet"
  parquet.write_table(pa.table({"subject_id": [1], "split": ["train"]}), path)


def _texts(path, root):
  table = parquet.read_table(path)
  times = table["time"].cast(pa.string())
  parquet.write_table(table.set_column(1, "time", times), path)


def _none(path, root):
  for shard in (root / "meds/data").rglob("*.parquet"):
    shard.unlink()


@pytest.mark.parametrize(
  "harm, wanted",
  [
    (_damage, "train/0.parquet: .*copy it again|is no table"),
    (_unsplit, "subject_splits.parquet, row 1, column split: is none of train"),
    (_half_split, "death.parquet, row 2, .* in no split"),
    (_texts, "0.parquet, column time: is of type VARCHAR, wanted TIMESTAMP"),
    (_none, "data/ holds no .parquet file"),
  ],
)
def test_damaged_files_are_one_line(tmp_path, harm, wanted):
  given = meds_folder.write(tmp_path)
  harm(tmp_path / "meds/data/train/0.parquet", tmp_path)
  with pytest.raises(errors.InputError, match=wanted) as error:
    build_lib.build(**given)
  assert "\n" not in str(error.value)


def test_label_files_of_other_samples_are_refused(tmp_path):
  given = meds_folder.write(tmp_path)
  table = parquet.read_table(tmp_path / "death.parquet").slice(1)
  parquet.write_table(table, tmp_path / "return.parquet")
  given["labels"] = f"{tmp_path}/death.parquet,{tmp_path}/return.parquet"
  with pytest.raises(errors.InputError, match="death.parquet, row 1, .* same"):
    build_lib.build(**given)


@pytest.mark.parametrize(
  "change, wanted",
  [
    ({"labels": None}, "--source=meds needs --labels=FILE"),
    ({"labels": "nowhere"}, "--labels=nowhere: holds no .parquet file"),
    ({"meds": "nowhere"}, "--meds=nowhere: found nothing, wanted a folder"),
    ({"map": "nowhere"}, "--map=nowhere: cannot be read"),
    ({"images": "nowhere"}, "--images=nowhere: is no folder"),
  ],
)
def test_what_is_not_there_is_named(change, wanted, tmp_path):
  with pytest.raises(errors.InputError, match=wanted):
    build_lib.build(**meds_folder.write(tmp_path) | change)


def test_limits_are_dropped_or_bound_when_it_is_said(tmp_path):
  shards = meds_folder.rows()
  _limit(shards)
  given = meds_folder.write(tmp_path, shards=shards) | {"censored": "bound"}
  stays = read(build_lib.build(**given))
  assert stays[1]["ehr"][0, 0] == 5
