"""Files are whole, their owner's alone, and damage is told."""

import json
import os
import sys

import numpy as np
import pytest

from data import errors
from data.challenge2012 import read
from medpatch_jax import files
from medpatch_jax.evaluate import predictions, report
from medpatch_jax.input import images
from tests.test_kept import cut, flip


def test_json_that_was_changed_is_told(tmp_path):
  path = tmp_path / "a.json"
  files.write_json(path, {"x": 0.1, "y": [1, None]})
  assert files.read_json(path, {"x": float}, "") == {"x": 0.1, "y": [1, None]}
  path.write_text(path.read_text().replace("0.1", "0.2"))
  with pytest.raises(files.Damaged, match="a.json: its checksum.*; mend it"):
    files.read_json(path, dict, "mend it")


@pytest.mark.parametrize(
  ("value", "kind", "said"),
  [
    ([], {"a": int}, "is damaged: it is a list, wanted an object"),
    ({}, {"a": int}, "a is absent or null, wanted a whole number"),
    ({"a": True}, {"a": int}, "a is true or false, wanted a whole number"),
    ({"a": {"b": "1"}}, {"a": {"b": float}}, "a.b is a text, wanted a number"),
    ({"a": [1, "2"]}, {"a": [int]}, r"a\[1\] is a text, wanted a whole"),
    ({"a": 1.5}, {"a": (int, None)}, "wanted a whole number or absent"),
    ({"a": [1]}, {"a": ([str], None)}, r"a\[0\] is a whole number, wanted a t"),
  ],
)
def test_a_field_of_another_kind_is_named(tmp_path, value, kind, said):
  (tmp_path / "a.json").write_text(json.dumps(value))
  with pytest.raises(files.Damaged, match=said):
    files.read_json(tmp_path / "a.json", kind, "mend it.")


@pytest.mark.parametrize("damage", [cut, flip, os.unlink])
def test_a_sealed_folder_misses_what_is_not_as_it_was(tmp_path, damage):
  (tmp_path / "a").write_bytes(bytes(range(256)))
  files.seal(tmp_path)
  (tmp_path / "other").write_text("not listed")
  assert files.sealed(tmp_path, "") == ["a"]
  damage(tmp_path / "a")
  with pytest.raises(files.Damaged, match="/a: .*; mend it"):
    files.sealed(tmp_path, "mend it")


def test_a_file_appears_whole_for_its_owner_or_not_at_all(tmp_path):
  with pytest.raises(files.DiskFull, match="/x: the disk is full"):
    with files.whole(tmp_path / "x") as part:
      part.write_text("half")
      raise OSError(28, "No space left on device")
  assert not list(tmp_path.iterdir())
  before = os.umask(0o022)
  try:
    files.write_text(tmp_path / "new/x", "text")
  finally:
    os.umask(before)
  assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
  assert (tmp_path / "new/x").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (OSError(28, "No space left on device"), "a file: the disk is full"),
    (
      PermissionError(13, "Permission denied", "F"),
      "F: Permission denied; see",
    ),
    (
      OSError(30, "Read-only file system", "F"),
      "F: Read-only file system; see",
    ),
    (files.Damaged("F: is damaged"), "F: is damaged"),
  ],
)
def test_a_command_ends_in_one_line(monkeypatch, capsys, error, said):
  def main(argv):
    raise error

  monkeypatch.setattr(sys, "argv", ["command"])
  with pytest.raises(SystemExit) as ended:
    errors.run(main)
  assert ended.value.code == 2
  found = capsys.readouterr().err
  assert found.startswith(f"error: {said}") and found.count("\n") == 1


def test_a_strip_is_refused_before_it_is_decoded(monkeypatch):
  import io

  from PIL import Image, ImageFile

  strip = io.BytesIO()
  Image.new("L", (40_000, 1)).save(strip, "PNG")
  monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: 1 / 0)
  with pytest.raises(images.Unreadable, match="strip; .* 4 times"):
    images.shrink(strip.getvalue())


def test_an_id_of_an_odd_digit_is_no_id(tmp_path):
  (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n²,1\n")
  with pytest.raises(errors.InputError, match="line 2: wanted a RecordID"):
    read._outcomes(tmp_path, "a", [2])


def test_predictions_in_a_zip_of_another_version_are_told(tmp_path):
  path = tmp_path / predictions.NAME
  np.savez(path, about="{}")
  text = bytearray(path.read_bytes())
  text[4] = text[text.index(b"PK\x01\x02") + 6] = 84  # Version that it needs.
  path.write_bytes(text)
  with pytest.raises(ValueError, match="predictions.npz: is damaged or holds"):
    predictions.load(path)


def test_results_of_other_kinds_are_told(tmp_path):
  path = tmp_path / "results.json"
  path.write_text(json.dumps({"version": report.VERSION, "heads": 1}))
  with pytest.raises(ValueError, match="results.json: heads is a whole number"):
    report.read(path)


def test_an_archive_of_another_version_is_told(tmp_path):
  import zipfile

  path = tmp_path / "set-a.zip"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("1.txt", "Time,Parameter,Value\n00:00,RecordID,1\n")
  text = bytearray(path.read_bytes())
  text[4] = text[text.index(b"PK\x01\x02") + 6] = 84
  path.write_bytes(text)
  with pytest.raises(errors.InputError, match="set-a.zip: cannot be read"):
    read.read(tmp_path)


def test_a_configuration_of_other_kinds_is_told(mine, tmp_path):
  from experiments.config import Config

  given = files.read_json(mine.root / "run/config.json", dict, "")
  for change in ({"seed": "x", "modalities": 3}, {"learning_rate": 1}):
    files.write_json(tmp_path / "config.json", given | change)
    with pytest.raises(ValueError, match="config.json: a field is of another"):
      Config.from_workdir(tmp_path)
