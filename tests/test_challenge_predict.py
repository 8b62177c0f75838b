"""Set c's probabilities: every stay, the mean of all models, whole."""

import copy
import csv
import dataclasses
import json
import pathlib

import numpy as np
import pytest
from absl import flags as absl_flags

from data.challenge2012 import read, tables
from experiments import challenge2012, flags
from experiments.real import apart, members, trees
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


def logits(stay, kind, seed):
  return (stay % 7 - 3.0) * (1 + (kind == "lstm")) + seed


@pytest.fixture
def told(parsed, tmp_path, monkeypatch):
  """A small Challenge whose models know a stay by its number.

  Set c's outcomes are there, too, and one of its stays has no value at all.

  Returns:
    (flags, charts, RUN, the models asked: list of (kind, seed, run or None)).
  """
  sets = challenge_files.charts()
  sets["c"][699] = NOTHING
  challenge_files.write(tmp_path / "in", sets, known="abc")
  charts, asked = read.read(tmp_path / "in"), []

  def encoder(stages):
    kind, seed = stages.config.ehr, stages.config.settings.seed
    asked.append((kind, seed, stages.run))
    return logits(np.array(apart.ids(stages.run)), kind, seed)

  def forest(X, y, apply, seed, settings):
    asked.append(("trees", seed, None))
    assert len(X) == len(y) == 121 and not np.isnan(y).any()
    return logits(charts.record[charts.letter == "c"], "trees", seed)

  monkeypatch.setattr(members, "encoder", encoder)
  monkeypatch.setattr(trees, "logits", forest)
  f = parsed(
    f"--challenge={tmp_path}/in",
    f"--workdir={tmp_path}/run",
    f"--predict={tmp_path}/c.csv",
    "--encoders=lstm,additive,trees",
    "--seeds=2",
    "--seed=3",
  )
  return f, charts, tmp_path / "run", asked


def test_each_stay_of_set_c_gets_the_mean_of_all_models(told):
  f, charts, root, asked = told
  # What a build that was killed leaves is no dataset.
  (root / "records/apart/.part-0").mkdir(parents=True)
  challenge2012.predict(f, charts)
  with open(f.predict, newline="") as file:
    rows = list(csv.DictReader(file))
  wanted = [*range(601, 661), 699]
  assert list(rows[0]) == ["RecordID", "probability"]
  assert [int(r["RecordID"]) for r in rows] == wanted
  every = [
    (kind, seed) for kind in ("lstm", "additive", "trees") for seed in (3, 4)
  ]
  each = [1 / (1 + np.exp(-logits(np.array(wanted), *of))) for of in every]
  # Nothing is known of the last: encoders say the share of deaths.
  learn = charts.death[charts.letter != "c"]
  for said in each[:4]:
    said[-1] = learn.mean()
  found = [float(r["probability"]) for r in rows]
  np.testing.assert_allclose(found, np.mean(each, axis=0), atol=5e-7)
  assert [a[:2] for a in asked] == every
  data = asked[0][2].data  # None is held out, and no outcome of set c known.
  assert [data.size(s) for s in dataset.SPLITS] == [121, 0, 60]
  assert np.isnan(data.labels_of("test")).all()
  given = json.loads((root / "apart/lstm/seed_0/config.json").read_text())
  assert given["epochs"] == ["9"]


def test_a_stopped_prediction_goes_on_and_leaves_no_half_file(
  told, monkeypatch
):
  f, charts, root, asked = told
  told_by = trees.logits

  def killed(*given):
    if len(asked) == 5:
      raise KeyboardInterrupt
    return told_by(*given)

  monkeypatch.setattr(trees, "logits", killed)
  with pytest.raises(KeyboardInterrupt):
    challenge2012.predict(f, charts)
  assert not list(root.parent.glob("c.csv*"))
  monkeypatch.setattr(trees, "logits", told_by)
  monkeypatch.setattr(apart.build, "build", None)  # Its records are read back.
  challenge2012.predict(f, charts)
  # The first forest was kept.
  assert [a[:2] for a in asked if a[0] == "trees"] == [
    ("trees", 3),
    ("trees", 4),
  ]
  written = pathlib.Path(f.predict)
  first = written.read_text()
  assert len(first.splitlines()) == 62
  monkeypatch.setattr(apart.files.os, "replace", None)
  with pytest.raises(TypeError):
    challenge2012.predict(f, charts)
  assert written.read_text() == first
  assert [p.name for p in root.parent.glob("c.csv*")] == ["c.csv"]


def test_records_of_other_values_are_not_taken(told):
  f, charts, root, asked = told
  challenge2012.predict(f, charts)
  value = np.where(charts.value == 90, 95, charts.value)
  charts = dataclasses.replace(charts, value=value)
  with pytest.raises(ValueError, match="run/apart/lstm/seed_0.*fingerprint"):
    challenge2012.predict(f, charts)
  f.encoders = ["trees"]  # Of these it costs little to grow them anew.
  challenge2012.predict(f, charts)
  assert [a[0] for a in asked[-2:]] == ["trees"] * 2


@pytest.mark.parametrize(
  ("sets", "wanted"),
  [
    ("ab", "every stay is known.*put set-c there"),
    ("c", "are 0 stays with an outcome"),
    ("living", "are 121 stays with an outcome, 0 of them deaths"),
  ],
)
def test_nothing_to_predict_or_learn_from_is_refused(told, sets, wanted):
  f, charts, root, _ = told
  if sets == "living":
    charts = dataclasses.replace(charts, death=charts.death * 0)
  else:  # Without the others.
    some = np.isin(charts.letter, list(sets))
    death = np.where(some, charts.death, np.nan)
    charts = read.known(dataclasses.replace(charts, death=death))
  with pytest.raises(ValueError, match=wanted) as caught:
    challenge2012.predict(f, charts)
  assert "\n" not in str(caught.value) and not root.exists()


@pytest.mark.parametrize(
  ("predict", "workdir", "wanted"),
  [
    (".", "run", "--predict=.*is a folder, wanted a file"),
    ("c.csv", "file", "--workdir=.*is a file, wanted a folder"),
  ],
)
def test_what_cannot_be_written_is_refused_first(
  parsed, tmp_path, monkeypatch, predict, workdir, wanted
):
  (tmp_path / "file").touch()
  f = parsed(
    "--challenge=in",
    f"--workdir={tmp_path / workdir}",
    f"--predict={tmp_path / predict}",
  )
  monkeypatch.setattr(challenge2012.flags, "FLAGS", f)
  with pytest.raises(ValueError, match=wanted):
    challenge2012.main(None)


def test_time_left_counts_what_is_not_trained_yet(parsed, tmp_path):
  f = parsed("--challenge=in", f"--workdir={tmp_path}", "--encoders=lstm,trees")
  f.seeds = 2
  part = members.Part(f, None, None, "apart")
  done = {
    (kind, seed): part.place(kind, seed)
    / ("unimodal/ehr/done.json" if kind == "lstm" else "")
    for kind, seed in members.models(f)
  }
  for path in done.values():
    path.parent.mkdir(parents=True, exist_ok=True)
  done["lstm", 0].touch()
  said = []

  class Progress:
    at = staticmethod(said.append)

  count = members.Count([part], Progress)
  for path in done.values():
    path.touch()
    count.show()
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
