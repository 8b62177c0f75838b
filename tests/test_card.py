"""The card of a scored run, held against the results it was made from."""

import json
import re
import types

import numpy as np
import pytest

import medpatch_jax
from experiments import evaluate
from medpatch_jax.evaluate import names, report
from medpatch_jax.export import artefact, card
from medpatch_jax.predict import reliability
from tests import exported, small_run


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
  """A twin's run whose test split was scored, with drawn predictions."""
  root = tmp_path_factory.mktemp("scored")
  small_run.records(root / "records", subjects=400)
  words = ("--modalities=ehr,cxr", "--staleness")
  stages = exported.stages(
    root / "records", root / "run", *words, task="phenotyping"
  )
  run, rng = stages.run, np.random.default_rng(0)
  label = run.label("test")[run.rows("test")]
  outputs = {
    name: (rng.normal(size=label.shape) + 2 * label - 1).astype(np.float32)
    for name in ("combined", "late", "unimodal/ehr", "unimodal/cxr")
  }
  table = evaluate.write(run, outputs, "combined", "MedPatch")
  folder = exported.write(root / "model", stages, exported.drawn(stages))
  return types.SimpleNamespace(
    run=run,
    table=table,
    folder=folder,
    text=(folder / "README.md").read_text(),
    result=report.read(root / "run/results.json"),
    config=artefact.read_config(folder),
  )


def section(text, title):
  """Between a heading and the next of the same rank."""
  return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_what_was_measured_is_there_with_intervals_and_groups(scored):
  measured = section(scored.text, "Measured")
  assert scored.table.strip() in measured
  (row,) = [r for r in scored.result["heads"] if r["head"] == "combined"]
  auroc = row["auroc"]
  shown = f"{auroc['value']:.3f} ({auroc['low']:.3f}, {auroc['high']:.3f})"
  (line,) = [x for x in measured.split("\n") if "= MedPatch" in x]
  assert line.startswith("combined = MedPatch") and shown in line
  for group in ("what it has", "age", "gender", "ethnicity"):
    assert f"\n{group}\n" in measured
  brier = scored.result["calibration"]["brier"]
  assert f"{brier['value']:.3f} ({brier['low']:.3f}" in measured
  assert "ECE: expected calibration error" in measured
  for name in scored.run.labels:
    assert names.SHORT[name] in measured


def test_whose_data_which_splits_and_how_it_was_made_are_there(scored):
  run = scored.run
  assert "# MedPatch: phenotyping\n" in scored.text
  what = scored.text.split("\n## ")[0]
  assert "- `ehr`: series\n- `cxr`: image" in what and "`combined`" in what
  assert all(name in what for name in run.labels)
  data = section(scored.text, "Data")
  assert "(synthetic twin)" in data and "Splits are by subject" in data
  for split in ("train", "validation", "test"):
    assert f"- {split}: {len(run.rows(split))} stays\n" in data
    assert run.data.fingerprint[split] in data
  assert "no real patients" in section(scored.text, "Whose it is")
  assert "no medical device" in section(scored.text, "Limits")
  assert "`--staleness=True`" in section(scored.text, "How it was trained")
  assert "arXiv 2508.09182" in scored.text
  assert "Al Jorf, Baraa and\nShamout" in section(scored.text, "Citation")
  versions = section(scored.text, "Versions")
  for name in ("medpatch-jax", "jax", "flax", "numpy"):
    assert f"- {name} " in versions
  assert "`stablehlo/model-48h.stablehlo`" in scored.text


@pytest.mark.parametrize(
  ("kind", "said"),
  [
    ("mimic", "PhysioNet\nCredentialed Health Data Use Agreement"),
    ("other", "Whatever agreement holds\nfor those data holds for this folder"),
    ("open", "openly licensed records: ODbL 1.0. What is made from"),
  ],
)
def test_the_notice_is_that_of_the_data(kind, said, scored):
  config = json.loads((scored.folder / "config.json").read_text())
  config["dataset"] |= {"kind": kind, "license": "ODbL 1.0"}
  text = card.text(config, scored.result, {})
  assert said in text and ("Credentialed" in text) == (kind == "mimic")


def test_few_stays_are_not_counted_and_hours_are_called_so(scored):
  config = json.loads((scored.folder / "config.json").read_text())
  config |= {"hourly": True}
  config["dataset"]["splits"] = {
    "train": {"stays": 1234, "hours": 56789},
    "test": {"stays": "<11"},
  }
  text = card.text(config, None, {})
  assert "- train: 56,789 hours of 1,234 stays\n- test: <11 stays\n" in text
  assert "Predicts at any hour of a hospital stay" in text


def test_a_prediction_comes_with_what_its_probability_was_worth(scored):
  """The interval of the bin it falls in, from the same results."""
  model = medpatch_jax.load(scored.folder)
  found = model.predict({"ehr": [(0.5, "Heart rate", 88)], "hours": 40})
  curves = [c["reliability"] for c in scored.result["calibration"]["per_label"]]
  seen = 0
  for p, error, curve in zip(
    found.probability, found.calibration_error, curves
  ):
    if curve is None:
      assert np.isnan(error).all()
      continue
    k = max(np.searchsorted(curve["edges"], p) - 1, 0)
    if not curve["count"][k]:
      assert np.isnan(error).all()
      continue
    low, high = reliability.wilson(curve["observed"][k], curve["count"][k])
    mean = curve["predicted"][k]
    np.testing.assert_allclose(error, (low - mean, high - mean))
    seen += 1
  assert seen


@pytest.mark.parametrize(
  ("vocabulary", "said"),
  [
    (
      {"from": "train", "patients": 11, "source": "MIMIC-IV 3.1"},
      "of the train split of MIMIC-IV 3.1. .* at least 11 patients have",
    ),
    ({"from": "train", "patients": None}, "is not known, so it may hold"),
    ({"from": "bert", "patients": None}, "published model .*--bert"),
    ({"from": "init_from", "patients": 11}, "started from .* 11 patients"),
    ({"from": "init_from", "patients": None}, "started from .* is not known"),
  ],
)
def test_the_card_says_where_the_vocabulary_is_from(scored, vocabulary, said):
  config = scored.config | {"vocabulary": vocabulary}
  data = section(card.text(config, scored.result, {}), "Data")
  assert re.search(f"- Vocabulary of the texts: .*{said}", data)
  assert "Vocabulary" not in scored.text  # That run reads no texts.
