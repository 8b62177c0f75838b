"""The paper's tables and ensembles, on a small twin."""

import copy
import json

import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import ensemble, flags, paper, train
from experiments.config import Config
from experiments.tables import published
from medpatch_jax import files
from medpatch_jax.evaluate import predictions, report
from tests import small_run

SMALL = ("--epochs=1", "--calibration_steps=2", "--batch_size=32")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  root = tmp_path_factory.mktemp("records")
  for task in (published.MORTALITY, published.PHENOTYPING):
    small_run.records(root, task)
  return root


@pytest.fixture
def values(records):
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  found = copy.deepcopy(absl_flags.FLAGS)
  found(["paper", f"--data_dir={records}", *SMALL])
  return found


def test_rates_are_drawn_log_uniformly_and_are_the_same_every_time():
  rates = [float(r) for r in paper.Paper(None, "x", 1000).rates]
  assert 1e-5 <= min(rates) and max(rates) <= 1e-3
  np.testing.assert_allclose(np.median(rates), 1e-4, rtol=0.2)
  again = paper.Paper(None, "y", 10).rates
  assert again == paper.Paper(None, "x", 1000).rates[:10]


def test_every_row_of_every_table_is_a_configuration(values, tmp_path):
  made = paper.Paper(values, tmp_path, 0)
  for table in published.TABLES.values():
    for entry in table.entries:
      for task in entry.tasks:
        config = made._config(task, entry, None)
        assert config.late_pooling == "mean"
        names = made.modalities(task, entry)
        assert names and ("dn" not in names or task == published.PHENOTYPING)


def test_the_best_rates_on_validation_are_taken(values, tmp_path, monkeypatch):
  made = paper.Paper(values, tmp_path, 3)
  worth = {}

  def validated(task, entry, rate):
    # The last one tried is the best.
    return worth.setdefault((entry.name, rate), len(worth))

  monkeypatch.setattr(made, "_validated", validated)
  entry = published.Entry("MedPatch", ("--modalities=ehr,cxr",))
  best = made._best(published.PHENOTYPING, entry)
  last = made.rates[-1]
  assert best == f"ehr={last},cxr={last},fuse={last}"
  # Each encoder's rates, then the model's on the best encoders.
  assert [name for name, _ in worth] == ["ehr"] * 3 + ["cxr"] * 3 + [
    "MedPatch"
  ] * 3
  late = published.Entry("late", ("--model=late", "--modalities=ehr,cxr"))
  assert made._candidates(published.PHENOTYPING, late) == [
    f"ehr={last},cxr={last}"
  ]


def test_an_ensemble_is_the_mean_of_the_probabilities(values, tmp_path):
  members = {}
  for name, seed in (("a", 0), ("b", 1)):
    one = copy.deepcopy(values)
    one(["train", "--modalities=cxr", "--model=unimodal", f"--seed={seed}"])
    config = Config.from_flags(one, workdir=tmp_path / name)
    members[name] = train.train(config)
  text = ensemble.write(members, tmp_path / "both", "ensemble of 2")
  assert "ensemble of 2" in text
  found = predictions.load(tmp_path / "both" / predictions.NAME)
  each = [m.predict("test")["unimodal"] for m in members.values()]
  mean = np.mean([1 / (1 + np.exp(-x)) for x in each], axis=0)
  np.testing.assert_allclose(
    1 / (1 + np.exp(-found.logits["ensemble"])), mean, rtol=1e-5
  )
  assert report.read(tmp_path / "both/results.json")["chosen"] == "ensemble"


def test_too_few_stays_have_no_number(values, tmp_path, monkeypatch):
  def scored(stays):
    rng = np.random.default_rng(0)
    label = (np.arange(stays) % 2)[:, None].astype(np.float32)
    logits = rng.standard_normal((stays, 1)).astype(np.float32)
    result = report.build(
      {"late": logits, "ehr": logits},
      label,
      np.ones((stays, 1), bool),
      np.arange(stays),
      chosen="late",
      label_names=["Shock"],
      modalities=["ehr"],
    )
    files.write_text(tmp_path / "results.json", json.dumps(result))
    made = paper.Paper(values, tmp_path, 0)
    monkeypatch.setattr(made, "results", lambda entry, task: tmp_path)
    return made

  few = scored(10)
  row = paper.conditions(few, published.PHENOTYPING).splitlines()[-1]
  assert row == "| Shock | <11 | - | - | - |"
  text = paper.significance(few, published.PHENOTYPING)
  assert text == "Significance, phenotyping: <11 stays are too few.\n"
  row = paper.conditions(scored(40), published.PHENOTYPING).splitlines()[-1]
  cells = row.split("|")
  assert float(cells[3].split()[0]) == float(cells[5].split()[0])


@pytest.mark.slow
def test_all_tables_are_made(values, tmp_path):
  made = paper.Paper(values, tmp_path, 0)
  tasks = (published.MORTALITY, published.PHENOTYPING)
  for name in paper.NAMES:
    text = paper.write(made, name, tasks)
    assert (tmp_path / f"table-{name}.md").read_text() == text
  for name, table in published.TABLES.items():
    text = (tmp_path / f"table-{name}.md").read_text()
    for entry in table.entries:
      assert f"| {entry.name} |" in text
  assert "late" in (tmp_path / "table-C1.md").read_text()
