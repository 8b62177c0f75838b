"""A command of predictions that is refused, stopped or not alone."""

import contextlib
import json
import os
import shutil
import sys

import numpy as np
import pytest

import medpatch_jax
from medpatch_jax.predict import __main__ as command
from medpatch_jax.predict import out
from medpatch_jax.predict.model import Prediction
from tests import tables_folder


@pytest.fixture(scope="module")
def model(mine):
  return medpatch_jax.load(mine.model)


@pytest.fixture
def run(mine, model, monkeypatch, tmp_path):
  """(name of a file, tables) -> what the command returns."""
  monkeypatch.setattr(medpatch_jax, "load", lambda _: model)
  monkeypatch.setattr(command, "_predict", drawn)
  monkeypatch.setattr(command, "PART", 2)
  return lambda name, tables=None: command.run(
    mine.model, tables or mine.tables, tmp_path / name
  )


def drawn(model, source, lo, hi):
  """A prediction that tells the stay."""
  source.part(lo, hi)
  C = len(model.labels)
  return [
    Prediction(
      model.labels, np.full(C, i / 100), np.zeros((C, 2)), {}, {}, {}, ()
    )
    for i in range(lo, hi)
  ]


def killed_at(monkeypatch, name, number=1):
  """Leaves everything as it is at that call, as SIGKILL would."""
  calls, real = [], getattr(out.Parts, name)

  def stops(self, *rest):
    calls.append(rest)
    if len(calls) == number:
      self._lock.close()
      shutil.copytree(self.folder, copy := self.folder.with_name("kept"))
      raise Killed(self.folder, copy)
    return real(self, *rest)

  monkeypatch.setattr(out.Parts, name, stops)


class Killed(BaseException):
  """The process is gone; its folder is put back as it was."""


@contextlib.contextmanager
def killed(monkeypatch, name, number=1):
  with monkeypatch.context() as patch:
    killed_at(patch, name, number)
    with pytest.raises(Killed) as error:
      yield
  folder, copy = error.value.args
  shutil.rmtree(folder, ignore_errors=True)
  copy.rename(folder)


@pytest.mark.parametrize(
  ("name", "number"), [("has", 1), ("has", 2), ("finish", 1), ("__exit__", 1)]
)
def test_a_killed_command_is_given_again(
  run, tmp_path, monkeypatch, name, number
):
  run("whole.csv")
  with killed(monkeypatch, name, number):
    run("cut.csv")
  assert (tmp_path / "cut.csv.parts/work/tables.duckdb").exists()
  assert run("cut.csv") == (5, 0)
  assert sorted(os.listdir(tmp_path)) == ["cut.csv", "whole.csv"]
  assert (tmp_path / "cut.csv").read_bytes() == (
    tmp_path / "whole.csv"
  ).read_bytes()


def test_a_file_of_other_tables_is_not_taken_for_this_command_s(
  run, mine, tmp_path, monkeypatch
):
  with killed(monkeypatch, "__exit__"):
    run("x.csv")
  other = shutil.copytree(mine.tables, tmp_path / "other")
  os.utime(other / "stays.csv", (1, 1))
  with pytest.raises(ValueError, match="is there already"):
    run("x.csv", other)
  assert not (tmp_path / "x.csv.parts").exists()


@pytest.mark.parametrize("file", ["key.json", "00000000.jsonl", "work"])
@pytest.mark.parametrize("damage", [b"", b"\0\0\xff", None])
def test_damaged_parts_are_made_anew(run, tmp_path, monkeypatch, file, damage):
  run("whole.csv")
  with killed(monkeypatch, "has", 2):
    run("cut.csv")
  path = tmp_path / "cut.csv.parts" / file
  if path.is_dir():
    path = path / "tables.duckdb"
  text = path.read_bytes()
  path.write_bytes(text.replace(b"0.0", b"0.9") if damage is None else damage)
  run("cut.csv")
  assert (tmp_path / "cut.csv").read_bytes() == (
    tmp_path / "whole.csv"
  ).read_bytes()


def test_bad_input_leaves_nothing(run, tmp_path):
  tables = tables_folder.rows()
  tables["notes"][0]["hour"] = "soon"
  folder = tables_folder.write(tmp_path / "tables", tables)
  with pytest.raises(ValueError, match="column hour"):
    run("x.csv", folder)
  assert os.listdir(tmp_path) == ["tables"]


def test_what_is_stopped_keeps_no_note(run, tmp_path, monkeypatch):
  def stops(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(command, "_predict", stops)
  with pytest.raises(KeyboardInterrupt):
    run("x.csv")
  left = [p.name for p in (tmp_path / "x.csv.parts").rglob("*")]
  assert sorted(left) == ["key.json", "lock"]


def test_two_to_one_file(run, tmp_path, monkeypatch):
  def second(*arguments):
    with pytest.raises(ValueError, match="x.csv: another process is writing"):
      run("x.csv")
    return drawn(*arguments)

  monkeypatch.setattr(command, "_predict", second)
  assert run("x.csv") == (5, 0)
  assert os.listdir(tmp_path) == ["x.csv"]


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (OSError(28, "No space left on device"), "key.json: the disk is full"),
    (OSError(30, "Read-only file system", "F"), "F: Read-only file system"),
  ],
)
def test_a_disk_that_cannot_be_written(
  run, mine, tmp_path, monkeypatch, capsys, error, said
):
  def fails(*_):
    raise error

  monkeypatch.setattr(os, "fsync", fails)
  words = (
    f"--model={mine.model} --tables={mine.tables} --out={tmp_path}/x.jsonl"
  )
  monkeypatch.setattr(sys, "argv", ["predict", *words.split()])
  with pytest.raises(SystemExit) as ended:
    command.main()
  assert ended.value.code == 2
  line = capsys.readouterr().err.splitlines()[-1]
  assert line.startswith("error: ") and said in line
  assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("file/x.csv", "cannot be created or written"),
    ("x.txt", "wanted a name in .csv"),
    ("", "is a folder"),
  ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_read(
  tmp_path, monkeypatch, name, said
):
  (tmp_path / "file").write_text("")
  monkeypatch.setattr("medpatch_jax.load", lambda folder: 1 / 0)
  with pytest.raises(ValueError, match=said):
    command.run("MODEL", "TABLES", tmp_path / name)
  assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_the_owner_reads(run, tmp_path, monkeypatch):
  with killed(monkeypatch, "__exit__"):
    run("x.jsonl")
  json.loads((tmp_path / "x.jsonl").read_text().split("\n")[0])
  for path in [tmp_path / "x.jsonl", *(tmp_path / "x.jsonl.parts").rglob("*")]:
    assert path.stat().st_mode & 0o077 == 0, path
