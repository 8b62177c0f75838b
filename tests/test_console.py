"""The command `medpatch`, from any folder, of a clone and of a wheel."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent


def medpatch(folder, *words, path=ROOT):
  return subprocess.run(
    [sys.executable, "-m", "medpatch_jax", *words],
    cwd=folder,
    env=os.environ | {"PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.fixture
def elsewhere(tmp_path):
  """A folder of a user who has packages of the same names."""
  for name in ("data", "experiments"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemExit('theirs')")
  return tmp_path


def test_a_command_runs_where_a_user_has_a_folder_called_data(elsewhere):
  done = medpatch(elsewhere, "build", "--source=tabels", "--data_dir=out")
  assert done.returncode == 2, done.stderr
  assert "Did you mean" in done.stderr or "wanted" in done.stderr
  assert len(done.stderr.splitlines()) == 1
  assert not (elsewhere / "out").exists()


def test_unknown_commands_are_told_the_nearest(elsewhere):
  done = medpatch(elsewhere, "trian")
  assert done.returncode == 2 and "Did you mean 'train'?" in done.stderr
  assert "quickstart" in medpatch(elsewhere, "-h").stdout


def test_messages_name_commands_as_they_were_called(monkeypatch):
  from medpatch_jax.input import places

  text = "train first with python -m experiments.train --data_dir=OUT."
  assert places.worded(text) == text
  monkeypatch.setattr(places, "installed", True)
  assert places.worded(text) == (
    "train first with medpatch train --data_dir=OUT."
  )
  assert places.worded("python -m data.build") == "medpatch build"


@pytest.mark.slow  # Last run on 28 November 2026, and passed.
def test_a_wheel_holds_all_and_nothing_beside_its_package(elsewhere):
  source = elsewhere / "source"
  skipped = shutil.ignore_patterns(".git", "runs", "*.pyc")
  shutil.copytree(ROOT, source, ignore=skipped)
  words = ["pip", "wheel", "-q", "--no-deps", "-w", elsewhere, source]
  subprocess.run([sys.executable, "-m", *map(str, words)], check=True)
  wheel = next(elsewhere.glob("*.whl"))
  with zipfile.ZipFile(wheel) as file:
    names = file.namelist()
    file.extractall(elsewhere / "site")
  tops = {name.split("/")[0].split("-")[0] for name in names}
  assert tops == {"medpatch_jax"}
  inside = {n.removeprefix("medpatch_jax/_commands/") for n in names}
  for folder in ("data", "experiments"):
    for path in (ROOT / folder).rglob("*.py"):
      assert str(path.relative_to(ROOT)) in inside
  assert "experiments/report/page.js" in inside
  assert "data/meds/mimic.yaml" in inside
  assert "medpatch_jax/evaluate/look.css" in names
  shutil.rmtree(source)
  done = medpatch(elsewhere, "build", "-h", path=elsewhere / "site")
  assert done.returncode == 0 and "--mimic_iv" in done.stdout, done.stderr
