"""Own tables -> records, worked by hand; and every kind of damage."""

import gzip
import json
import re

import numpy as np
import pytest

from data import build as build_lib
from data import errors, records, resume, shards
from medpatch_jax.input.dataset import Dataset
from medpatch_jax.input.tables import layout
from tests import tables_folder
from tests.tables_folder import SECRET
from tests.test_build import _digest as digest


def read(out, task="mine"):
  """stay -> record, and the dataset."""
  data = Dataset(out, task)
  stays = {}
  for split in ("train", "validation", "test"):
    source = data.source(split, tuple(data._builder.info.features))
    stays |= {int(s["stay_id"]): s | {"split": split} for s in source}
  return stays, data


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  root = tmp_path_factory.mktemp("tables")
  tables_folder.build(tables_folder.write(root / "in"), root / "out")
  return read(root / "out")


def test_series_by_hand(built):
  stays, data = built
  assert data.metadata["columns"] == [
    "Pulse", "Rhythm->sinus", "Rhythm->af", "Rhythm->paced", "Lactate",
    "mask->Pulse", "mask->Rhythm", "mask->Lactate",
  ]  # fmt: skip
  np.testing.assert_array_equal(
    stays[1]["ehr"],
    [  # The pulse of 2.9 is out of range: that of the hour before stays.
      [110, 1, 0, 0, 2, 1, 0, 1],
      [121, 1, 0, 0, 2, 1, 0, 0],
      [121, 0, 1, 0, 2, 0, 1, 0],
    ],
  )
  # 2.5 hours are three rows. The normal lactate is the mean of the train
  # split's two; no pulse lies in the stay.
  np.testing.assert_array_equal(
    stays[2]["ehr"],
    [
      [80, 1, 0, 0, 3, 0, 0, 0],
      [80, 1, 0, 0, 4, 0, 0, 1],
      [80, 1, 0, 0, 4, 0, 0, 0],
    ],
  )
  train = np.concatenate([stays[1]["ehr"], stays[2]["ehr"]])
  assert data.metadata["continuous"] == [0, 4]
  for column in (0, 4):
    assert np.isclose(data.mean[column], train[:, column].mean())
    assert np.isclose(data.std[column], train[:, column].std(ddof=1))
  assert data.mean[1] == 0 and data.std[1] == 1
  assert data.description.hours == 3


def test_variables_that_do_not_vary_in_train(tmp_path):
  tables = tables_folder.rows()
  names = ("Oxygen", "Pump", "Base", "Acid", "Dose", "Mode", "Gas")
  tables["variables"] += [
    dict(name=n, low=low, high=high, categories=words)
    for n, low, high, words in zip(
      names,
      ("", "", "", 6.3, 5, "", ""),
      ("", "", "", 8.5, "", "", ""),
      ("", "", "", "", "", "a|b", "a|b"),
    )
  ]
  event = tables_folder._event
  for stay in (1, 2):
    tables["events"] += [
      event(stay, 0.5, "Oxygen", 0.21),
      event(stay, 0.5, "Pump", 0.1),
      event(stay, 1.5, "Pump", 0.10000001 * stay / stay),
      event(stay, 0.5, "Base", 1e-9 * stay),
      event(stay, 0.5, "Gas", "b"),
    ]
  test = dict(Oxygen=1.0, Pump=0.2, Base=-2, Acid=7.1, Dose=9, Mode="b")
  tables["events"] += [event(4, 0.5, n, value) for n, value in test.items()]
  tables_folder.build(tables_folder.write(tmp_path / "in", tables), tmp_path)
  stays, data = read(tmp_path)

  def column(name):
    return data.metadata["columns"].index(name)

  # The fill of what train never had: the middle of its range, else what is
  # nearest to 0 in it.
  assert stays[3]["ehr"][0, column("Acid")] == np.float32(7.4)
  assert stays[3]["ehr"][0, column("Dose")] == 5
  z = (stays[4]["ehr"] - data.mean) / data.std
  got = [z[0, column(n)] for n in ("Oxygen", "Pump", "Base", "Acid", "Dose")]
  np.testing.assert_allclose(got, [0.79, 0.1, -2, -0.3, 4], atol=1e-6)
  for name in ("report", "quality"):
    found = json.loads((data.path / f"{name}.json").read_text())
    why = {v["variable"]: v["why"] for v in found["constant_variables"]}
    never = "never measured in train"
    assert why == {
      **dict.fromkeys(("Oxygen", "Pump", "Base"), "one value in all of train"),
      **dict.fromkeys(("Acid", "Dose", "Mode"), never),
      "Gas": "one value in all of train",
    }
  for file in ("report.txt", "quality.html"):
    text = (data.path / file).read_text()
    assert "Acid: never measured in train; the normal value 7.4 is" in text


