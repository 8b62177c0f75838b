"""Damage to any file is told by name, or what was damaged is made anew."""

import hashlib
import json
import logging
import pathlib
import random
import shutil

import numpy as np
import pytest

import medpatch_jax
from data import resume, synthetic
from data.synthetic import twin
from experiments import evaluate, train
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.input import dataset
from medpatch_jax.train import loop, store
from medpatch_jax.train.log import logger
from medpatch_jax.train.parallel import Parallel
from tests import exported, small_run, tables_folder
from tests.test_kept import SETTINGS, cut, flip
from tests.test_train import problem


def empty(path):
  path.write_bytes(b"")


def zero(path):
  path.write_bytes(bytes(path.stat().st_size))


DAMAGES = (flip, cut, empty, zero, pathlib.Path.unlink)


@pytest.fixture
def said(caplog, monkeypatch):
  monkeypatch.setattr(logger, "propagate", True)
  caplog.set_level(logging.INFO, "medpatch_jax")
  return caplog


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
  "name", ["key.json", "checksums.json", "pool.npy", "half.bfloat16.npy"]
)
def test_a_damaged_store_is_not_read(tmp_path, said, damage, name):
  import ml_dtypes

  writer = store.Writer(tmp_path / "s", Parallel())
  writer.allocate("pool", (2, 3), np.float32)[...] = 1.5
  writer.allocate("half", (2,), ml_dtypes.bfloat16)[...] = 2
  writer.finish({"seed": 0})
  found = store.read(tmp_path / "s", {"seed": 0})
  assert found["pool"].sum() == 9 and found["half"].dtype == ml_dtypes.bfloat16
  damage(tmp_path / "s" / name)
  assert store.read(tmp_path / "s", {"seed": 0}) is None
  assert f"s/{name}: " in said.text and "made anew" in said.text


def read_all(root):
  data = dataset.Dataset(root, "mine")
  for split in dataset.SPLITS:
    source = data.source(split, (*data.modalities, "label"))
    for row in range(len(source)):
      source[row]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
  "name", ["metadata.json", "dataset_info.json", "features.json", "train"]
)
@pytest.mark.parametrize("sealed", [True, False])
def test_damaged_records_are_told(mine, tmp_path, damage, name, sealed):
  """With the checksums of the build, and those of an earlier version."""
  shutil.copytree(mine.root / "records", tmp_path / "records")
  folder = tmp_path / "records/mine/1.0.0"
  if name == "train":
    (path,) = folder.glob("*-train.array_record*")
  else:
    path = folder / name
  if not sealed:
    (folder / "checksums.json").unlink()
  if damage is flip and name == "train":
    text = bytearray(path.read_bytes())
    text[text.index(b"triage") if b"triage" in text else 80_000] ^= 1
    at = next(i for i in range(65_600, len(text)) if text[i])
    text[at] ^= 1
    path.write_bytes(text)
  else:
    damage(path)
  try:
    read_all(tmp_path / "records")
  except ValueError as error:
    line = str(error)
    assert str(folder) in line or "no built dataset" in line
    assert path.name in line or not sealed or "no built dataset" in line
    assert "build" in line
  else:
    assert damage is flip and not sealed, "damage was not told"


@pytest.mark.parametrize(
  ("place", "value", "said"),
  [
    (("label_names",), [], "label_names is empty"),
    (("modalities", 0), "x", "kinds.x is no series, image, text or embedding"),
    (("kinds", "triage"), "sound", "kinds.triage is no series"),
    (("kinds", "triage"), [], "kinds.triage is no series"),
    (("inputs",), -1, "inputs is a whole number, wanted a list"),
    (("inputs", 0), "x", "inputs names 'x', which is none"),
    (("hours",), "x", "hours is a text, wanted a number"),
    (("index", "test", "hours"), [], "index.test.hours holds no 1 numbers"),
    (("index", "test", "characters"), {}, "characters.nursing holds no 1"),
    (("index", "train", "characters", "triage"), [1], "characters.triage hol"),
    (("mean",), [1.0], "mean has 1 numbers, wanted 8"),
  ],
)
def test_metadata_edited_by_hand_are_told(mine, tmp_path, place, value, said):
  """Also where their checksums were made again."""
  folder = tmp_path / "records/mine/1.0.0"
  shutil.copytree(mine.root / "records/mine/1.0.0", folder)
  path = folder / "metadata.json"
  found = part = files.read_json(path, dict, "")
  for name in place[:-1]:
    part = part[name]
  part[place[-1]] = value
  files.write_json(path, found)
  files.seal(folder)
  with pytest.raises(files.Damaged, match=f"metadata.json: .*{said}.*build"):
    dataset.Dataset(tmp_path / "records", "mine")


