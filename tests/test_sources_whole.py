"""Tables -> build -> train -> evaluate or predict, in one process.

The datasets have other labels, variables and modalities than MIMIC's.
"""

import copy
import csv
import json

import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import challenge2012, evaluate, flags, train
from experiments.config import Config
from experiments.real import linear
from medpatch_jax.input import dataset
from tests import challenge_files, tables_folder

SMALL = (
  "--epochs=1",
  "--calibration_steps=2",
  "--batch_size=32",
  "--cross_fit=0",
)


@pytest.fixture(scope="module")
def configure(tmp_path_factory):
  """(records, task, *flags) -> configuration of a small run."""
  if "workdir" not in absl_flags.FLAGS:
    flags.define()

  def made(records, task, *words):
    values = copy.deepcopy(absl_flags.FLAGS)
    values(["train", f"--data_dir={records}", f"--task={task}", *SMALL, *words])
    return Config.from_flags(
      values, workdir=tmp_path_factory.mktemp("run") / "run"
    )

  return made


def _tables(rng, number=60):
  """Stays of three labels, one variable, one kind of notes, no images."""
  tables = {name: [] for name in ("stays", "events", "notes")}
  tables["variables"] = [{"name": "Pulse"}]
  for stay in range(1, number + 1):
    labels = {f"label_{n}": int(rng.random() < 0.4) for n in "xyz"}
    split = ("train", "train", "validation", "test")[stay % 4]
    tables["stays"].append(
      dict(stay_id=stay, subject_id=stay, hours=6, split=split) | labels
    )
    for hour in range(6):
      tables["events"].append(
        dict(stay_id=stay, hour=hour, variable="Pulse", value=rng.integers(99))
      )
    if stay % 3:
      tables["notes"].append(
        dict(stay_id=stay, hour=1, kind="ward", text="pale and restless")
      )
  return tables


def test_other_counts_and_kinds_of_notes_train_and_evaluate(
  configure, tmp_path
):
  tables = _tables(np.random.default_rng(0))
  folder = tables_folder.write(tmp_path / "in", tables)
  tables_folder.build(folder, tmp_path / "out")
  config = configure(tmp_path / "out", "mine", "--staleness")
  assert config.modalities == ("ehr", "ward")
  stages = train.train(config)
  # One value, one mask, one channel of staleness; no hour is padded.
  assert stages.run.shapes.columns == {"ehr": 3}
  assert stages.run.shapes.hour_buckets == (6,)
  text = evaluate.evaluate(stages)
  assert "15 stays" in text and "3 labels" in text
  result = json.loads((config.workdir / "results.json").read_text())
  assert {row["modality"] for row in result["unimodal"]} == {"ehr", "ward"}
  path = tmp_path / "p.csv"
  evaluate.predict(stages, path)
  rows = list(csv.reader(path.read_text().splitlines()))
  assert rows[0] == ["stay_id", "x", "y", "z"]
  assert [int(r[0]) for r in rows[1:]] == list(range(3, 61, 4))


def test_only_notes_and_no_outcome_in_test(configure, tmp_path):
  tables = _tables(np.random.default_rng(1))
  del tables["events"], tables["variables"]
  for line in tables["notes"]:
    line["kind"] = ("triage", "ward")[line["stay_id"] % 2]
  for line in tables["stays"]:
    del line["label_y"], line["label_z"]
    if line["split"] == "test":
      line["label_x"] = ""
  folder = tables_folder.write(tmp_path / "in", tables)
  tables_folder.build(folder, tmp_path / "out")
  config = configure(tmp_path / "out", "mine")
  assert config.modalities == ("triage", "ward")
  # No stay of test has a note of triage: it says nothing there.
  stages = train.train(config)
  with pytest.raises(ValueError, match="not known.*--predict"):
    evaluate.evaluate(stages)
  evaluate.predict(stages, tmp_path / "p.csv")
  rows = list(csv.reader((tmp_path / "p.csv").read_text().splitlines()))
  assert rows[0] == ["stay_id", "probability"]
  # Stays without a note are in no record: nothing is said of them.
  with_note = [n for n in range(3, 61, 4) if n % 3]
  assert [int(r[0]) for r in rows[1:]] == with_note
  assert all(0 < float(r[1]) < 1 for r in rows[1:])


