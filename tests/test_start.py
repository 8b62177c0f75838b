"""What is refused leaves nothing behind; what can be known is known at once."""

import json
import logging
import os
import pathlib
import shutil
import signal
import types

import numpy as np
import pytest
from absl import flags as absl_flags

from data import errors
from data.mimic import extract
from experiments import ablate, train
from experiments.tables import sweeps
from medpatch_jax import files
from medpatch_jax.train import workdir
from medpatch_jax.train.log import logger
from tests import mimic_raw, small_run


@pytest.fixture(scope="session")
def blind(small_records, tmp_path_factory):
  """The small twin's records, as a build without --mimic_cxr leaves them."""
  root = tmp_path_factory.mktemp("blind")
  source = next(small_records.glob("*/*/metadata.json")).parent
  folder = root / source.relative_to(small_records)
  shutil.copytree(source, folder)
  metadata = json.loads((folder / "metadata.json").read_text())
  bit = 1 << metadata.get("modalities", ["ehr", "cxr"]).index("cxr")
  for index in metadata["index"].values():
    index["present"] = [bits & ~bit for bits in index["present"]]
  (folder / "metadata.json").write_text(json.dumps(metadata))
  files.seal(folder)
  return root


def tree(folder):
  return {str(p) for p in pathlib.Path(folder).rglob("*")}


def test_a_modality_of_no_train_stay_is_left_out_and_said(
  blind, tmp_path, caplog, monkeypatch
):
  monkeypatch.setattr(logger, "propagate", True)
  with caplog.at_level(logging.INFO, "medpatch_jax"):
    config = small_run.configuration(blind, tmp_path)
  assert config.modalities == ("ehr", "rr", "dn")
  assert "has cxr: left out (built with --mimic_cxr=DIR)" in caplog.text
  assert config.given["modalities"] is None


def test_a_modality_of_no_train_stay_is_refused_when_named(blind, tmp_path):
  with pytest.raises(ValueError, match="has cxr; .*--mimic_cxr=DIR"):
    small_run.configuration(blind, tmp_path, "--modalities=ehr,cxr")


@pytest.fixture
def not_a_vit(tmp_path):
  path = tmp_path / "vit.safetensors"
  from safetensors.numpy import save_file

  save_file({"pos_embed": np.zeros((1, 5, 8), np.float32)}, path)
  return path


def test_a_refused_run_leaves_the_folder_as_it_was(small, tmp_path, not_a_vit):
  for existing in (False, True):
    config = small("run/deep", f"--vit={not_a_vit}")
    if existing:
      config.workdir.mkdir(parents=True)
      (config.workdir / "mine.txt").write_text("kept")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="vit.safetensors.*--preset"):
      train.train(config)
    assert tree(tmp_path) == before


def test_a_run_refused_on_its_way_leaves_nothing(small, tmp_path, monkeypatch):
  """Even where it had the workdir already, and a tokeniser in it."""
  from experiments.training.stages import Stages

  def refuse(self, m):
    raise ValueError("no")

  monkeypatch.setattr(Stages, "encoder", refuse)
  before = tree(tmp_path)
  with pytest.raises(ValueError, match="no"):
    train.train(small("run", "--modalities=rr"))
  assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["workdir", "share"])
def test_a_place_that_cannot_be_written_is_found_at_the_start(
  small, tmp_path, name
):
  (tmp_path / "file").write_text("")
  place = tmp_path / "file" / "below"
  words = [] if name == "workdir" else [f"--{name}={place}"]
  config = small("file/below" if name == "workdir" else "run", *words)
  with pytest.raises(ValueError, match=f"--{name}: .* cannot be created"):
    train.train(config)
  assert not (tmp_path / "run").exists()


def test_a_sweep_is_refused_before_its_first_run(
  small_records, tmp_path, not_a_vit
):
  """The row that reads films is the last: nothing is trained before it."""
  small_run.configuration(small_records, tmp_path)  # Defines the flags.
  values = absl_flags.FLAGS
  values(["ablate", f"--data_dir={small_records}", *small_run.SMALL])
  rows = (
    sweeps.Row("first", ("--modalities=ehr",)),
    sweeps.Row("films", ("--modalities=cxr", f"--vit={not_a_vit}")),
  )
  with pytest.raises(ValueError, match="row 'films' of the sweep: .*vit.saf"):
    ablate.run(rows, values, tmp_path / "sweep", 1)
  assert not (tmp_path / "sweep").exists()


def test_a_folder_without_results_takes_another_configuration(tmp_path):
  workdir.claim(tmp_path, {"seed": 0})
  (tmp_path / "tokenizer").mkdir()
  (tmp_path / "mine.txt").write_text("kept")
  (tmp_path / "unimodal/ehr/latest").mkdir(parents=True)
  workdir.claim(tmp_path, {"seed": 1})
  assert files.read_json(tmp_path / "config.json", dict, "") == {"seed": 1}
  assert {p.name for p in tmp_path.iterdir()} == {"config.json", "mine.txt"}


