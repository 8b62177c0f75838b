"""Own tables of several kinds of events: each is a modality of its own."""

import copy
import csv
import json
import shutil

import jax
import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import evaluate, export, flags, train
from experiments.config import Config
from experiments.training import initial
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax.predict import __main__ as command
from tests import tables_folder
from tests.tables_folder import _event, _note, _stay
from tests.test_build import _digest as digest
from tests.test_tables import read

SMALL = ("--epochs=1", "--calibration_steps=2", "--batch_size=32")


def small():
  """Three stays by hand: a pulse, a blood test of two variables."""
  return {
    "stays": [
      _stay(1, 11, 2, 1, 0, "train", "F", 60),
      _stay(2, 12, 3, 0, 1, "train", "M", 30),
      _stay(3, 13, 2, 0, 0, "test", "F", 70),
    ],
    # Those of one kind need not stand together.
    "variables": [
      dict(name="Lactate", kind="blood", normal="1", categories=""),
      dict(name="Pulse", kind="", normal="80"),
      dict(name="Group", kind="blood", categories="A|B"),
    ],
    "events": [
      _event(1, 0.5, "Lactate", 2),
      _event(1, 0.5, "Group", "B"),
      _event(2, 0.5, "Pulse", 60),
      _event(2, 2.5, "Lactate", 4),
      _event(3, 1.5, "Pulse", 90),
    ],
  }


def many(number=60):
  """Stays with a pulse, of which some lack blood, some stains, some both."""
  rng = np.random.default_rng(0)
  words = {"stains": "S1 S2 S3", "": "Pulse", "blood": "Lactate Group"}
  tables = {name: [] for name in ("stays", "events")}
  tables["variables"] = [
    dict(name=n, kind=k, categories="A|B" if n == "Group" else "")
    for k, names in words.items()
    for n in names.split()
  ]
  for stay in range(1, number + 1):
    split = ("train", "train", "validation", "test")[stay % 4]
    died = int(rng.random() < 0.5)
    tables["stays"].append(
      dict(stay_id=stay, subject_id=stay, hours=4, split=split, label_x=died)
    )
    tables["events"] += [_event(stay, h, "Pulse", 80 + h) for h in range(3)]
    if stay % 3:
      lactate = round(2 + died + rng.normal(), 3)
      tables["events"].append(_event(stay, 1, "Lactate", lactate))
      tables["events"].append(_event(stay, 1, "Group", "AB"[stay % 2]))
    if stay % 5:
      stains = rng.normal(size=(4, 3)).round(4) + died
      tables["events"] += [
        _event(stay, h + 0.5, f"S{i + 1}", float(stains[h, i]))
        for h in range(4)
        for i in range(3)
      ]
  return tables


def without(tables, kind):
  """The tables without the events of one kind."""
  own = [v["name"] for v in tables["variables"] if v["kind"] == kind]
  kept = [e for e in tables["events"] if e["variable"] not in own]
  return tables | {"events": kept}