def test_flags_follow_the_dataset(configure, tmp_path):
  folder = tables_folder.write(tmp_path / "in")
  tables_folder.build(folder, tmp_path / "out")
  with pytest.raises(ValueError, match="'rr' is unknown.*nursing, triage"):
    configure(tmp_path / "out", "mine", "--modalities=ehr,rr")
  with pytest.raises(ValueError, match=r"no built dataset \(found: mine\)"):
    configure(tmp_path / "out", "yours")
  config = configure(
    tmp_path / "out", "mine", "--modalities=triage", "--threshold=triage=0.6"
  )
  assert config.threshold == {"triage": 0.6}


def test_linear_model_equals_scikit_learn():
  from sklearn.linear_model import LogisticRegression

  rng = np.random.default_rng(0)
  X = rng.normal(size=(300, 4))
  y = (X @ [1, -1, 0.5, 0] + rng.normal(size=300) > 0.3).astype(float)
  w, bias = linear.regression(X, y, penalty=10.0)
  theirs = LogisticRegression(C=0.1, tol=1e-8).fit(X, y)
  np.testing.assert_allclose(w, theirs.coef_[0], atol=1e-4)
  np.testing.assert_allclose(bias, theirs.intercept_[0], atol=1e-4)


def test_summary_by_hand(tmp_path):
  from data.challenge2012 import read, summary

  charts = read.read(challenge_files.write(tmp_path))
  X = summary.summary(charts)
  assert X.shape == (181, 5 * 37 + 3 + 4)
  series = [
    n for n in read.NAMES if n not in ("Age", "Gender", "Height", "ICUType")
  ]
  at = series.index("HR")
  np.testing.assert_allclose(
    X[0, [at + 37 * i for i in range(5)]], [80, 73, 90, 90, 3]
  )
  at = series.index("Temp")  # That of -17.8 is no temperature.
  np.testing.assert_allclose(X[0, [at, at + 4 * 37]], [36.5, 1])
  at = series.index("GCS")
  assert np.isnan(X[0, at]) and X[0, at + 4 * 37] == 0
  np.testing.assert_array_equal(X[0, -7:], [60, 1, np.nan, 0, 1, 0, 0])


def test_folds_are_stable_and_whole():
  record = np.arange(100_000, 101_000)
  fold, split = challenge2012.folds(record, 5)
  assert (np.bincount(fold) > 150).all()
  assert ((split == "test").sum(axis=1) == 1).all()
  some = challenge2012.folds(record[::7], 5)[1]
  np.testing.assert_array_equal(some, split[::7])
  share = (split == "validation").sum() / (split != "test").sum()
  assert 0.1 < share < 0.15


CHALLENGED = (
  ("lstm", "2e-3", 0.3),
  ("transformer", "0.001", 0.0),
  ("additive", "0.0003", 0.0),
)


@pytest.mark.slow
def test_cross_validation_as_a_command(repository, tmp_path):
  from tests.test_commands import command

  challenge_files.write(tmp_path / "in")
  words = (
    "experiments.challenge2012",
    f"--challenge={tmp_path}/in",
    f"--workdir={tmp_path}/run",
    "--folds=2",
    "--encoders=lstm,transformer,additive",
    "--seeds=2",
    *SMALL,
  )
  done = command(repository, *words)
  assert done.returncode == 0, done.stderr[-2000:]
  assert "all, 2 seeds - linear" in done.stdout
  results = json.loads((tmp_path / "run/results.json").read_text())
  assert sum(r["stays"] for r in results) == 121
  for k, result in enumerate(results):  # Encoders learn from all others.
    for kind, rate, dropout in CHALLENGED:
      assert len(result["encoders"][kind]["each"]) == 2
      path = tmp_path / f"run/fold_{k}/{kind}/seed_1/config.json"
      given = json.loads(path.read_text())
      found = [given[n] for n in ("ehr", "learning_rate", "ehr_dropout")]
      assert found == [kind, [rate], dropout] and given["seed"] == 1
    data = dataset.Dataset(tmp_path / "run/records", f"fold_{k}")
    sizes = [data.size(split) for split in dataset.SPLITS]
    assert sizes == [121 - result["stays"], 0, result["stays"]]
  assert command(repository, *words).stdout == done.stdout
