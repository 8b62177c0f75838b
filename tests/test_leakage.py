"""What the quality report says of leakage; the split by time."""

import csv
import json

import numpy as np
import pytest

from data import build, errors, leakage, splits, synthetic
from data.mimic import rules
from experiments.report import cases
from medpatch_jax.input import dataset
from tests import mimic_raw, tables_folder
from tests.tables_folder import SECRET, _note, _stay
from tests.test_mimic import examples


def test_words_are_whole_ones_in_any_case_and_of_labels_too():
  words = leakage.words(["heart_failure", "AKI", "Died"])
  assert words.count("died") == 1 and "aki" not in words
  pattern = leakage.pattern(words)
  said = leakage.said("Patient EXPIRED. Comfort\nmeasures; undied", pattern)
  assert said == {"expired", "comfort measures"}
  assert leakage.said("known heart  failure", pattern) == {"heart failure"}


def notes(stays=30):
  """Stays of which the first 15 have a note of a death, in their hours."""
  tables = {"stays": [], "notes": []}
  for n in range(1, stays + 1):
    tables["stays"].append(_stay(n, n, 6, n % 2, 0, "train", "F", 60))
    text = f"{SECRET} died" if n <= 15 else "sleeps"
    tables["notes"].append(_note(n, "nursing", 1, text))
    tables["notes"].append(_note(n, "nursing", 9, "hospice"))
  tables["notes"].append(_note(1, "ward", 1, "sepsis, DNR"))
  tables["stays"][-1]["split"] = "test"
  return tables


@pytest.mark.parametrize("license", [None, "CC0"])
def test_words_of_the_window_are_counted_and_no_text_is_shown(
  license, tmp_path
):
  folder = tables_folder.write(tmp_path / "in", notes())
  path = tables_folder.build(folder, tmp_path / "out", open_license=license)
  found = json.loads((path / "quality.json").read_text())["leakage"]
  train = {
    m: {w: counts["train"] for w, counts in words.items()}
    for m, words in found["words"].items()
  }
  few = 1 if license else "<11"
  assert train == {
    "nursing": {"died": 15 if license else "~20"},
    "ward": {"dnr": few, "sepsis": few},
  }
  assert found["answers"]["How were the subjects split?"].startswith("As the")
  page = (path / "quality.html").read_text()
  assert "<td>nursing</td><td>died</td>" in page and SECRET not in page


def test_answers_of_mimic(tmp_path):
  raw = mimic_raw.write(tmp_path / "raw")
  bare = {n: f for n, f in mimic_raw.folders(raw).items() if "note" not in n}
  path = build.build(
    source="mimic", task="phenotyping", data_dir=tmp_path / "bare", quiet=True,
    **bare,
  )  # fmt: skip
  answers = json.loads((path / "quality.json").read_text())["leakage"][
    "answers"
  ]
  assert answers["Are discharge notes of the admission seen?"] == (
    "None were given."
  )
  for task, wanted in (
    ("phenotyping", ("an upper bound", "They are the labels", "By a hash")),
    ("in_hospital_mortality", ("Not used.", "Not read.", "By a hash")),
  ):
    path = build.build(
      source="mimic", task=task, data_dir=tmp_path / "out", quiet=True,
      **mimic_raw.folders(raw),
    )  # fmt: skip
    answers = json.loads((path / "quality.json").read_text())["leakage"]
    text = " ".join(answers["answers"].values())
    assert all(w in text for w in wanted), text


def test_the_latest_group_is_test_and_no_other_is(tmp_path):
  synthetic.write(
    tmp_path / "raw", subjects=60, seed=1, density=0.02, film_size=64,
    gzip=False,
  )  # fmt: skip
  patients = next((tmp_path / "raw").rglob("patients.csv"))
  with open(patients, newline="") as file:
    groups = {
      int(r["subject_id"]): r["anchor_year_group"] for r in csv.DictReader(file)
    }
  given = mimic_raw.folders(tmp_path / "raw")
  path = build.build(
    source="mimic", task="in_hospital_mortality", data_dir=tmp_path / "out",
    rules=rules.Rules(split="anchor_year_group"), quiet=True, **given,
  )  # fmt: skip
  by_split = {s: set() for s in splits.SPLITS}
  for e in examples(path):
    by_split[e["split"]].add(groups[int(e["subject_id"])])
  assert len(by_split["test"]) == 1 and by_split["train"]
  early = by_split["train"] | by_split["validation"]
  assert max(early) < min(by_split["test"])
  metadata = json.loads((path / "metadata.json").read_text())
  assert metadata["rules"]["split"] == "anchor_year_group"
  answers = json.loads((path / "quality.json").read_text())["leakage"]
  assert "By time" in str(answers["answers"])
  (tmp_path / "list").write_text("1,1\n")
  with pytest.raises(errors.InputError, match="--split=.*leave one out"):
    build.build(
      source="mimic", task="phenotyping", data_dir=tmp_path / "out",
      rules=rules.Rules(split="anchor_year_group"), quiet=True,
      test_list=tmp_path / "list", **given,
    )  # fmt: skip


def test_a_split_by_time_needs_two_groups_and_everybody_in_one():
  for groups in (["2008 - 2010"] * 2, ["2008 - 2010", None]):
    with pytest.raises(errors.InputError, match="--split=anchor_year_group"):
      splits.by_group([1, 2], groups)
  found = splits.by_group(np.arange(1000), ["a", "b"] * 500)
  assert (found[1::2] == 2).all() and 30 < (found == 1).sum() < 100


def test_every_kind_of_input_can_be_shown_in_a_report():
  assert set(cases.SHOWN) == set(dataset.KINDS)
