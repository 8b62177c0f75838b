"""Set c's probabilities: every stay, the mean of all encoders, whole."""

import copy
import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest
from absl import flags as absl_flags

from data.challenge2012 import read, tables
from experiments import apart, challenge2012, flags
from medpatch_jax.input import dataset
from tests import challenge_files

NOTHING = challenge_files.record(699, age=-1, gender=-1, icu=-1)


@pytest.fixture(scope="module")
def parsed():
  """(*flags) -> the flags of the command."""
  if "workdir" not in absl_flags.FLAGS:
    flags.define()

  def made(*words):
    values = copy.deepcopy(absl_flags.FLAGS)
    challenge2012.define(values)
    values(["challenge2012", *map(str, words)])
    challenge2012.check(values)
    return values

  return made


@pytest.fixture
def told(parsed, tmp_path, monkeypatch):
  """A small Challenge whose encoders know a stay by its number.

  Set c's outcomes are there, too, and one of its stays has no value at all.

  Returns:
    (flags, charts, RUN, the encoders asked: list of (kind, seed, run)).
  """
  sets = challenge_files.charts()
  sets["c"][699] = NOTHING
  challenge_files.write(tmp_path / "in", sets, known="abc")
  asked = []

  def encoder(stages):
    kind, seed = stages.config.ehr, stages.config.settings.seed
    asked.append((kind, seed, stages.run))
    return logits(np.array(apart.ids(stages.run)), kind, seed)

  monkeypatch.setattr(challenge2012, "encoder", encoder)
  f = parsed(
    f"--challenge={tmp_path}/in",
    f"--workdir={tmp_path}/run",
    f"--predict={tmp_path}/c.csv",
    "--seeds=2",
    "--seed=3",
  )
  return f, read.read(tmp_path / "in"), tmp_path / "run", asked


def logits(stay, kind, seed):
  return (stay % 7 - 3.0) * (1 + (kind == "lstm")) + seed


def test_each_stay_of_set_c_gets_the_mean_of_all_encoders(told):
  f, charts, root, asked = told
  # What a build that was killed leaves is no dataset.
  (root / "records/apart/.part-0").mkdir(parents=True)
  challenge2012.predict(f, charts, root)
  with open(f.predict, newline="") as file:
    rows = list(csv.DictReader(file))
  wanted = [*range(601, 661), 699]
  assert list(rows[0]) == ["RecordID", "probability"]
  assert [int(r["RecordID"]) for r in rows] == wanted
  stay = np.array(wanted[:-1])
  each = [
    1 / (1 + np.exp(-logits(stay, kind, seed)))
    for kind in ("lstm", "additive")
    for seed in (3, 4)
  ]
  found = [float(r["probability"]) for r in rows]
  np.testing.assert_allclose(found[:-1], np.mean(each, axis=0), atol=5e-7)
  # Nothing is known of the last: as many died of those that are learned from.
  learn = charts.death[charts.letter != "c"]
  assert found[-1] == pytest.approx(learn.mean(), abs=5e-7)
  assert [a[:2] for a in asked] == [
    ("lstm", 3),
    ("lstm", 4),
    ("additive", 3),
    ("additive", 4),
  ]
  data = asked[0][2].data  # None is held out, and no outcome of set c known.
  assert [data.size(s) for s in dataset.SPLITS] == [121, 0, 60]
  assert np.isnan(data.labels_of("test")).all()
  assert json.loads((root / "apart/lstm/seed_0/config.json").read_text())[
    "epochs"
  ] == ["9"]


