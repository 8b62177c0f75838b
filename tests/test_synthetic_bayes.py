"""The closed-form posterior is calibrated, and its command prints it."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from data import build
from data.errors import InputError
from data.synthetic import bayes, model, tables
from medpatch_jax import schema
from medpatch_jax.evaluate import metrics

DEATH = "in_hospital_mortality"


def write_truth(path, task, llr):
  """truth.csv of {modality: f64[N C]} for stays 0 to N - 1."""
  with open(path, "w", newline="") as file:
    out = csv.writer(file)
    out.writerow(tables.TRUTH_COLUMNS)
    for modality, values in llr.items():
      for stay, row in enumerate(values):
        for name, value in zip(schema.TASKS[task].labels, row):
          out.writerow((stay, task, name, modality, value))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
  """40,000 stays of the mortality model: truth, labels and presence."""
  rng = np.random.default_rng(3)
  n = 40_000
  label = rng.random((n, 1)) < model.DEATH_RATE
  llr = {
    m: e.llr(e.draw(rng, label).sum(-1))
    for m, e in model.EVIDENCE[DEATH].items()
  }
  path = tmp_path_factory.mktemp("truth") / "truth.csv"
  write_truth(path, DEATH, llr)
  present = np.zeros((n, 4), bool)
  present[:, :3] = rng.random((n, 3)) < (1.0, 0.24, 0.86)
  return path, label, present


def test_posterior_is_calibrated(simulated):
  """Among stays of one posterior, that share is positive (within 4 SE)."""
  path, label, present = simulated
  logit = bayes.logits(path, DEATH, np.arange(len(label)), present)[:, 0]
  values, row, count = np.unique(
    logit.round(6), return_inverse=True, return_counts=True
  )
  assert len(values) > 25  # presence patterns times items shown
  p = 1 / (1 + np.exp(-values))
  found = np.bincount(row, label[:, 0]) / count
  error = np.sqrt(p * (1 - p) / count)
  many = count * np.minimum(p, 1 - p) >= 5
  assert many.sum() > 15
  assert np.all(np.abs(found - p)[many] < 4 * error[many])


@pytest.mark.parametrize("task", list(model.EVIDENCE))
def test_auroc_of_one_modality_is_as_computed(task):
  rng = np.random.default_rng(5)
  for modality, evidence in model.EVIDENCE[task].items():
    label = rng.random((60_000, 1)) < 0.3
    score = evidence.llr(evidence.draw(rng, label).sum(-1))
    found = metrics.auroc(score, label.astype(np.float32))[0]
    wanted = model.bayes_auroc(task, modality)
    assert found == pytest.approx(wanted, abs=0.01)
  assert model.bayes_auroc("phenotyping", "dn") == pytest.approx(0.86)
  assert model.bayes_auroc(DEATH, "ehr") == pytest.approx(0.858, abs=0.001)


def test_llr_by_hand():
  evidence = model.Evidence(2, 0.6, 0.3)
  # Both, one or none of two items: log(4), log(2 * 4 / 7), log(16 / 49).
  wanted = np.log([4.0, 8 / 7, 16 / 49])
  np.testing.assert_allclose(evidence.llr([2, 1, 0]), wanted)


def test_prior_is_the_published_prevalence():
  logit = model.prior_logit("phenotyping")
  np.testing.assert_allclose(1 / (1 + np.exp(-logit)), model.PREVALENCE)
  wanted = [0.269, 0.405, 0.123]
  np.testing.assert_allclose(model.PREVALENCE[[0, 12, 24]], wanted)
  np.testing.assert_allclose(model.prior_logit(DEATH), np.log(1 / 7))


def test_more_sources_predict_better(simulated):
  path, label, present = simulated
  stays, score = np.arange(len(label)), []
  for names in ((), ("ehr",), ("ehr", "rr"), ("ehr", "cxr", "rr")):
    use = present & bayes.subset(names)[None]
    score.append(bayes.bound(path, DEATH, stays, use, label).mean_auroc)
  assert score[0] == 0.5
  assert score == sorted(score) and score[1] > 0.84


def test_foreign_records_are_refused(simulated, tmp_path):
  path, label, present = simulated
  with pytest.raises(InputError, match="1 of 1 stays are not in"):
    bayes.logits(path, DEATH, [10**9], present[:1])
  note = np.array([[False, False, False, True]])
  with pytest.raises(InputError, match=r"not in the truth \(dn 1 stays\)"):
    bayes.logits(path, DEATH, [0], note)
  with pytest.raises(InputError, match="wanted the truth.csv"):
    bayes.logits(tmp_path / "truth.csv", DEATH, [0], note)
  (tmp_path / "truth.csv").write_text("a,b\n1,2\n")
  with pytest.raises(InputError, match="wanted the columns"):
    bayes.logits(tmp_path, DEATH, [0], note)
  nobody = bayes.logits(path, DEATH, np.zeros(0, int), present[:0])
  assert nobody.shape == (0, 1)


def test_command_prints_the_bound(repository, tmp_path):
  build.build(
    task="phenotyping",
    data_dir=tmp_path / "out",
    source="synthetic",
    raw_dir=tmp_path / "raw",
    subjects=60,
    density=0.01,
    quiet=True,
  )
  command = [
    sys.executable,
    "-m",
    "data.synthetic.bayes",
    f"--raw={tmp_path / 'raw'}",
    f"--data_dir={tmp_path / 'out'}",
    "--task=phenotyping",
    "--split=train",
  ]
  run = subprocess.run(
    [*command, "--modalities=ehr,dn"],
    cwd=repository,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = run.stdout.splitlines()
  assert lines[0] == "Bayes-optimal phenotyping, train, from ehr, dn"
  assert len(lines) == 3 + 25 and lines[2].startswith("mean ")
  assert 0.8 < float(lines[2].split()[1]) <= 1
  wrong = subprocess.run(
    [*command, "--modalities=her"],
    cwd=repository,
    capture_output=True,
    text=True,
    check=False,
  )
  assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
  assert "Did you mean 'ehr'?" in wrong.stderr


def test_nothing_reads_the_truth(repository):
  """Only the twin itself and the evaluation's bound name the file."""
  # All but the first hand it to the first, for the bound in the table.
  allowed = {
    "experiments/evaluate.py",
    "experiments/quickstart.py",
    "experiments/ablate.py",
    "experiments/ensemble.py",
    "experiments/paper.py",
  }
  readers = set()
  for folder in ("data", "medpatch_jax", "experiments"):
    for path in (repository / folder).rglob("*.py"):
      name = path.relative_to(repository).as_posix()
      text = path.read_text("utf-8")
      if "truth.csv" in text or "synthetic.bayes" in text:
        readers.add(name)
  readers = {r for r in readers if not r.startswith("data/synthetic/")}
  assert readers <= allowed
