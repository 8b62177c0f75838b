"""Whole commands, as a user runs them, on a small synthetic twin."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ENV = os.environ | {"JAX_PLATFORMS": "cpu"}
SMALL = ("--calibration_steps=5", "--batch_size=32", "--cross_fit=0")


def command(repository, *words, **kwargs):
  return subprocess.run(
    [sys.executable, "-m", *map(str, words)],
    cwd=repository,
    env=ENV,
    capture_output=True,
    text=True,
    check=False,
    **kwargs,
  )


@pytest.fixture(scope="module")
def quickstart(repository, tmp_path_factory):
  """A finished quickstart on 150 subjects: (its folder, its output)."""
  root = tmp_path_factory.mktemp("quickstart") / "q"
  done = command(
    repository,
    "experiments.quickstart",
    f"--workdir={root}",
    "--subjects=150",
    "--epochs=1",
    *SMALL,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  return root, done


def test_quickstart_shows_every_model_and_where_everything_lies(quickstart):
  root, done = quickstart
  results = json.loads((root / "run/results.json").read_text())
  assert {row["modality"] for row in results["unimodal"]} == {
    "ehr",
    "cxr",
    "rr",
    "dn",
  }
  heads = {row["head"] for row in results["heads"]}
  assert heads >= {"high", "low", "late", "combined", "reduced"}
  assert results["chosen"] in ("late", "combined", "reduced")
  assert results["bayes"]["auroc"]["value"] > 0.8
  assert len(results["per_label"]) == 25
  divisions = [division["by"] for division in results["subgroups"]]
  assert divisions == ["age", "gender", "ethnicity"]
  assert results["calibration"]["brier"]["value"] > 0
  tokens = {row["modality"]: row for row in results["token_calibration"]}
  assert tokens.keys() == {"ehr", "cxr", "rr", "dn"}
  for split in ("validation", "test"):
    assert 0 <= tokens["ehr"][split]["after"] < 0.5
  assert "Token calibration error" in done.stdout
  shown = "raw/truth.csv", "records/phenotyping", "run/fuse/best"
  for path in (*shown, "run/report.html"):
    assert (root / path).exists() and str(root) in done.stdout
  assert "left" in done.stderr  # Time left, throughout.


def test_the_second_evaluation_does_not_score_again(quickstart, repository):
  root, _ = quickstart
  before = (root / "run/results.json").stat().st_mtime_ns
  words = "experiments.evaluate", f"--workdir={root}/run", "--noreport"
  done = command(repository, *words)
  assert done.returncode == 0, done.stderr[-2000:]
  assert done.stdout.strip() == (root / "run/results.txt").read_text().strip()
  assert (root / "run/results.json").stat().st_mtime_ns == before


def test_heads_of_a_run_are_compared_on_its_test_stays(
  quickstart, repository, tmp_path
):
  root, _ = quickstart
  run, out = root / "run", tmp_path / "compared.json"
  done = command(
    repository,
    "experiments.compare",
    f"--a={run}:late,{run}:ehr",
    f"--b={run}:combined",
    "--resamples=100",
    f"--out={out}",
  )
  assert done.returncode == 0, done.stderr[-2000:]
  results = json.loads((run / "results.json").read_text())
  late = next(row for row in results["heads"] if row["head"] == "late")
  found = json.loads(out.read_text())
  assert found["models"][0]["auroc"]["value"] == pytest.approx(
    late["auroc"]["value"], abs=1e-6
  )
  assert "DeLong" in done.stdout and "0 s left" in done.stderr


def test_a_killed_run_ends_with_the_same_numbers(quickstart, repository):
  """SIGKILL in the middle of stage 1, then the same command again."""
  root, _ = quickstart
  words = (
    "experiments.train",
    f"--data_dir={root}/records",
    "--task=phenotyping",
    "--modalities=ehr",
    "--save_minutes=0",
    "--epochs=2",
    *SMALL,
    "--cross_fit=2",
  )
  whole, cut = (f"--workdir={root}/{name}" for name in ("whole", "cut"))
  assert command(repository, *words, whole).returncode == 0
  process = subprocess.Popen(
    [sys.executable, "-m", *words, cut],
    cwd=repository,
    env=ENV,
    stderr=subprocess.DEVNULL,
  )
  saves = root / "cut/unimodal/ehr/latest"
  while process.poll() is None and not (
    saves.exists() and any(p.name.isdigit() for p in saves.iterdir())
  ):
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.wait()
  again = command(repository, *words, cut)
  assert again.returncode == 0, again.stderr[-2000:]
  assert "goes on from step" in again.stderr
  for stage in ("unimodal/ehr", "confidence/ehr", "fuse"):
    first, second = (
      (root / name / stage / "metrics.jsonl").read_text()
      for name in ("whole", "cut")
    )
    assert first == second, stage
  for name in ("high", "logits"):
    arrays = [
      np.load(root / run / f"pools/ehr-train/{name}.npy")
      for run in ("whole", "cut")
    ]
    np.testing.assert_array_equal(*arrays)


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (("experiments.train", "--data_dir=nowhere", "--workdir=w"), "no built"),
    (("experiments.train", "--data_dir=d"), "--workdir is missing"),
    (("experiments.evaluate", "--workdir=nowhere"), "no trained run"),
    (("experiments.compare", "--a=nowhere", "--b=w"), "no run was scored"),
    (("experiments.compare", "--a=nowhere"), "--b is missing"),
    (
      ("experiments.train", "--without=joint,late", "--data_dir=d"),
      "missing|unknown",
    ),
    (
      (
        "experiments.train",
        "--data_dir=d",
        "--workdir=w",
        "--threshold=1.2",
      ),
      r"\[0.5, 1.0\]",
    ),
    (
      ("experiments.train", "--data_dir=d", "--workdir=w", "--preset=base"),
      "--bert",
    ),
    (("data.build", "--source=mimic", "--task=phenotyping"), "data_dir"),
  ],
)
def test_bad_input_is_one_line_and_exit_code_2(
  words, said, repository, tmp_path
):
  import re

  done = command(repository, *words)
  assert done.returncode == 2
  assert len(done.stderr.strip().splitlines()) == 1, done.stderr
  assert re.search(said, done.stderr), done.stderr
  assert not (repository / "w").exists()


def test_another_configuration_in_one_workdir_is_refused(
  quickstart, repository
):
  root, _ = quickstart
  done = command(
    repository,
    "experiments.train",
    f"--data_dir={root}/records",
    f"--workdir={root}/run",
    "--seed=5",
    "--epochs=1",
    *SMALL,
  )
  assert done.returncode == 2
  assert "seed: 0 -> 5" in done.stderr