def test_a_stopped_prediction_goes_on_and_leaves_no_half_file(
  told, monkeypatch
):
  f, charts, root, asked = told
  told_by = challenge2012.encoder

  def killed(stages):
    if len(asked) == 3:
      raise KeyboardInterrupt
    return told_by(stages)

  monkeypatch.setattr(challenge2012, "encoder", killed)
  with pytest.raises(KeyboardInterrupt):
    challenge2012.predict(f, charts, root)
  assert not list(root.parent.glob("c.csv*"))
  monkeypatch.setattr(challenge2012, "encoder", told_by)
  monkeypatch.setattr(apart.build, "build", None)  # Its records are read back.
  challenge2012.predict(f, charts, root)
  written = pathlib.Path(f.predict)
  first = written.read_text()
  assert len(first.splitlines()) == 62
  monkeypatch.setattr(apart.files.os, "replace", None)
  with pytest.raises(TypeError):
    challenge2012.predict(f, charts, root)
  assert written.read_text() == first
  assert [p.name for p in root.parent.glob("c.csv*")] == ["c.csv"]


def test_records_of_other_values_are_not_taken(told):
  f, charts, root, _ = told
  challenge2012.predict(f, charts, root)
  value = np.where(charts.value == 90, 95, charts.value)
  charts = dataclasses.replace(charts, value=value)
  with pytest.raises(ValueError, match="run/apart/lstm/seed_0.*fingerprint"):
    challenge2012.predict(f, charts, root)


@pytest.mark.parametrize(
  ("sets", "wanted"),
  [
    ("ab", "every stay is known.*put set-c there"),
    ("c", "hold 0 stays with an outcome"),
    ("living", "hold 121 stays with an outcome, 0 of them deaths"),
  ],
)
def test_nothing_to_predict_or_learn_from_is_refused(told, sets, wanted):
  f, charts, root, _ = told
  if sets == "living":
    charts = dataclasses.replace(charts, death=charts.death * 0)
  else:  # Without the others' outcomes.
    some = np.isin(charts.letter, list(sets))
    death = np.where(some, charts.death, np.nan)
    charts = dataclasses.replace(charts, death=death)
    charts = read.known(charts)
  with pytest.raises(ValueError, match=wanted) as caught:
    challenge2012.predict(f, charts, root)
  assert "\n" not in str(caught.value) and not root.exists()


def test_a_file_that_cannot_be_written_is_refused_first(parsed, tmp_path):
  with pytest.raises(ValueError, match="--predict=.*is a folder"):
    parsed("--challenge=in", "--workdir=run", f"--predict={tmp_path}")


def test_time_left_counts_what_is_not_trained_yet(parsed, tmp_path):
  f = parsed("--challenge=in", f"--workdir={tmp_path}", "--seeds=2")
  done = {}
  for kind in f.encoders:
    for seed in range(2):
      path = challenge2012.folder_of(tmp_path, "apart", kind, seed)
      done[kind, seed] = path / "unimodal/ehr/done.json"
      done[kind, seed].parent.mkdir(parents=True)
  done["lstm", 0].touch()
  said = []

  class Progress:
    at = staticmethod(said.append)

  show = challenge2012.counted(f, ["apart"], tmp_path, Progress)
  for path in done.values():
    path.touch()
    show()
  assert said == [0, 1 / 3, 2 / 3, 1]


def test_what_build_calls_test_is_set_apart(tmp_path):
  charts = read.read(challenge_files.write(tmp_path))
  late = tables.apart(charts)
  assert (tables.split(charts)[late] == "test").all()
  assert late.sum() == 60


@pytest.mark.slow
def test_predictions_as_a_command(repository, tmp_path):
  from tests.test_commands import command

  challenge_files.write(tmp_path / "in")
  words = (
    "experiments.challenge2012",
    f"--challenge={tmp_path}/in",
    f"--workdir={tmp_path}/run",
    f"--predict={tmp_path}/c.csv",
    *("--seeds=1", "--epochs=1", "--batch_size=32"),
  )
  done = command(repository, *words)
  assert done.returncode == 0, done.stderr[-2000:]
  text = (tmp_path / "c.csv").read_text()
  assert len(text.splitlines()) == 61
  assert len({line.split(",")[1] for line in text.splitlines()}) > 10
  (tmp_path / "c.csv").unlink()
  done = command(repository, *words)
  assert done.stderr.count("complete, read back") == 2
  assert (tmp_path / "c.csv").read_text() == text