def test_each_kind_is_a_series_by_hand(tmp_path):
  path = tables_folder.build(
    tables_folder.write(tmp_path / "in", small()), tmp_path / "out"
  )
  stays, data = read(tmp_path / "out")
  assert data.description.kinds == {"blood": "series", "ehr": "series"}
  blood = ["Lactate", "Group->A", "Group->B", "mask->Lactate", "mask->Group"]
  pulse = ["Pulse", "mask->Pulse"]
  assert data.metadata["columns"] == blood + pulse
  assert data.series == {"blood": tuple(blood), "ehr": tuple(pulse)}
  assert [v.get("kind") for v in data.metadata["variables"]] == [
    *("blood", "blood"),
    None,
  ]
  has = {s: e["present"].tolist() for s, e in stays.items()}
  assert has == {1: [True, False], 2: [True, True], 3: [False, True]}
  np.testing.assert_array_equal(
    stays[1]["blood"], [[2, 0, 1, 1, 1], [2, 0, 1, 0, 0]]
  )
  assert stays[1]["ehr"].shape == (0, 2) and stays[3]["blood"].shape == (0, 5)
  np.testing.assert_array_equal(stays[3]["ehr"], [[80, 0], [90, 1]])
  # Each is z-scored by the hours of the stays that have it.
  assert data.metadata["continuous"] == [0, 5]
  np.testing.assert_allclose(data.mean, [10 / 5, 0, 0, 0, 0, 60, 0])
  np.testing.assert_allclose(
    data.std, [np.std([2, 2, 1, 1, 4], ddof=1), 1, 1, 1, 1, 1, 1], rtol=1e-6
  )
  assert data.metadata["index"]["train"]["hours"] == [
    len(stays[s]["blood"]) for s in stays if stays[s]["split"] == "train"
  ]
  report = json.loads((path / "report.json").read_text())
  constant = [v["variable"] for v in report["constant_variables"]]
  assert constant == ["Group", "Pulse"]  # Of either series.


def test_quality_is_of_the_stays_that_have_the_kind(tmp_path):
  tables = small() | {"stays": [], "events": []}
  for stay in range(40):
    tables["stays"].append(_stay(stay, stay, 2, 0, 0, "train", "F", 50))
    name = ("Pulse", "Lactate")[stay % 2]
    tables["events"].append(_event(stay, 0.5, name, stay))
  folder = tables_folder.write(tmp_path / "in", tables)
  path = tables_folder.build(folder, tmp_path, open_license="CC BY 4.0")
  for name in ("quality.json", "report.json"):
    found = json.loads((path / name).read_text())["variables"]
    key = "measured" if name == "quality.json" else "percent"
    shares = {v: found[v]["train"][key] for v in found}
    assert shares == {"Lactate": 50.0, "Group": 0.0, "Pulse": 50.0}
  found = json.loads((path / "quality.json").read_text())
  presence = found["presence_by_hour"]["train"]
  assert presence["blood"][:2] == presence["ehr"][:2] == [100.0, 0.0]
  page = (path / "quality.html").read_text()
  assert page.count('aria-label="blood"') == 1


def test_one_kind_is_as_none(tmp_path):
  """The same bytes where it is ehr, the same numbers under another name."""
  tables = small()
  del tables["events"][2]
  paths = {}
  for name in ("none", "", "ehr", "blood"):
    for v in tables["variables"]:
      v.pop("kind", None)
      v |= {} if name == "none" else {"kind": name}
    folder = tables_folder.write(tmp_path / name / "in", tables)
    paths[name] = tables_folder.build(folder, tmp_path / name / "out")
  for name in ("", "ehr"):
    assert digest(paths[name]) == digest(paths["none"])
  (ours, data), (theirs, plain) = (
    read(tmp_path / n / "out") for n in ("blood", "none")
  )
  for stay, record in theirs.items():
    np.testing.assert_array_equal(ours[stay]["blood"], record["ehr"])
    assert ours[stay]["present"] == record["present"]
  for name in ("columns", "mean", "std", "continuous", "index"):
    assert data.metadata[name] == plain.metadata[name]


@pytest.mark.parametrize(
  "kind", ["Blood", "cxr", "rr", "dn", "high", "b_hour", "hours", "1b", "a-b"]
)
def test_a_kind_that_is_no_name_is_refused(kind, tmp_path):
  tables = small()
  tables["variables"][2]["kind"] = kind
  folder = tables_folder.write(tmp_path / "in", tables)
  said = (
    r"variables.csv, column kind: no lower-case word such as blood, .*row 3"
  )
  tables_folder.refused(folder, tmp_path / "out", said)


