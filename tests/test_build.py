"""The build as a command: damage, determinism, readers elsewhere, the twin."""

import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from data import build, errors, resume, splits
from data.mimic import tables
from medpatch_jax import schema
from tests import mimic_raw
from tests.test_mimic import examples, read

CHART = "mimiciv/icu/chartevents"
META = "mimic-cxr-jpg/mimic-cxr-2.0.0-metadata"


def _cut(path):
  path.write_bytes(path.read_bytes()[:-12])


def test_one_odd_row_is_counted_and_listed(tmp_path):
  rows = mimic_raw.rows()
  mimic_raw.cell(CHART, 9, "charttime", mimic_raw.SECRET)(rows)
  mimic_raw.cell(META, 0, "StudyDate", mimic_raw.SECRET)(rows)
  path = mimic_raw.build(
    mimic_raw.write(tmp_path / "raw", rows), tmp_path / "out"
  )
  found = json.loads((path / "report.json").read_text())["tables"]
  assert found["chartevents"]["rows"] == 28
  assert found["chartevents"]["rows_left_out"] == 1
  assert found["chartevents"]["their_lines"] == [11]
  assert found["metadata"]["their_lines"] == [2]
  text = (path / "report.txt").read_text()
  assert "lines 11" in text and mimic_raw.SECRET not in text