def test_modalities_are_what_the_tables_hold(built):
  stays, data = built
  assert data.description.kinds == {
    "ehr": "series",
    "cxr": "image",
    "nursing": "text",
    "triage": "text",
  }
  present = {s: list(e["present"]) for s, e in stays.items()}
  assert present == {
    1: [True, True, True, True],
    2: [True, False, False, False],
    3: [True, False, False, False],
    4: [False, False, False, True],
  }
  assert stays[4]["ehr"].shape == (0, 8)
  assert stays[1]["cxr"] == tables_folder.film(20)  # The last of its hours.
  assert stays[1]["cxr_hour"] == 2 and np.isnan(stays[2]["cxr_hour"])
  assert stays[1]["triage"] == b"first\nwith a break\n\nsecond"
  np.testing.assert_array_equal(stays[1]["triage_hours"], [0, 1])
  assert stays[2]["triage"] == b""


def test_labels_splits_and_groups(built):
  stays, data = built
  assert data.labels == ("death", "sepsis")
  labels = {s: e["label"].tolist() for s, e in stays.items()}
  assert labels == {1: [1, 0], 2: [0, 1], 3: [0, 0], 4: [1, 1]}
  assert {s: e["split"] for s, e in stays.items()} == {
    1: "train",
    2: "train",
    3: "validation",
    4: "test",
  }
  assert data.metadata["groups"] == {"sex": "word", "age": "number"}
  assert [stays[s]["sex"] for s in (1, 2, 4)] == [b"F", b"M", b"unknown"]
  assert stays[1]["age"] == 60 and np.isnan(stays[4]["age"])


def test_report_counts_what_was_not_used(built):
  _, data = built
  report = json.loads((data.path / "report.json").read_text())
  assert report["filters"][-1]["stays_left"] == "<11"
  assert report["tables"]["events"]["rows"] == 12
  facts = report["facts"]
  assert facts["events_outside_the_hours_of_the_stay"] == "<11"
  assert report["variables"]["Pulse"]["events_outside"] == "<11"
  text = (data.path / "report.txt").read_text()
  assert "triage" in text and "publ." not in text and "first" not in text


def test_parquet_and_gzip_give_the_same_records(tmp_path):
  import duckdb

  one = tables_folder.write(tmp_path / "csv")
  two = tables_folder.write(tmp_path / "two")
  for name in ("events", "stays", "variables"):
    path = two / f"{name}.csv"
    numbers = "" if name == "events" else ", all_varchar=true"
    duckdb.sql(
      f"COPY (FROM read_csv('{path}'{numbers}, quote='\"'))"
      f" TO '{two}/{name}.parquet'"
    )
    path.unlink()
  packed = (two / "notes.csv").read_bytes()
  (two / "notes.csv").unlink()
  (two / "notes.csv.gz").write_bytes(gzip.compress(packed))
  found = []
  for folder, threads in ((one, 1), (two, 3)):
    path = tables_folder.build(
      folder, tmp_path / f"out-{threads}", threads=threads
    )
    found.append(json.loads((path / "metadata.json").read_text()))
  assert found[0] == found[1]


@pytest.mark.parametrize("kept", ["events", "notes", "images"])
def test_any_subset_of_tables(kept, tmp_path):
  tables = tables_folder.rows()
  for name in {"events", "notes", "images"} - {kept}:
    del tables[name]
  if kept != "events":
    del tables["variables"]
  tables_folder.build(tables_folder.write(tmp_path / "in", tables), tmp_path)
  stays, data = read(tmp_path)
  assert set(data.description.kinds.values()) == {
    {"events": "series", "notes": "text", "images": "image"}[kept]
  }
  assert all(e["present"].any() for e in stays.values())
  assert (
    set(stays) == {"events": {1, 2, 3}, "notes": {1, 4}, "images": {1}}[kept]
  )