@pytest.mark.parametrize(
  "result", ["unimodal/ehr/latest/7/x", "pools/ehr-test/key.json"]
)
def test_a_folder_with_results_does_not(tmp_path, result):
  workdir.claim(tmp_path, {"seed": 0})
  files.write_text(tmp_path / result, "{}")
  with pytest.raises(ValueError, match="seed: 0 -> 1"):
    workdir.claim(tmp_path, {"seed": 1})
  assert (tmp_path / result).exists()


def test_a_config_of_another_kind_is_never_taken(tmp_path):
  """An exported folder has a config.json, too, and a tokenizer."""
  files.write_json(tmp_path / "config.json", {"format": 1})
  (tmp_path / "tokenizer").mkdir()
  with pytest.raises(ValueError, match="another configuration"):
    workdir.claim(tmp_path, {"seed": 0})
  assert (tmp_path / "tokenizer").exists()


def test_room_on_the_disk_is_looked_for_before_the_first_stage(
  small, tmp_path, monkeypatch
):
  from experiments.training import start

  small_disk = lambda path: type("Usage", (), {"free": 1000})()  # noqa: E731
  monkeypatch.setattr(start.shutil, "disk_usage", small_disk)
  config = small("run", "--modalities=ehr")
  with pytest.raises(ValueError, match="are needed.*1 kB are free; .*cache_gb"):
    train.train(config)
  assert not config.workdir.exists()


def test_ctrl_c_is_one_line_and_130_and_a_second_one_kills(monkeypatch, capsys):
  ended, before = [], signal.getsignal(signal.SIGINT)
  monkeypatch.setattr(os, "_exit", ended.append)

  def main(argv):
    try:
      signal.raise_signal(signal.SIGINT)
    finally:  # What the second one does: what the system does.
      after.append(signal.getsignal(signal.SIGINT))

  after = []
  monkeypatch.setattr("absl.app.run", lambda main, **_: main(["command"]))
  try:
    errors.run(main)
  finally:
    signal.signal(signal.SIGINT, before)
  assert ended == [130] and after == [signal.SIG_DFL]
  assert capsys.readouterr().err.splitlines() == [
    "stopped by Ctrl-C; the same command goes on from here"
  ]


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_names_the_commands_own_flags(small, monkeypatch, capsys, word):
  small("run")  # Defines them.
  seen = {}
  monkeypatch.setattr("absl.app.run", lambda main, **how: seen.update(how))
  errors.run(lambda argv: None)
  with pytest.raises(SystemExit) as ended:
    seen["flags_parser"](["train", word])
  assert ended.value.code == 0
  shown = capsys.readouterr().out
  assert "  --threshold\n" in shown and "  --seed=0\n" in shown
  assert "verbosity" not in shown  # absl's own.


@pytest.mark.parametrize(
  ("flag", "name", "fetched"),
  [
    ("bert", "emilyalsentzer/Bio_ClinicalBERT", None),
    ("bert", "bert-base-uncased", None),
    ("vit", "vit_small_patch16_384", "timm/vit_small_patch16_384"),
    ("init_from", "timm/vit_small_patch16_384.augreg", None),
  ],
)
def test_a_name_of_the_hub_is_told_how_to_download(small, flag, name, fetched):
  with pytest.raises(
    ValueError, match=f"hf download {fetched or name} --local"
  ):
    small("run", f"--{flag}={name}")


@pytest.mark.parametrize("given", ["mimiciv/hosp", "."])
def test_a_folder_too_deep_or_too_high_is_told_the_right_one(tmp_path, given):
  root = mimic_raw.write(tmp_path) / "mimiciv"
  with pytest.raises(ValueError, match=f"It is in {root}: pass"):
    extract.inputs("phenotyping", (tmp_path / given, None, None))


def test_the_next_command_is_told_with_the_share_it_needs(small, monkeypatch):
  """Without it the stages would not be found."""
  said = []
  words = ("--modalities=ehr", "--share=shared/stages")
  for given, end in ((words, " --share=shared/stages"), (words[:1], "")):
    config = small("run", *given)
    monkeypatch.setattr(train.Config, "from_flags", lambda _, c=config: c)
    monkeypatch.setattr(train.experiment_flags, "connect", lambda: None)
    monkeypatch.setattr(train, "train", lambda *_: None)
    parsed = types.SimpleNamespace(FLAGS=types.SimpleNamespace(stage="all"))
    monkeypatch.setattr(train, "flags", parsed)
    monkeypatch.setattr(logger, "info", lambda form, *a: said.append(form % a))
    train.main(["train"])
    monkeypatch.undo()
    command = f"python -m experiments.evaluate --workdir={config.workdir}{end}"
    assert said.pop() == f"trained; next: {command}" and not said
