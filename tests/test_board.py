"""What TensorBoard and Weights & Biases get of an experiment."""

import dataclasses
import json
import struct
import sys
import types

import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto import event_pb2

from experiments import evaluate, train
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.train import board, loop
from medpatch_jax.train.parallel import Parallel
from tests import small_run
from tests.test_train import SETTINGS, problem


def scalars(folder) -> dict:
  """Name -> values of the event files in a folder."""
  found = {}
  for path in sorted(folder.glob("events*")):
    data, at = path.read_bytes(), 0
    while at < len(data):
      (size,) = struct.unpack_from("<Q", data, at)
      event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
      at += 16 + size
      for value in event.summary.value:
        found.setdefault(value.tag, []).append(value.simple_value)
  return found


class Fake:
  """The package wandb, as far as it is used: remembers its runs by id."""

  def __init__(self):
    self.runs, self.opened = {}, []
    self.__spec__ = types.SimpleNamespace()

  def Settings(self, **how):
    return how

  def init(self, *, id, **how):
    self.opened.append(how)
    new = types.SimpleNamespace(
      logged=[], summary={}, ended=[], config={}, steps=set()
    )
    run = self.runs.setdefault(id, new)
    run.config |= how.get("config", {})
    run.log = run.logged.append
    run.define_metric = lambda name, step_metric: run.steps.add(name)
    run.finish = lambda exit_code=0: run.ended.append(exit_code)
    return run


@pytest.fixture
def wandb(monkeypatch):
  fake = Fake()
  monkeypatch.setitem(sys.modules, "wandb", fake)
  return fake


def test_an_experiment_is_one_run_with_configuration_and_test_numbers(
  small_records, tmp_path, wandb, monkeypatch
):
  config = small_run.configuration(
    small_records,
    tmp_path / "run",
    "--task=phenotyping",
    "--modalities=ehr",
    "--wandb=mine",
  )

  def until(self, last):
    for name in ("unimodal/ehr", "fuse"):
      stage = dataclasses.replace(problem(), name=name)
      loop.fit(stage, SETTINGS, self.workdir / name, Parallel(), self.board)

  monkeypatch.setattr(Stages, "until", until)
  run_ = train.train(config).run
  rng = np.random.default_rng(0)
  shape = len(run_.rows("test")), len(run_.labels)
  outputs = {h: rng.normal(size=shape) for h in ("late", "unimodal/ehr")}
  evaluate.write(run_, outputs, "late", "MedPatch")
  (run,) = wandb.runs.values()
  assert {how["project"] for how in wandb.opened} == {"mine"}
  assert run.config["task"] == "phenotyping" and run.config["seed"] == 0
  assert run.ended == [0, 0]
  names = set().union(*run.logged)
  assert {"unimodal/ehr/loss", "unimodal/ehr/step", "fuse/loss"} <= names
  assert run.steps == {"unimodal/ehr/*", "fuse/*"}
  result = json.loads((tmp_path / "run/results.json").read_text())
  want = result["model"]["auroc"]["value"]
  assert run.summary["test/auroc"] == want
  assert "test/ehr/auprc" in run.summary
  found = scalars(tmp_path / "run/tensorboard")
  assert found["test/auroc"] == [pytest.approx(want)]
  found = scalars(tmp_path / "run/fuse/tensorboard")
  assert len(found["train_loss"]) == len(found["loss"]) == SETTINGS.epochs


def test_a_failed_run_is_marked_so_and_a_lost_network_loses_no_result(
  tmp_path, wandb, caplog
):
  with pytest.raises(KeyboardInterrupt):
    with board.experiment("mine", tmp_path, {}):
      raise KeyboardInterrupt
  with board.experiment("mine", tmp_path, {}):  # The same run goes on.
    pass
  (run,) = wandb.runs.values()
  assert run.ended == [1, 0]
  wandb.init = lambda **how: 1 / 0
  board.test(tmp_path, {"test/auroc": 0.5}, tmp_path)
  assert "got no test numbers" in caplog.text
  assert scalars(tmp_path / "tensorboard") == {"test/auroc": [0.5]}


def test_without_a_project_nothing_is_sent(tmp_path, wandb):
  with board.experiment(None, tmp_path, {}) as sent:
    assert sent is None
  board.test(tmp_path, {"test/auroc": 0.5}, tmp_path)
  assert not wandb.runs and not (tmp_path / board.NAME).exists()


def test_a_full_disk_is_told_and_waited_for_by_nobody(tmp_path, monkeypatch):
  """tensorboardX's own writer ends its thread, and the program never."""
  with open("/dev/full", "wb", 0) as full:
    monkeypatch.setattr(record_writer, "open_file", lambda path: full)
    with pytest.raises(files.DiskFull, match="tensorboard: the disk is full"):
      loop.fit(problem(), SETTINGS, tmp_path, Parallel())