@pytest.mark.parametrize(
  ("place", "value", "said"),
  [
    (("shapes", "max_windows"), 10**9, "max_windows is beyond all sense, wan"),
    (("shapes", "hour_buckets"), [0], "hour_buckets.0 is beyond all sense"),
    (("shapes", "image_size"), 10**6, "image_size is beyond all sense"),
    (("architecture", "width"), 10**9, "architecture.width is beyond"),
    (("architecture", "encoders", "cxr", "depth"), 10**9, "cxr.depth is bey"),
    (("architecture", "encoders", "cxr", "mlp"), 99, "does not fit params.sa"),
  ],
)
def test_sizes_edited_by_hand_take_no_memory(
  mine, tmp_path, place, value, said
):
  """Also where the folder's sums were made again."""
  folder = tmp_path / "model"
  shutil.copytree(mine.model, folder)
  path, sums = folder / "config.json", folder / "SHA256SUMS"
  before = hashlib.sha256(path.read_bytes()).hexdigest()
  config = part = json.loads(path.read_text())
  for name in place[:-1]:
    part = part[name]
  part[place[-1]] = value
  path.write_text(json.dumps(config))
  after = hashlib.sha256(path.read_bytes()).hexdigest()
  sums.write_text(sums.read_text().replace(before, after))
  with pytest.raises(ValueError, match=f"config.json: .*{said}.*export the"):
    medpatch_jax.load(folder).predict(
      {"cxr": tables_folder.film(10), "hours": 3}
    )


def test_a_damaged_vocabulary_is_trained_again(mine, tmp_path, said):
  stages = exported.stages(mine.root / "records", tmp_path / "run")
  ids = stages.run.tokeniser.windows("first of the ward", 16, 1)[0]
  for damage in DAMAGES:
    damage(tmp_path / "run/tokenizer/tokenizer.json")
    said.clear()
    again = Run(stages.config).tokeniser.windows("first of the ward", 16, 1)
    np.testing.assert_array_equal(again[0], ids)
    assert "tokenizer.json: " in said.text