def test_unreadable_films(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  mimic_raw.film(root, 6, 61).write_bytes(b"no image")
  path = mimic_raw.build(root, tmp_path / "out")
  found = json.loads((path / "report.json").read_text())["films"]
  assert found["unreadable"] == 1
  assert found["their_lines"] == [8]
  stays, _ = read(path)
  assert stays[1]["present"][1] and not stays[6]["present"][1]
  assert stays[6]["cxr"] == b"" and np.isnan(stays[6]["cxr_hour"])
  # A second one is too many: a file cut off in the middle.
  film = mimic_raw.film(root, 1, 15)
  film.write_bytes(film.read_bytes()[:700])
  mimic_raw.assert_refused(
    root, tmp_path / "new", "2 or more of 2 linked films .* line 6 of"
  )


def test_only_films_of_the_cohort_are_opened(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  for subject, study, *_ in mimic_raw.FILMS:
    if study not in (15, 61):
      mimic_raw.film(root, subject, study).unlink()
  path = mimic_raw.build(root, tmp_path / "out")
  found = json.loads((path / "report.json").read_text())["films"]
  assert found["unreadable"] == 0 and found["opened"] != 0


def test_disk_is_not_underestimated(tmp_path, monkeypatch):
  told = []
  monkeypatch.setattr(
    resume, "check_disk", lambda f, most, kept, quiet: told.extend([most, kept])
  )
  path = build.build(
    source="synthetic",
    task="phenotyping",
    data_dir=tmp_path,
    subjects=150,
    density=0.3,
    quiet=True,
  )
  kept = sum(p.stat().st_size for p in path.rglob("*"))
  assert 1e5 < kept < told[1] < told[0]


def test_existing_dataset_is_kept_unless_told(tmp_path):
  root, out = mimic_raw.write(tmp_path / "raw"), tmp_path / "out"
  path = mimic_raw.build(root, out)
  before = _digest(path)
  with pytest.raises(errors.InputError, match="already there.*--overwrite"):
    mimic_raw.build(root, out)
  (root / f"{CHART}.csv.gz").unlink()
  with pytest.raises(errors.InputError, match="missing"):
    mimic_raw.build(root, out, overwrite=True)
  assert _digest(path) == before
  mimic_raw.write(root)
  assert mimic_raw.build(root, out, overwrite=True) == path
  assert _digest(path) == before
  assert os.listdir(path.parent) == ["1.0.0"]


def _digest(folder):
  """One hash over names and bytes of every file of a folder."""
  total = hashlib.sha256()
  for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
  return total.hexdigest()


def test_without_films_and_notes_these_are_absent(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  path = mimic_raw.build(
    root, tmp_path / "out", mimic_cxr=None, mimic_note=None
  )
  stays, _ = read(path)
  for example in stays.values():
    assert example["present"].tolist() == [True, False, False, False]
    assert example["cxr"] == example["rr"] == example["dn"] == b""


def _index(text):
  """Each table saved with its index, which has no name."""
  rows = list(csv.reader(io.StringIO(text.decode(), newline="")))
  out = io.StringIO(newline="")
  csv.writer(out).writerows([i or "", *row] for i, row in enumerate(rows))
  return out.getvalue().encode()


def _returns(text):
  """Lines that end in CR, those within a report too, in each row's place."""
  rows = list(csv.reader(io.StringIO(text.decode(), newline="")))
  out = io.StringIO(newline="")
  csv.writer(out, lineterminator="\r").writerows(rows)
  return out.getvalue().encode()


@pytest.mark.parametrize(
  "change",
  [
    bytes,
    lambda text: b"\xef\xbb\xbf\n\n" + text,
    _index,
    _returns,
    lambda text: re.sub(rb"(?m)^([0-9]+),", rb"\1.0,", text),
  ],
  ids=["plain", "mark and blank lines", "index", "CR", "ids of floats"],
)
def test_another_form_gives_the_same_records(change, tmp_path):
  paths = []
  for zipped in (True, False):
    root = mimic_raw.write(tmp_path / f"raw{zipped}", zipped=zipped)
    for path in () if zipped else root.rglob("*.csv"):
      path.write_bytes(change(path.read_bytes()))
    paths.append(mimic_raw.build(root, tmp_path / f"out{zipped}"))
  digests = [
    json.loads((p / "metadata.json").read_text())["digest"] for p in paths
  ]
  assert digests[0] == digests[1]


def test_published_lists_make_the_splits(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  (tmp_path / "test.csv").write_text("6,1\n1,0\n5,0\n")
  (tmp_path / "val.csv").write_text("subject_id,y\n5,1\n1,0\n")
  lists = {
    "test_list": tmp_path / "test.csv",
    "validation_list": tmp_path / "val.csv",
  }
  path = mimic_raw.build(root, tmp_path / "out", **lists)
  stays, _ = read(path)
  assert {s: e["split"] for s, e in stays.items()} == {
    1: "train",
    5: "validation",
    6: "test",
  }
  for text, wanted in (
    ("6,1\n", "row 1 names a subject of the test list too"),
    ("5,1\nx,1\n", "val.csv: row 2 is not"),
    ("99,1\n", "names no subject of the cohort"),
  ):
    (tmp_path / "val.csv").write_text(text)
    mimic_raw.assert_refused(root, tmp_path / "new", wanted, **lists)


def test_hash_is_stable_and_gives_the_shares():
  split = splits.by_hash(range(10_000_000, 10_020_000))
  shares = np.bincount(split, minlength=3) / len(split)
  np.testing.assert_allclose(shares, splits.SHARES, atol=0.01)
  ten = splits.by_hash(range(10_000_032, 10_000_042)).tolist()
  assert ten == [0, 0, 0, 1, 0, 2, 0, 1, 2, 0]


def test_empty_splits_are_written_and_read(tmp_path):
  """Three stays, all in train: the others exist and hold nothing."""
  import tensorflow_datasets as tfds

  root = mimic_raw.write(tmp_path / "raw")
  (tmp_path / "test.csv").write_text("6,1\n")
  path = mimic_raw.build(
    root, tmp_path / "out", test_list=tmp_path / "test.csv"
  )
  info = tfds.builder_from_directory(path).info
  counts = {s: info.splits[s].num_examples for s in splits.SPLITS}
  assert counts == {"train": 2, "validation": 0, "test": 1}
  assert info.metadata["index"]["validation"]["hours"] == []


@pytest.mark.parametrize("damage", [None, "gzip", "flag"])
def test_command_line(damage, tmp_path, repository):
  root, out = mimic_raw.write(tmp_path / "raw"), tmp_path / "out"
  folders = [f"--{k}={v}" for k, v in mimic_raw.folders(root).items()]
  if damage == "gzip":
    _cut(root / f"{CHART}.csv.gz")
  if damage == "flag":
    folders.append("--outlier=keep")
  done = subprocess.run(
    [sys.executable, "-W", "error", "-m", "data.build", "--source=mimic"]
    + ["--task=phenotyping", f"--data_dir={out}", "--carry_in=24h", *folders],
    cwd=repository,
    capture_output=True,
    text=True,
  )
  if damage is None:
    assert done.returncode == 0, done.stderr
    assert "Build report: phenotyping" in done.stdout
    assert "chartevents" in done.stderr and "Traceback" not in done.stderr
    return
  assert done.returncode == 2, done.stderr
  last = done.stderr.strip().splitlines()[-1]
  assert last.startswith("error: ") and "Traceback" not in done.stderr
  if damage == "flag":
    assert len(done.stderr.strip().splitlines()) == 1
    assert "outlier" in last and "outliers" in last
  assert not out.exists()


_READ = """
import sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
source = builder.as_data_source("train")
example = source[0]
assert example["ehr"].shape[1] == 76 and example["ehr"].dtype == "float32"
assert not any(m.split(".")[0] in ("data", "medpatch_jax") for m in sys.modules)
print(len(source), sorted(example))
"""


def test_readable_without_this_repository(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  path = mimic_raw.build(root, tmp_path / "out")
  done = subprocess.run(
    [sys.executable, "-I", "-c", _READ, str(path)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "'rr_hours'" in done.stdout


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
  """Datasets of the three layouts of one synthetic twin, both tasks."""
  out = tmp_path_factory.mktemp("twins")
  paths = {}
  for layout in ("v1.0", "v2.2", "v3.1"):
    for task in ("in_hospital_mortality", "phenotyping"):
      paths[layout, task] = build.build(
        source="synthetic",
        task=task,
        data_dir=out / layout,
        subjects=60,
        layout=layout,
        threads=2,
        quiet=True,
      )
  return paths


@pytest.mark.parametrize("task", ["in_hospital_mortality", "phenotyping"])
def test_layouts_give_identical_records(twins, task):
  found = {}
  for layout in ("v1.0", "v2.2", "v3.1"):
    path = twins[layout, task]
    metadata = json.loads((path / "metadata.json").read_text())
    assert layout in metadata.pop("source_version")
    found[layout] = metadata
  assert found["v1.0"] == found["v2.2"] == found["v3.1"]
  assert sum(len(i["hours"]) for i in found["v2.2"]["index"].values()) > 15


def test_presence_is_what_the_twin_wrote(twins):
  """Builder and twin apply MIMIC.md's windows independently of each other."""
  path = twins["v2.2", "phenotyping"]
  truth = next(path.parent.parent.glob("synthetic-*")) / "truth.csv"
  written = {}
  with open(truth, newline="") as file:
    for row in csv.DictReader(file):
      if row["task"] == "phenotyping":
        found = written.setdefault(int(row["stay_id"]), set())
        found.add(row["modality"])
  built = {
    example["stay_id"]: {
      m for m, p in zip(schema.MODALITIES, example["present"]) if p
    }
    for example in examples(path)
  }
  assert built == written


def test_bytes_do_not_depend_on_threads(twins, tmp_path):
  raw = twins["v2.2", "phenotyping"].parent.parent
  raw = next(raw.glob("synthetic-*"))
  first = _digest(twins["v2.2", "phenotyping"])
  for threads in (1, 3):
    path = build.build(
      source="synthetic",
      task="phenotyping",
      data_dir=tmp_path / str(threads),
      raw_dir=raw,
      subjects=60,
      threads=threads,
      quiet=True,
    )
    assert _digest(path) == first


def test_twin_of_other_arguments_is_refused(twins, tmp_path):
  raw = twins["v2.2", "phenotyping"].parent.parent
  raw = next(raw.glob("synthetic-*"))
  with pytest.raises(errors.InputError, match="other --subjects"):
    build.build(
      source="synthetic",
      task="phenotyping",
      data_dir=tmp_path,
      raw_dir=raw,
      subjects=61,
      quiet=True,
    )


def test_profile_names_the_rows_read(tmp_path):
  """Row counts come from DuckDB's profile: a change there must not pass."""
  root = mimic_raw.write(tmp_path)
  table = tables.find(root / "mimiciv", "chartevents", ("icu",))
  connection = tables.connect(threads=1, memory="200MB", temporary=tmp_path)
  sql = f"CREATE TABLE x AS SELECT * FROM {tables.scan(table)} WHERE itemid = 0"
  tables.load(connection, table, sql, quiet=True)
  assert table.rows == 28
  connection.close()
