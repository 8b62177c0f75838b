"""The closed-form posterior is calibrated, and its command prints it."""

import csv
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from data import build
from data.errors import InputError
from data.synthetic import bayes, model, tables
from data.synthetic import world as worlds
from medpatch_jax import schema
from medpatch_jax.evaluate import metrics

DEATH = "in_hospital_mortality"


def write_truth(folder, task, sources, of=worlds.World()):  # noqa: B008
  """truth.csv of {modality: (shown, clear) bool[N C S]}, stays 0 to N - 1."""
  (folder / "world.json").write_text(json.dumps(dataclasses.asdict(of)))
  with open(folder / "truth.csv", "w", newline="") as file:
    out = csv.writer(file)
    out.writerow(tables.TRUTH_COLUMNS)
    for modality, pair in sources.items():
      bits = 1 << np.arange(pair[0].shape[-1])
      for stay, rows in enumerate(zip(*(x @ bits for x in pair))):
        for name, *values in zip(schema.TASKS[task].labels, *rows):
          out.writerow((stay, task, name, modality, *values))
  return folder / "truth.csv"


@pytest.fixture(scope="module", params=list(worlds.WORLDS))
def simulated(request, tmp_path_factory):
  """40,000 stays of the mortality model: truth, labels and presence."""
  rng = np.random.default_rng(3)
  n = 40_000
  label = rng.random((n, 1)) < model.DEATH_RATE
  of = worlds.WORLDS[request.param]
  evidence = worlds.Evidence(of, np.random.default_rng(4))
  for m in model.EVIDENCE[DEATH]:
    shown = evidence.draw(rng, DEATH, m, label)
    clear = evidence.clear(shown.shape)
    shown = evidence.spoil(DEATH, m, np.array(model.DEATH_RATE), shown, clear)
    evidence.add(DEATH, m, shown, clear, np.ones(n, bool))
  path = write_truth(
    tmp_path_factory.mktemp("truth"),
    DEATH,
    {m: (s.shown, s.clear) for (_, m), s in evidence.sources.items()},
    of,
  )
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
  assert len(values) > 20  # presence patterns times items shown
  p = 1 / (1 + np.exp(-values))
  found = np.bincount(row, label[:, 0]) / count
  error = np.sqrt(p * (1 - p) / count)
  many = count * np.minimum(p, 1 - p) >= 5
  assert many.sum() > 15
  assert np.all(np.abs(found - p)[many] < 4 * error[many])


@pytest.mark.parametrize(
  ("task", "wanted"),
  [
    ("phenotyping", {"ehr": 0.77, "cxr": 0.72, "rr": 0.78, "dn": 0.86}),
    (DEATH, {"ehr": 0.858, "cxr": 0.72, "rr": 0.74}),
  ],
)
def test_auroc_of_one_modality_is_as_published(task, wanted):
  rng = np.random.default_rng(5)
  items = worlds.Items(worlds.World(), task)
  for modality, auroc in wanted.items():
    label = rng.random(60_000) < 0.3
    shown = iter(items.draw(rng, modality, label, {}).T)
    states = [
      next(shown) if m == modality else np.full(len(label), worlds.UNKNOWN)
      for m, _ in items.order
    ]
    score = items.llr(np.stack(states, 1))
    found = metrics.auroc(score[:, None], label[:, None].astype(np.float32))[0]
    assert found == pytest.approx(auroc, abs=0.01)


def test_llr_by_hand():
  items = worlds.Items(worlds.World(), DEATH)  # p1 0.68, p0 0.16 in the EHR.
  both, one, none = np.log([(68 / 16) ** 2, 68 * 32 / 16 / 84, (32 / 84) ** 2])
  absent = worlds.UNKNOWN, worlds.UNKNOWN
  found = items.llr(
    np.array([(1, 1, *absent), (1, 0, *absent), (0, 0, *absent)])
  )
  np.testing.assert_allclose(found, [both, one, none])


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
  assert score == sorted(score) and score[-1] > 0.75


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
  assert lines[28].startswith("Bits") and lines[30].startswith("ehr + cxr")
  assert len(lines) == 3 + 25 + 2 + 6 and lines[2].startswith("mean ")
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
  """Only the twin itself, evaluation and report name its two files."""
  # All but the first three hand it to the first, for the bound in the table.
  allowed = {
    "experiments/evaluate.py",
    "experiments/confidence.py",
    "experiments/tables/planted.py",
    "experiments/quickstart.py",
    "experiments/ablate.py",
    "experiments/ensemble.py",
    "experiments/paper.py",
    # Only which world it is.
    "experiments/worth.py",
  }
  readers = set()
  for folder in ("data", "medpatch_jax", "experiments"):
    for path in (repository / folder).rglob("*.py"):
      name = path.relative_to(repository).as_posix()
      text = path.read_text("utf-8")
      if re.search(r"truth\.csv|synthetic\.bayes|places\.parquet", text) or (
        re.search(r"data\.synthetic import .*(bayes|places)", text)
      ):
        readers.add(name)
  # The report draws the bound and marks what was planted.
  own = ("data/synthetic/", "experiments/report/")
  readers = {r for r in readers if not r.startswith(own)}
  assert readers <= allowed