@pytest.mark.parametrize("how", ["cut", "digit", "gone", "garbage"])
def test_lost_lines_of_a_stage_are_told(tmp_path, said, how):
  best, _ = loop.fit(problem(), SETTINGS, tmp_path, Parallel())
  path = tmp_path / "metrics.jsonl"
  text = path.read_text()
  changed = {
    "cut": text[: len(text) // 2],
    "digit": text.replace("0.", "1.", 1),
    "garbage": "\0" * len(text),
    "gone": "",
  }[how]
  said.clear()
  loop.fit(problem(), SETTINGS, tmp_path, Parallel())
  assert "metrics.jsonl" not in said.text
  path.write_text(changed)
  again, _ = loop.fit(problem(), SETTINGS, tmp_path, Parallel())
  assert "metrics.jsonl: its lines of the 3 epochs" in said.text
  np.testing.assert_array_equal(again["w"], best["w"])


class Killed(BaseException):
  """As SIGKILL: nothing is cleaned up."""


def test_a_build_killed_before_it_cleaned_up_is_given_again(
  tmp_path, monkeypatch
):
  folder = tables_folder.write(tmp_path / "tables")
  with monkeypatch.context() as patch:

    def killed(folder):
      raise Killed

    patch.setattr(resume, "_remove", killed)
    with pytest.raises(Killed):
      tables_folder.build(folder, tmp_path / "out")
  parent = tmp_path / "out/mine"
  assert len(list(parent.iterdir())) == 2
  before = (parent / "1.0.0/metadata.json").stat()
  tables_folder.build(folder, tmp_path / "out")
  assert [p.name for p in parent.iterdir()] == ["1.0.0"]
  assert (parent / "1.0.0/metadata.json").stat().st_ino == before.st_ino
  with pytest.raises(ValueError, match="already there; pass --overwrite"):
    tables_folder.build(folder, tmp_path / "out")


def test_a_damaged_part_of_a_stopped_build_is_made_anew(tmp_path):
  part, note = tmp_path / "events.parquet", tmp_path / "events.json"
  for damage in DAMAGES:
    part.write_bytes(bytes(range(256)))
    resume.note(note, {"rows": 3}, part)
    assert resume.noted(note, part) == {"rows": 3}
    damage(part)
    assert resume.noted(note, part) is None
    damage(note)
    assert resume.noted(note) is None


def test_a_twin_that_was_killed_leaves_nothing(tmp_path, monkeypatch):
  def killed(*_, **__):
    raise Killed

  def write():
    synthetic.write(tmp_path / "raw", subjects=4, density=0.02)

  with monkeypatch.context() as patch:
    patch.setattr(twin.shutil, "rmtree", lambda *_, **__: None)
    patch.setattr(twin.os, "rename", killed)
    with pytest.raises(Killed):
      write()
  assert [p.name for p in tmp_path.iterdir()] == [".raw.partial"]
  write()
  assert [p.name for p in tmp_path.iterdir()] == ["raw"]


def test_only_the_owner_reads_what_is_written(mine, tmp_path):
  tables_folder.build(mine.tables, tmp_path / "records")
  exported.stages(tmp_path / "records", tmp_path / "run").run.tokeniser  # noqa: B018
  loop.fit(problem(), SETTINGS, tmp_path / "run/fuse", Parallel())
  written = [*tmp_path.rglob("*"), mine.model, *mine.model.rglob("*")]
  names = {p.name for p in written}
  assert {"config.json", "params.safetensors", "done.json"} <= names
  assert {"report.txt", "metadata.json", "origin.json", ".lock"} <= names
  assert not [p for p in written if p.stat().st_mode & 0o077]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_damage_changes_a_number_in_silence(
  small_records, tmp_path_factory, tmp_path, seed, monkeypatch, said
):
  """Any file of records, workdir and shared folder, damaged in any way."""
  words = ("--modalities=ehr,rr", "--task=phenotyping")
  root = tmp_path_factory.mktemp("run")
  shutil.copytree(small_records / "phenotyping", root / "records/phenotyping")

  def configured(root):
    where = root / "records", root / "run"
    return small_run.configuration(*where, *words, f"--share={root}/share")

  monkeypatch.setattr(
    "medpatch_jax.train.lock.take", lambda _: open("/dev/null")
  )
  want = evaluate.evaluate(train.train(configured(root)))
  files = [p.relative_to(root) for p in root.rglob("*") if p.is_file()]
  unread = ("quality", "report", "tensorboard", ".lock", "LICENSE", "speeds")
  files = sorted(p for p in files if not any(u in str(p) for u in unread))
  rng = random.Random(seed)
  for number in range(10):
    copy = shutil.copytree(root, tmp_path / str(number))
    path = copy / rng.choice(files)
    rng.choice(DAMAGES)(path)
    said.clear()
    if path.parent.name != "run":
      for name in ("results.txt", "results.json", "predictions.npz"):
        (copy / "run" / name).unlink()
    try:
      stages = Stages(Run(configured(copy)))
      stages.check_complete()
      assert evaluate.evaluate(stages) == want
    except ValueError as error:
      line = str(error)
      assert str(copy) in line, (path, line)
    shutil.rmtree(copy)
