"""HANCOCK's files -> own tables, folds, and the table of paired tests."""

import csv
import types

import numpy as np
import pytest
import scipy.stats

from data import build, errors, hancock
from medpatch_jax.input.dataset import Dataset
from tests.test_tables import read

# Column -> value of patient i.
COLUMNS = {
  "clinical": {"age": lambda i: 40 + i, "smoking_status": lambda i: i % 3},
  "pathological": {"grading": lambda i: i % 2},
  "blood": {"Hemoglobin": lambda i: i + 0.5},
  "icd": {"c020": lambda i: i % 2},
  "density": {"cd3_z": lambda i: i * 10.0},
}


def write(folder, patients=20, known=15):
  """Small files in HANCOCK's form; patient 1 has no blood and no CD8."""
  folder.mkdir()
  ids = [f"{i:03}" for i in range(1, patients + 1)]
  for m, columns in COLUMNS.items():
    with open(folder / hancock.FILES[m], "w", newline="") as file:
      lines = csv.writer(file)
      lines.writerow(["patient_id", *columns])
      for i in ids[m == "blood" :]:
        lines.writerow([i, *(f(int(i)) for f in columns.values())])
  for s, stain in enumerate(hancock.STAINS):
    vectors = {i: np.array([int(i), s], np.float32) for i in ids}
    if stain == "CD8":
      del vectors["001"]
    np.savez(folder / f"tma_tile_dtr_256_{stain}.npz", **vectors)
  with open(folder / "targets.csv", "w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(["patient_id", "survival_status", "recurrence"])
    for i in ids[:known]:
      died = ("living", "deceased")[int(i) % 3 == 0]
      lines.writerow([i, died, ("no", "yes")[int(i) % 2]])
  return folder


@pytest.mark.parametrize("stained", hancock.STAINED)
def test_six_kinds_of_a_patient_by_hand(stained, tmp_path):
  patients = hancock.read(write(tmp_path / "in"), "death")
  assert np.nansum(patients.label) == 5 and np.isnan(patients.label[15:]).all()
  known = ~np.isnan(patients.label)
  split = np.array(["train", "validation", "test"])[np.arange(20) % 3]
  hancock.write(tmp_path / "tables", patients, split, known, stained)
  build.build(
    source="tables",
    tables=tmp_path / "tables",
    task="mine",
    data_dir=tmp_path,
    quiet=True,
  )
  stays, data = read(tmp_path)
  assert data.modalities == hancock.MODALITIES
  assert len(stays) == 15
  assert stays[1]["present"].tolist() == [True, True, False, True, True, True]
  assert all(stays[2]["present"]) and stays[3]["label"] == [1]
  assert data.series["clinical"][:4] == (
    *("age", "smoking_status->0", "smoking_status->1", "smoking_status->2"),
  )
  # Measured once, it is repeated; a stain is a token of its own.
  np.testing.assert_array_equal(
    stays[2]["clinical"][:2], [[42, 0, 0, 1, 1, 1], [42, 0, 0, 1, 0, 0]]
  )
  cd8 = hancock.STAINS.index("CD8")
  if stained == "embeddings":  # The same numbers, and no token without one.
    tokens = [[2, s] for s in range(8)]
    np.testing.assert_array_equal(stays[2]["stains"], tokens)
    found = {s: e["stains"].shape for s, e in stays.items()}
    assert found == {s: (7 + (s != 1), 2) for s in stays}
    assert stays[1]["stains_hours"][cd8] == cd8 + 1.5
    assert data.embeddings["stains"]["model"] == hancock.MODEL
    return
  np.testing.assert_array_equal(
    stays[2]["stains"], [[2, s, 1, 1] for s in range(8)]
  )
  np.testing.assert_array_equal(
    stays[1]["stains"][cd8],
    [1, cd8 - 1, 0, 0],  # That of the one before.
  )


def test_folds_hold_as_many_cases_and_nobody_kept_apart(tmp_path):
  patients = hancock.read(write(tmp_path / "in"), "recurrence")
  fold = hancock.folds(patients, 4, 0)
  assert (fold[15:] == -1).all() and (fold[:15] >= 0).all()
  cases = [int(patients.label[fold == k].sum()) for k in range(4)]
  assert sorted(cases) == [2, 2, 2, 2]
  assert (fold != hancock.folds(patients, 4, 1)).any()
  split = hancock.held_out(patients, fold == 2, 0)
  assert (split[fold == 2] == "test").all()
  assert 1 <= (split == "validation").sum() <= 5


def test_what_is_not_there_is_named(tmp_path):
  folder = write(tmp_path / "in")
  (folder / "tma_tile_dtr_256_HE.npz").unlink()
  with pytest.raises(errors.InputError, match="--hancock=.*_HE.npz: cannot be"):
    hancock.read(folder, "death")


def test_paired_test_of_folds_by_hand():
  from experiments import hancock as command

  gap = np.array([0.01, 0.03, 0.02, 0.04, 0.0])
  half, p = command.corrected(gap, 1 / 4)
  error = np.sqrt(gap.var(ddof=1) * (1 / 5 + 1 / 4))
  t = gap.mean() / error
  assert p == pytest.approx(2 * (1 - scipy.stats.t.cdf(t, 4)))
  assert half == pytest.approx(2.776 * error, rel=1e-3)
  # The second knows nothing of a stay that it does not predict.
  label = np.array([0.0, 1, 0, 1])
  folds = [
    {"label": label, "a": np.array([0.0, 1, 2, 3]), "b": -label},
    {"label": label, "a": label, "b": np.array([1.0, np.nan, 0, 2])},
  ]
  rows, text = command.table(folds, 5)
  assert rows[0]["mean"][0] == pytest.approx((0.75 + 1) / 2)
  assert rows[1]["mean"][0] == pytest.approx((0 + 1) / 2)
  assert rows[1]["difference"][0] == pytest.approx((0.75 + 0) / 2)
  assert text.splitlines()[2].startswith("b ")


def test_those_kept_apart_get_the_mean_of_the_folds_models(
  tmp_path, monkeypatch
):
  from experiments import hancock as command

  def trained(f, name, model, modalities):
    assert (model, modalities) == ("medpatch", ("blood",))
    data = Dataset(tmp_path / "run/records", name)
    assert [data.size(s) for s in ("train", "validation")] == [12, 3]
    run = types.SimpleNamespace(
      data=data, rows=lambda s: np.arange(data.size(s))
    )
    of = np.array([0.0, 3.0]["_0" not in name]) * np.ones((5, 1))
    return types.SimpleNamespace(run=run, predict=lambda split: {"late": of})

  monkeypatch.setattr(command, "trained", trained)
  head = {"head": "late"}
  monkeypatch.setattr(command.evaluate, "validated", lambda stages: head)
  f = types.SimpleNamespace(
    task="death",
    stains="embeddings",
    folds=2,
    models=["medpatch"],
    workdir=str(tmp_path / "run"),
    predict=str(tmp_path / "p.csv"),
  )
  command.predict(f, hancock.read(write(tmp_path / "in"), "death"), ("blood",))
  rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
  assert [r["patient_id"] for r in rows] == ["016", "017", "018", "019", "020"]
  want = (0.5 + 1 / (1 + np.exp(-3))) / 2
  assert {float(r["probability"]) for r in rows} == {round(want, 6)}


def test_nobody_kept_apart_is_refused(tmp_path):
  from experiments import hancock as command

  patients = hancock.read(write(tmp_path / "in", known=20), "death")
  f = types.SimpleNamespace(hancock="in", task="death", folds=2)
  with pytest.raises(ValueError, match="--hancock=in: targets.csv has the"):
    command.predict(f, patients, ("blood",))


@pytest.mark.slow
def test_table_and_predictions_as_a_command(repository, tmp_path):
  from tests.test_commands import command

  write(tmp_path / "in", patients=60, known=48)
  words = (
    "experiments.hancock",
    f"--hancock={tmp_path}/in",
    f"--workdir={tmp_path}/run",
    *("--folds=2", "--repeats=1", "--models=medpatch,late", "--epochs=1"),
    *("--modalities=clinical,blood", "--calibration_steps=2"),
  )
  done = command(repository, *words)
  assert done.returncode == 0, done.stderr[-2000:]
  for name in ("medpatch, ", "late, ", "clinical ", "blood ", "regression, "):
    assert f"\n{name}" in done.stdout
  assert command(repository, *words).stdout == done.stdout
  out = tmp_path / "p.csv"
  done = command(repository, *words, f"--predict={out}")
  assert done.returncode == 0, done.stderr[-2000:]
  rows = list(csv.DictReader(out.read_text().splitlines()))
  assert [r["patient_id"] for r in rows] == [f"{i:03}" for i in range(49, 61)]