def test_tables_are_open_only_where_it_is_said(built, tmp_path):
  """The same four stays: counted with a licence, hidden without."""
  _, secret = built
  assert not secret.open and secret.metadata["license"] is None
  assert "<11" in (secret.path / "report.txt").read_text()
  folder = tables_folder.write(tmp_path / "in")
  path = tables_folder.build(folder, tmp_path, open_license="CC BY 4.0")
  metadata = json.loads((path / "metadata.json").read_text())
  assert metadata["open"] is True and metadata["license"] == "CC BY 4.0"
  report = json.loads((path / "report.json").read_text())
  assert "Licence: CC BY 4.0." in (path / "report.txt").read_text()
  for name in ("report.txt", "quality.html"):
    assert "&lt;11" not in (text := (path / name).read_text())
    text = re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)
    assert "<11" not in text and "hidden" not in text
  assert all(0 < s["stays"] < 11 for s in report["splits"].values())
  for source, name in (("tables", " "), ("synthetic", "ODC-BY")):
    with pytest.raises(errors.InputError, match="wanted the name"):
      build_lib.build(
        source=source, tables=folder, data_dir=tmp_path, open_license=name
      )


def test_without_a_split_subjects_are_hashed_and_stay_together(tmp_path):
  tables = tables_folder.rows()
  tables["stays"] = [
    {"stay_id": i, "subject_id": i // 3, "hours": 3, "label_death": i % 2}
    for i in range(1, 300)
  ]
  tables_folder.build(tables_folder.write(tmp_path / "in", tables), tmp_path)
  # Only stays 1 to 4 have any data, but every stay is in one split.
  tables["events"] = [
    dict(stay_id=i, hour=1, variable="Pulse", value=80) for i in range(1, 300)
  ]
  tables_folder.build(
    tables_folder.write(tmp_path / "in", tables), tmp_path, overwrite=True
  )
  stays, _ = read(tmp_path)
  split = {}
  for stay, record in stays.items():
    assert split.setdefault(stay // 3, record["split"]) == record["split"]
  counts = [
    sum(s == name for s in split.values()) for name in ("train", "test")
  ]
  assert 55 <= counts[0] <= 85 and 10 <= counts[1] <= 32  # Of 100 subjects.


def test_outcomes_may_be_missing_in_all_of_test(tmp_path):
  tables = tables_folder.rows()
  for line in tables["stays"]:
    if line["split"] == "test":
      line["label_death"] = line["label_sepsis"] = ""
  tables_folder.build(tables_folder.write(tmp_path / "in", tables), tmp_path)
  stays, data = read(tmp_path)
  assert np.isnan(stays[4]["label"]).all()
  report = json.loads((data.path / "report.json").read_text())
  assert report["splits"]["test"]["labels"]["death"]["stays"] is None


def test_every_problem_is_told_at_once(tmp_path):
  tables = tables_folder.rows()
  tables["stays"][1]["hours"] = SECRET
  tables["stays"][2]["label_sepsis"] = 2
  tables["stays"][3]["stay_id"] = 1
  tables["variables"][0]["normal"] = 1000
  tables["events"][0]["value"] = SECRET
  tables["events"][3]["hour"] = 1e9
  tables["events"][4]["value"] = SECRET
  tables["events"][6]["variable"] = SECRET
  tables["events"][7]["stay_id"] = 77
  tables["events"][8]["stay_id"] = "7.5"
  tables["notes"][0]["kind"] = "Two words"
  tables["notes"][1]["kind"] = "late"  # The name of a prediction.
  tables["images"][0]["path"] = "../a.png"
  tables["images"][1]["path"] = "/etc/passwd"
  message = tables_folder.refused(
    tables_folder.write(tmp_path / "in", tables),
    tmp_path / "out",
    r"stays.csv, column hours: no number of hours .* \(row 2\)",
    r"stays.csv, column label_sepsis: neither 0 nor 1 \(row 3\)",
    r"stays.csv, column stay_id: has been there before.* \(row 4\)",
    r"variables.csv, column normal: lies outside low and high \(row 1\)",
    r"events.csv, column hour: no number, or .* \(row 4\)",
    r"events.csv, column stay_id: is of no stay.* \(row 8",
    r"events.csv, column stay_id: no whole number \(row 9\)",
    r"events.csv, column value: none of its categories \(row 5\)",
    r"events.csv, column variable: is none of .*\(row 1, 2, 3, 4, 6 and 5 more",
    r"notes.csv, column stay_id: is of no stay .* \(row 5\)",
    r"notes.csv, column kind: .* \(row 1, 2\)",
    r"images.csv, column path: leads outside .* \(row 1, 2\)",
    r": 13 problems, nothing was built",
  )
  assert "passwd" not in message


def _drop(column):
  def damage(folder, tables, name):
    for line in tables[name]:
      line.pop(column, None)

  return damage


def _cells(column, value):
  def damage(folder, tables, name):
    tables[name][0][column] = value

  return damage


DAMAGE = {
  "missing column": ("events", _drop("value"), "events.csv, column value: is missing"),
  "unknown column": ("stays", _cells("label", 1), "column label: is unknown"),
  "no label": ("stays", lambda f, t, n: [
    [line.pop(c) for c in ("label_death", "label_sepsis")] for line in t[n]
  ], "has no label"),
  "missing label": ("stays", _cells("label_death", ""), r"label_death: is empty.*row 1"),
  "wrong type": ("events", _cells("value", SECRET), r"column value: no number \(row 1\)"),
  "infinite": ("events", _cells("value", "inf"), r"column value: no number \(row 1\)"),
  "two splits": ("stays", lambda f, t, n: t[n][2].update(subject_id=11), "two splits .row 3"),
  "split": ("stays", _cells("split", SECRET), "none of train, validation, test"),
  "absurd hour": ("notes", _cells("hour", "1e300"), r"column hour: .*row 1"),
  "no such stay": ("notes", _cells("stay_id", 99), r"stay_id: is of no stay .*row 1"),
  "all outside": ("images", lambda f, t, n: [
    line.update(hour=100) for line in t[n]
  ], "no row lies in the hours"),
  "missing image": ("images", _cells("path", "films/none.png"), None),
  "used image missing": ("images", lambda f, t, n: t[n][1].update(path="films/x.png"), r"names no file .*row 2"),
  "image above": ("images", _cells("path", "films/../../a.png"), "leads outside"),
  "image elsewhere": ("images", _cells("path", "C:\\a.png"), "leads outside"),
  "categories": ("variables", lambda f, t, n: t[n][1].update(categories="af"), "two or more"),
  "range": ("variables", _cells("low", 300), "low: is not below high"),
  "variable twice": ("variables", lambda f, t, n: t[n][2].update(name="Pulse"), "before .row 3"),
  "taken group": ("stays", lambda f, t, n: [
    line.update(group_label=1) for line in t[n]
  ], "group_label: wanted letters"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_tables_are_refused(name, tmp_path):
  table, damage, wanted = DAMAGE[name]
  tables = tables_folder.rows()
  damage(tmp_path, tables, table)
  folder = tables_folder.write(tmp_path / "in", tables)
  if wanted is None:  # An image that another one of the stay replaces.
    tables_folder.build(folder, tmp_path / "out")
  else:
    tables_folder.refused(folder, tmp_path / "out", wanted)


def _change(name, change):
  def damage(folder):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))

  return damage


def _pack(folder, cut=0):
  raw = (folder / "events.csv").read_bytes() * 50
  (folder / "events.csv").unlink()
  packed = gzip.compress(raw)
  (folder / "events.csv.gz").write_bytes(packed[: len(packed) - cut])


def _link(folder):
  (folder.parent / "b.png").write_bytes(tables_folder.film(5))
  (folder / "films/b.png").unlink()
  (folder / "films/b.png").symlink_to("../../b.png")


FILES = {
  "empty file": (_change("events.csv", lambda raw: b""), "events.csv: is empty"),
  "only a header": (_change("events.csv", lambda raw: raw.split(b"\n")[0] + b"\n"), "has no rows"),
  "no stays": (_change("stays.csv", lambda raw: raw.split(b"\n")[0] + b"\n"), "stays.csv: has no rows"),
  "encoding": (_change("notes.csv", lambda raw: raw.replace(b"ward", b"w\xe4rd")), "notes.csv.*UTF-8"),
  "one column more": (_change("events.csv", lambda raw: raw.replace(b"110", b"110,5")), r"too many columns.*line 3"),
  "cut file": (lambda folder: _pack(folder, 20), "events.csv.gz: .*(ends early|cut off)"),
  "no gzip": (lambda folder: (folder / "events.csv").rename(folder / "events.csv.gz"), "events.csv.gz: cannot be read"),
  "no parquet": (lambda folder: (folder / "events.csv").rename(folder / "events.parquet"), "no Parquet"),
  "two of one": (lambda folder: (folder / "notes.csv.gz").write_bytes(b""), "leave one"),
  "no variables": (lambda folder: (folder / "variables.csv").unlink(), "variables: is missing"),
  "no stays file": (lambda folder: (folder / "stays.csv").unlink(), "stays: is missing"),
  "link outside": (_link, r"images.csv, column path: leads outside .*row 2"),
  "damaged images": (
    lambda folder: (folder / "films/b.png").write_bytes(b"no image"), None,
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused(name, tmp_path):
  damage, wanted = FILES[name]
  folder = tables_folder.write(tmp_path / "in")
  damage(folder)
  if wanted is None:  # One is left out and counted.
    path = tables_folder.build(folder, tmp_path / "out")
    found = json.loads((path / "report.json").read_text())["films"]
    assert found["their_lines"] == [2]
  else:
    message = tables_folder.refused(folder, tmp_path / "out", wanted)
    # One damage is one problem, also where others hang on it.
    assert ": 1 problem, " in message, message


# Every table and each kind of damage it can have.

TIMED = "events", "notes", "images", "embeddings"


def _rows():
  """Rows of every table, embeddings among them."""
  made = dict(kind="ecg", hour=1, model="m", path="a.npy")
  more = [dict(stay_id=stay, **made) for stay in (1, 2)]
  return tables_folder.rows() | {"embeddings": more}


def _write(folder, tables=None):
  tables_folder.write(folder, tables or _rows())
  np.save(folder / "a.npy", np.ones((1, 4)))
  return folder


TABLES = tuple(_rows())
MUST = [(t, column) for t in TABLES for column in layout.COLUMNS[t][0]]
NUMBERS = [
  *(("stays", c) for c in ("stay_id", "subject_id", "hours", "label_death")),
  *((t, c) for t in TIMED for c in ("stay_id", "hour")),
  *(("variables", c) for c in ("normal", "low", "high")),
  ("events", "value"),
]


def test_the_damage_is_of_every_table():
  assert set(TABLES) == set(layout.COLUMNS)
  assert {t for t, _ in NUMBERS} == set(TABLES)


@pytest.mark.parametrize("table, column", MUST)
def test_missing_column(table, column, tmp_path):
  tables = _rows()
  _drop(column)(None, tables, table)
  tables_folder.refused(
    _write(tmp_path / "in", tables),
    tmp_path / "out",
    rf"{table}.csv, column {column}: is missing; found \d columns",
  )


@pytest.mark.parametrize("table, column", NUMBERS)
def test_no_number(table, column, tmp_path):
  tables = _rows()
  tables[table][0][column] = SECRET
  tables_folder.refused(
    _write(tmp_path / "in", tables),
    tmp_path / "out",
    rf"{table}.csv, column {column}: n(o|either 0 nor 1).*\(row 1\)",
  )


@pytest.mark.parametrize(
  "table, column, value",
  [
    ("stays", "hours", "1e9"),
    ("stays", "hours", "-3"),
    *((t, "hour", "1e300") for t in TIMED),
    *((t, "hour", "2150-01-01") for t in TIMED),
  ],
)
def test_absurd_time(table, column, value, tmp_path):
  tables = _rows()
  tables[table][0][column] = value
  tables_folder.refused(
    _write(tmp_path / "in", tables),
    tmp_path / "out",
    rf"{table}.csv, column {column}: no number.*\(row 1\)",
  )


@pytest.mark.parametrize(
  "table, column, wanted",
  [
    *((t, "stay_id", "of no stay") for t in TIMED),
    ("events", "variable", "none of the table variables"),
  ],
)
def test_ids_that_join_nothing(table, column, wanted, tmp_path):
  tables = _rows()
  for line in tables[table]:
    line[column] = 31415926
  tables_folder.refused(
    _write(tmp_path / "in", tables),
    tmp_path / "out",
    rf"{table}.csv, column {column}: is .*{wanted}.*\(row 1, 2",
  )


WHOLE = {
  "empty": (lambda raw: b"", "is empty; wanted a header"),
  "header alone": (lambda raw: raw.split(b"\n")[0] + b"\n", "has no rows"),
  "encoding": (
    lambda raw: raw.replace(b"\n", b"\n\xe9", 2).replace(b"\n\xe9", b"\n", 1),
    "UTF-8",
  ),
  "wide encoding": (
    lambda raw: raw.decode().encode("utf-16"),
    "line 1 is not UTF-8 text",
  ),
  "cut gzip": (
    lambda raw: gzip.compress(raw * 50)[:-20],
    "ends early|is it cut off",
  ),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_file(kind, table, tmp_path):
  change, wanted = WHOLE[kind]
  folder = _write(tmp_path / "in")
  path = folder / f"{table}.csv"
  raw = change(path.read_bytes())
  if kind == "cut gzip":
    path.unlink()
    path = folder / f"{table}.csv.gz"
  path.write_bytes(raw)
  tables_folder.refused(folder, tmp_path / "out", rf"{path.name}: .*({wanted})")


def test_a_dataset_that_is_there_stays(tmp_path):
  folder = tables_folder.write(tmp_path / "in")
  path = tables_folder.build(folder, tmp_path / "out")
  before = (path / "metadata.json").read_bytes()
  (folder / "stays.csv").write_text("stay_id\n")
  with pytest.raises(errors.InputError, match="problems"):
    tables_folder.build(folder, tmp_path / "out", overwrite=True)
  assert (path / "metadata.json").read_bytes() == before
  assert [p.name for p in path.parent.iterdir()] == ["1.0.0"]


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ({"source": "tables"}, "--tables=DIR"),
    ({"source": "challenge2012"}, "--challenge=DIR"),
    ({"source": "tables", "tables": "nowhere"}, "found nothing"),
    ({"source": "tables", "tables": ".", "task": "My task"}, "lower-case"),
    ({"source": "mimic", "mimic_iv": ".", "task": None}, "--task"),
    ({"source": "table", "task": "mine"}, "Did you mean 'tables'"),
  ],
)
def test_flags_of_a_build(given, said, tmp_path):
  with pytest.raises(errors.InputError, match=said):
    build_lib.build(data_dir=tmp_path / "out", quiet=True, **given)


def test_quality_report(built):
  """Worked by hand where a number may show; no leak; nothing small."""
  _, data = built
  found = json.loads((data.path / "quality.json").read_text())
  assert found["task"] == "mine" and found["source"] == "Tables"
  assert {c["result"] for c in found["checks"]} == {"ok"}
  assert set(found["presence_by_hour"]["train"]) == {
    "hours",
    *data.description.kinds,
  }
  assert found["variables"]["Pulse"]["train"]["outside"] == "<11"
  page = (data.path / "quality.html").read_text()
  assert "Pulse" in page and "Two definitions of death" not in page


def test_numbers_of_the_quality_report(tmp_path):
  """Forty stays of two hours, the pulse measured in the first."""
  tables = tables_folder.rows()
  for name in ("notes", "images"):
    del tables[name]
  tables["stays"] = [
    tables_folder._stay(i, i, 2, i % 2, 0, "train", "F", 50) for i in range(40)
  ]
  tables["events"] = [
    tables_folder._event(i, 0.5, "Pulse", 60 + i) for i in range(40)
  ] + [tables_folder._event(i, 0.6, "Pulse", 999) for i in range(20)]
  folder = tables_folder.write(tmp_path / "in", tables)
  path = tables_folder.build(folder, tmp_path / "out")
  found = json.loads((path / "quality.json").read_text())
  pulse = found["variables"]["Pulse"]["train"]
  assert (pulse["measured"], pulse["carried"], pulse["normal"]) == (50, 50, 0)
  # What eleven stays reach at either end.
  assert (pulse["low"], pulse["high"]) == (70, 89)
  assert (pulse["rows"], pulse["outside"]) == (60, 20)
  # In steps of 11 stays.
  assert found["presence_by_hour"]["train"]["ehr"][:2] == [100.0, 0.0]


def test_a_stopped_build_keeps_what_it_wrote(tmp_path, monkeypatch):
  """Stopped at the third file; the first two are not written again."""
  monkeypatch.setattr(records, "SHARD", 1)
  folder = tables_folder.write(tmp_path / "in")
  whole = tables_folder.build(folder, tmp_path / "whole")
  write_file, written = records.write_file, []

  def stop(path, *given):
    if len(written) == 2:
      raise KeyboardInterrupt
    written.append(path.name)
    return write_file(path, *given)

  with monkeypatch.context() as patch:
    patch.setattr(records, "write_file", stop)
    with pytest.raises(KeyboardInterrupt):
      tables_folder.build(folder, tmp_path / "out")
  first = list(written)
  written.clear()
  monkeypatch.setattr(
    records,
    "write_file",
    lambda path, *given: written.append(path.name) or write_file(path, *given),
  )
  path = tables_folder.build(folder, tmp_path / "out")
  assert first and written and not set(first) & set(written)
  assert digest(path) == digest(whole)
  assert sorted(p.name for p in path.parent.iterdir()) == ["1.0.0"]


def test_several_processes_write_the_same(tmp_path, monkeypatch):
  folder = tables_folder.write(tmp_path / "in")
  one = tables_folder.build(folder, tmp_path / "one", threads=1)
  monkeypatch.setattr(shards, "ALONE", 0)
  two = tables_folder.build(folder, tmp_path / "two", threads=2)
  assert digest(one) == digest(two)


def test_disk_is_told_and_refused(tmp_path, monkeypatch):
  folder = tables_folder.write(tmp_path / "in")
  told = []
  monkeypatch.setattr(
    resume, "check_disk", lambda f, most, kept, quiet: told.extend([most, kept])
  )
  path = tables_folder.build(folder, tmp_path / "out")
  monkeypatch.undo()
  assert sum(p.stat().st_size for p in path.rglob("*")) < told[1] < told[0]
  monkeypatch.setattr(
    resume.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})
  )
  tables_folder.refused(folder, tmp_path / "full", "of disk are needed")


def test_stays_without_events_count_for_no_extreme(tmp_path):
  """First, between and last in their file: of notes alone."""
  tables = tables_folder.rows()
  del tables["images"]
  tables["stays"] = [
    tables_folder._stay(i, i, 2, i % 2, 0, "train", "F", 50)
    for i in range(1, 41)
  ]
  tables["notes"] = [
    tables_folder._note(i, "triage", 1, "calm") for i in range(1, 41)
  ]
  tables["events"] = [
    tables_folder._event(i, 0.5, "Pulse", 60 + i) for i in range(1, 41, 2)
  ]
  folder = tables_folder.write(tmp_path / "in", tables)
  path = tables_folder.build(folder, tmp_path / "out")
  found = json.loads((path / "quality.json").read_text())
  pulse = found["variables"]["Pulse"]["train"]
  # The eleventh of twenty from either end.
  assert (pulse["low"], pulse["high"]) == (81, 79)
  # Patients count, not stays: the first two stays are now of one.
  tables["stays"][2]["subject_id"] = 1
  folder = tables_folder.write(tmp_path / "one", tables)
  path = tables_folder.build(folder, tmp_path / "two")
  found = json.loads((path / "quality.json").read_text())
  pulse = found["variables"]["Pulse"]["train"]
  assert (pulse["low"], pulse["high"]) == (83, 79)
  # Of ten patients nothing is told.
  for i, stay in enumerate(tables["stays"]):
    stay["subject_id"] = 1 + i % 10
  folder = tables_folder.write(tmp_path / "ten", tables)
  path = tables_folder.build(folder, tmp_path / "three")
  for name in ("quality.json", "report.json"):
    found = json.loads((path / name).read_text())["variables"]["Pulse"]
    assert found["train"]["mean"] is None and found["train"]["sd"] is None


def test_a_group_of_few_is_not_named(tmp_path):
  """Its word may be the name of a patient."""
  tables = tables_folder.rows()
  for name in ("notes", "images"):
    del tables[name]
  tables["stays"] = [
    tables_folder._stay(i, i, 2, i % 2, 0, "train", "M", 50)
    for i in range(1, 41)
  ]
  for line in tables["stays"][:15]:  # Fifteen stays of five patients.
    line["group_sex"], line["subject_id"] = SECRET, line["subject_id"] % 5 + 50
  tables["events"] = [
    tables_folder._event(i, 0.5, "Pulse", 80) for i in range(1, 41)
  ]
  folder = tables_folder.write(tmp_path / "in", tables)
  path = tables_folder.build(folder, tmp_path / "out")
  for name in ("report.txt", "report.json", "metadata.json", "quality.html"):
    assert SECRET not in (path / name).read_text(), name
  groups = json.loads((path / "report.json").read_text())["splits"]["train"]
  assert groups["groups"]["sex"]["(rare words)"] == "<11"
