"""Challenge 2012: charts by hand, the build, and every kind of damage."""

import json
import re
import tarfile
import types

import numpy as np
import pytest

from data import build, errors
from data.challenge2012 import read, tables
from experiments import challenge2012
from experiments.real import linear
from medpatch_jax.input.dataset import Dataset
from tests import challenge_files

SECRET = "Xanthippe"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  root = tmp_path_factory.mktemp("challenge")
  challenge_files.write(root / "in")
  build.build(
    source="challenge2012",
    challenge=root / "in",
    data_dir=root / "out",
    quiet=True,
  )
  return Dataset(root / "out", "challenge2012")


def _stay(data, number):
  for split in ("train", "validation", "test"):
    source = data.source(
      split, ("stay_id", "ehr", "label", "age", "gender", "icu")
    )
    for stay in source:
      if int(stay["stay_id"]) == number:
        return stay | {"split": split}
  raise AssertionError(number)


def test_a_stay_by_hand(built):
  stay = _stay(built, 101)
  columns = built.metadata["columns"]

  def column(name):
    return stay["ehr"][:, columns.index(name)]

  assert stay["ehr"].shape == (48, len(columns))
  np.testing.assert_array_equal(column("HR"), [77] * 47 + [90])
  np.testing.assert_array_equal(np.flatnonzero(column("mask->HR")), [0, 47])
  # 01:00 belongs to the first hour; the temperature of 01:10 is an error.
  assert (column("Temp") == np.float32(36.5)).all()
  np.testing.assert_array_equal(np.flatnonzero(column("mask->Temp")), [0])
  for name in ("SysABP", "GCS", "Height"):
    assert not column(f"mask->{name}").any(), name
  np.testing.assert_array_equal(column("MechVent->1"), [0] * 2 + [1] * 46)
  assert (column("Weight") == 70.5).all() and (column("Age") == 60).all()
  assert (column("Gender->male") == 1).all()
  assert (column("ICUType->Cardiac surgery recovery") == 1).all()
  assert column("Urine")[47] == 40 and column("mask->Urine").sum() == 1
  assert stay["label"] == 0 and stay["age"] == 60
  assert (
    stay["gender"] == b"male" and stay["icu"] == b"Cardiac surgery recovery"
  )


def test_what_train_never_measured_stands_at_its_usual_value(built):
  """Not at the low end of its range: a pH of 6.3, a coma score of 3."""
  stay, columns = _stay(built, 601), built.metadata["columns"]
  for name, usual in (("pH", 7.4), ("GCS", 15), ("Platelets", 250)):
    i = columns.index(name)
    assert (stay["ehr"][:, i] == np.float32(usual)).all()
    assert built.mean[i] == np.float32(usual) and built.std[i] == 1
  text = (built.path / "report.txt").read_text()
  assert "pH: never measured in train; the normal value 7.4" in text
  ranges = {name: limits for name, *limits, _ in read.NUMBERS}
  assert ranges.keys() == read.USUAL.keys()
  for name, (low, high) in ranges.items():
    assert low <= read.USUAL[name] <= high, name


def test_regression_of_columns_without_spread():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(60, 4))
  y = (x[:, 0] > 0).astype(float)
  x[:, 1], x[:, 2] = np.float32(0.1), np.nan
  x[-10:, 1:3] = 1e6  # Known of nobody that is learned from.
  split = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
  x[:, 3] = 0.1 + 1e-9 * x[:, 3]
  logits = linear.logits(x, y, split)
  assert np.isfinite(logits).all()
  assert linear.scores(logits, y[50:])[0] > 0.9


def test_columns_are_the_36_series_and_the_stay(built):
  masks = [c for c in built.metadata["columns"] if c.startswith("mask->")]
  assert len(masks) == 36 + len(
    ("Age", "Gender", "Height", "ICUType", "MechVent")
  )
  assert len(built.metadata["columns"]) == 38 + 2 + 4 + 2 + len(masks)
  assert built.id_name == "RecordID"
  assert built.labels == ("In-hospital death",)
  # Never inputs: what the outcome files say beside.
  text = " ".join(built.metadata["columns"])
  assert not re.search("SAPS|SOFA|Survival|Length", text)


def test_quality_report(built):
  found = json.loads((built.path / "quality.json").read_text())
  assert found["source"].startswith("PhysioNet Challenge 2012")
  assert set(found["variables"]) >= {"HR", "GCS", "MechVent"}
  assert (built.path / "quality.html").exists()


def test_splits(built):
  sizes = {s: built.size(s) for s in ("train", "validation", "test")}
  assert sizes["test"] == 60 and sum(sizes.values()) == 181
  assert 3 <= sizes["validation"] <= 25
  test = [int(s["stay_id"]) for s in built.source("test", ("stay_id",))]
  assert min(test) >= 601
  assert np.isnan(built.labels_of("test")).all()
  assert not np.isnan(built.labels_of("train")).any()
  report = (built.path / "report.txt").read_text()
  assert "Set c has no outcomes" in report and "name no parameter" in report