def test_a_kind_of_variables_is_no_kind_of_notes(tmp_path):
  tables = small() | {"notes": [_note(1, "blood", 1, "pale")]}
  folder = tables_folder.write(tmp_path / "in", tables)
  said = "notes.csv, column kind: blood is a kind of variables, too"
  tables_folder.refused(folder, tmp_path / "out", said)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """(records, tables, tables without blood)."""
  root = tmp_path_factory.mktemp("kinds")
  folder = tables_folder.write(root / "in", many())
  tables_folder.build(folder, root / "records", open_license="CC0")
  bare = tables_folder.write(root / "bare", without(many(), "blood"))
  return root / "records", folder, bare


def configure(records, workdir, *words):
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  values = copy.deepcopy(absl_flags.FLAGS)
  values(["train", f"--data_dir={records}", "--task=mine", *SMALL, *words])
  return Config.from_flags(values, workdir=workdir)


def probabilities(path):
  rows = list(csv.DictReader(path.read_text().splitlines()))
  column = "x" if "x" in rows[0] else "probability"
  return {int(r["stay_id"]): float(r[column]) for r in rows}


@pytest.mark.parametrize(
  "ehr", ["lstm", pytest.param("additive", marks=pytest.mark.slow)]
)
def test_predicted_from_tables_as_evaluated(ehr, built, tmp_path):
  """Trained, scored, exported, predicted; what is hidden is absent."""
  records, tables, bare = built
  words = (f"--ehr={ehr}", "--learning_rate=blood=0.003", "--deviation")
  words += (f"--share={tmp_path / 'share'}",)
  config = configure(records, tmp_path / "run", "--cross_fit=0", *words)
  assert config.modalities == ("stains", "ehr", "blood")
  assert config.learning_rate["blood"] == 0.003
  stages = train.train(config)
  # Values, masks, and distances of the numbers.
  assert stages.run.shapes.columns == {"stains": 9, "ehr": 3, "blood": 6}
  assert "15 stays" in evaluate.evaluate(stages)
  result = json.loads((tmp_path / "run/results.json").read_text())
  found = {row["modality"] for row in result["unimodal"]}
  assert found == set(config.modalities)
  with pytest.raises(ValueError, match="authors: their code .* not stains, "):
    export.to_authors(stages, tmp_path / "file")
  export.to_folder(stages, tmp_path / "model")
  skip = shutil.ignore_patterns(".lock")
  shutil.copytree(tmp_path / "run", tmp_path / "hidden", ignore=skip)
  hidden = Config.from_workdir(
    tmp_path / "hidden", tmp_path / "share", missing_test=["blood=1"]
  )
  want = {}
  for folder, seen in ((tables, stages), (bare, Stages(Run(hidden)))):
    evaluate.predict(seen, tmp_path / "scored.csv")
    out = tmp_path / f"{folder.name}.csv"
    command.run(tmp_path / "model", folder, out)
    want[folder] = probabilities(tmp_path / "scored.csv")
    got = probabilities(out)
    assert len(want[folder]) == 15 and len(got) == 60
    for stay, p in want[folder].items():
      assert got[stay] == pytest.approx(p, abs=2e-6), (folder.name, stay)
  assert want[tables] != want[bare]
  # A baseline fuses the same encoders.
  late = configure(records, tmp_path / "late", "--model=late", *words)
  assert "15 stays" in evaluate.evaluate(train.train(late))
  # Another run starts from the encoder of its own kind.
  words = (*words, f"--init_from={tmp_path / 'model'}", "--modalities=blood")
  started = initial.encoder(
    Run(configure(records, tmp_path / "x", *words)), "blood"
  )
  for value, wanted in zip(
    *(jax.tree.leaves(x["encoder"]) for x in (started, stages.encoder("blood")))
  ):
    np.testing.assert_array_equal(value, wanted)


def test_the_released_order_is_of_mimic_s_modalities(built, tmp_path):
  with pytest.raises(ValueError, match="presence_order: .*, not of stains, "):
    configure(built[0], tmp_path / "run", "--as_released=all")