def test_the_form_of_a_set_does_not_matter(built, tmp_path):
  challenge_files.write(tmp_path / "in", forms=("folder", "zip", "tar"))
  build.build(
    source="challenge2012",
    challenge=tmp_path / "in",
    task="death",
    data_dir=tmp_path / "out",
    threads=3,
    quiet=True,
  )
  assert Dataset(tmp_path / "out", "death").fingerprint == built.fingerprint


def test_without_set_c_a_fifth_is_test(tmp_path):
  sets = challenge_files.charts()
  del sets["c"]
  charts = read.read(challenge_files.write(tmp_path, sets))
  split = tables.split(charts)
  assert 12 <= (split == "test").sum() <= 40 and len(split) == 121


def _broken(text):
  return {"set-b/301.txt": text}


_link = tarfile.TarInfo("set-b/302.txt")
_link.type, _link.linkname = tarfile.SYMTYPE, "/etc/passwd"
GOOD = challenge_files.record(301)
DAMAGE = {
  "above": ("tar", {"../301.txt": GOOD}, "leads outside"),
  "from the root": ("zip", {"/tmp/301.txt": GOOD}, "leads outside"),
  "a drive": ("zip", {"C:\\301.txt": GOOD}, "leads outside"),
  "a link": ("tar", {"set-b/301.txt": GOOD, "x": _link}, "holds a link"),
  "too large": ("zip", _broken(GOOD + "x" * (1 << 20)), "301.txt has .* at most"),
  "binary": ("tar", _broken(b"\x7fELF\0\0\xff"), "301.txt is no text"),
  "no record": ("zip", {"set-b/run.sh": "exit"}, "no record"),
  "empty": ("folder", _broken(""), "line 1 is not Time"),
  "no header": ("tar", _broken(GOOD[21:]), "line 1 is not Time"),
  "columns": ("tar", _broken(GOOD + "01:00,HR\n"), "line 8 has 2 columns"),
  "time": ("tar", _broken(GOOD + "48:01,HR,80\n"), "line 8: column Time"),
  "no time": ("tar", _broken(GOOD + "1h,HR,80\n"), "line 8: column Time"),
  "value": ("tar", _broken(GOOD + f"01:00,HR,{SECRET}\n"), "8: column Value"),
  "infinite": ("tar", _broken(GOOD + "01:00,HR,inf\n"), "8: column Value"),
  "underscore": ("tar", _broken(GOOD + "01:00,HR,8_0\n"), "8: column Value"),
  "full width": ("tar", _broken(GOOD + "01:00,HR,８０\n"), "8: column Value"),
  "time of full width": ("tar", _broken(GOOD + "０1:00,HR,80\n"), "8: column Time"),
  "half an id": ("tar", _broken(GOOD.replace("ID,301", "ID,301.7")), "RecordID is not"),
  "file of full width": ("zip", {"set-b/３０１.txt": GOOD}, "no record"),
  "another line end": ("tar", _broken(GOOD + "01:00,HR,80\u2028"), None),
  "old Mac": ("tar", _broken(GOOD.replace("\n", "\r")), None),
  "blanks": ("tar", _broken("\ufeff\n" + GOOD.replace(",", " ,\u00a0") + " \n\n"), None),
  "id of floats": ("tar", _broken(GOOD.replace("ID,301", "ID,301.0")), None),
  "name": ("tar", _broken(GOOD + f"01:00,{SECRET},5\n"), "8: column Parameter"),
  "id": ("tar", _broken(challenge_files.record(302)), "RecordID is not"),
  "twice": ("tar", {"set-b/301.txt": GOOD, "x/301.txt": GOOD}, "twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_sets_are_refused(name, tmp_path):
  form, members, wanted = DAMAGE[name]
  challenge_files.pack(tmp_path, "b", members, form)
  if wanted is None:  # As tables and their cells are read everywhere.
    assert read.read(tmp_path).value.tolist()[:2] == [60, 0]
    return
  _refused(tmp_path, wanted)


def _refused(folder, wanted):
  with pytest.raises(errors.InputError) as caught:
    read.read(folder)
  message = str(caught.value)
  assert re.search(wanted, message), message
  assert SECRET not in message and "passwd" not in message


@pytest.mark.parametrize(
  ("text", "wanted"),
  [
    ("", "column RecordID is missing"),
    ("RecordID,SOFA\n301,5\n", "column In-hospital_death is missing"),
    ("RecordID,In-hospital_death\n301,2\n", "line 2"),
    ("RecordID,In-hospital_death\n３０１,1\n", "line 2: wanted"),
    ("RecordID,In-hospital_death\n301,1,5\n", "line 2 has 3 columns"),
    ("RecordID,RecordID,In-hospital_death\n301,1,1\n", "is there twice"),
    (f"RecordID,In-hospital_death\n{SECRET},1\n", "line 2"),
    ("RecordID,In-hospital_death\n301,1\n301,0\n", "line 3"),
    ("RecordID,In-hospital_death\n302,1\n", "1 of them without an outcome"),
    ("RecordID,In-hospital_death\n301,1\n302,1\n", "has 2 records"),
    (b"RecordID\xff", "is no text"),
  ],
)
def test_damaged_outcomes_are_refused(text, wanted, tmp_path):
  challenge_files.pack(tmp_path, "b", _broken(GOOD), "folder")
  raw = text if isinstance(text, bytes) else text.encode()
  (tmp_path / "Outcomes-b.txt").write_bytes(raw)
  _refused(tmp_path, wanted)


def test_other_damage_is_refused(tmp_path):
  _refused(tmp_path / "nowhere", "wanted a folder")
  (tmp_path / "empty").mkdir()
  _refused(tmp_path / "empty", "none of set-a")
  members = {
    f"set-a/{n}.txt": t for n, t in challenge_files.charts()["a"].items()
  }
  for form, name in (("tar", "tar.gz"), ("zip", "zip")):
    root = tmp_path / form
    root.mkdir()
    challenge_files.pack(root, "a", members, form)
    path = root / f"set-a.{name}"
    path.write_bytes(path.read_bytes()[:-200])
    _refused(root, "cut off|cannot be read")
  root = tmp_path / "copies"
  root.mkdir()
  for letter in "ab":
    members = {f"set-{letter}/301.txt": GOOD}
    challenge_files.pack(root, letter, members, "folder")
  _refused(root, "in two sets")
  root = tmp_path / "link"
  (root / "set-a").mkdir(parents=True)
  (tmp_path / "301.txt").write_text(GOOD)
  (root / "set-a/301.txt").symlink_to("../../301.txt")
  _refused(root, "leads outside")


# Two encoders that are wrong about one of four pairs each, not the same one.
ONE, OTHER = [0.4, 0.3, 0.9, 0.1], [0.2, 0.8, 0.3, 0.5]
DIED = np.array([0, 1, 1, 0], np.float32)


def test_averages_by_hand():
  found = challenge2012.averages(
    {"lstm": np.array([ONE, OTHER]), "transformer": np.array([OTHER, ONE])},
    DIED,
  )
  assert list(found) == ["lstm", "transformer", "all"]
  wrong = [3 / 4, (1 + 2 / 3) / 2]
  for kind in ("lstm", "transformer"):  # Two seeds together are right.
    np.testing.assert_allclose(found[kind]["each"], [wrong] * 2)
    np.testing.assert_allclose(found[kind]["averaged"], [1, 1])
  # So are one seed of each kind, both times.
  np.testing.assert_allclose(found["all"]["each"], np.ones((2, 2)))
  np.testing.assert_allclose(found["all"]["averaged"], [1, 1])


@pytest.mark.parametrize("kinds", [["transformer"], ["lstm", "transformer"]])
def test_table_of_single_kinds_and_all(kinds):
  results = [
    {
      "linear": (0.5, 0.25),
      "encoders": challenge2012.averages(
        {k: np.array([one, other]) for k in kinds}, DIED
      ),
    }
    for one, other in ((ONE, ONE), (ONE, OTHER))
  ]
  text = challenge2012.table(results)
  values = {
    line[:32].strip(): [float(v) for v in line[32:].split()]
    for line in text.splitlines()[1:]
  }
  last = "all" if len(kinds) > 1 else kinds[0]
  for kind in {*kinds, last}:
    assert values[f"{kind}, one seed"] == [0.75, 0.8333]
    assert values[f"{kind}, 2 seeds"] == [0.875, 0.9167]
  assert values[f"fold 0, {last}, 2 seeds"] == [0.75, 0.8333]
  assert values[f"fold 1, {last}, 2 seeds"] == [1, 1]
  assert values[f"{last}, 2 seeds - linear"] == [0.375, 0.6667]
  assert ("all" in text) == (len(kinds) > 1)


@pytest.mark.parametrize(
  ("given", "wanted"),
  [
    ({"encoders": ["lstm", "gru"]}, "--encoders=lstm,gru: wanted one or more"),
    ({"encoders": []}, "--encoders=: wanted one or more of lstm, transformer"),
    ({"ehr": "transformer"}, "pass --encoders=transformer instead"),
    ({"challenge": None}, "--challenge and --workdir are needed"),
  ],
)
def test_wrong_flags_are_refused(given, wanted):
  good = {
    "challenge": "in",
    "workdir": "run",
    "encoders": challenge2012.ENCODERS,
    "ehr": "lstm",
  }
  challenge2012.check(types.SimpleNamespace(**good))
  with pytest.raises(ValueError, match=wanted):
    challenge2012.check(types.SimpleNamespace(**good | given))


def test_the_challenge_is_open_under_its_own_licence(built):
  assert built.open
  licence = "Open Data Commons Attribution License v1.0"
  assert built.metadata["license"] == licence
  assert f"Licence: {licence}." in (built.path / "report.txt").read_text()
