"""Whether a killed run loses anything: `benchmark --what=kill`.

Trains a small synthetic twin once to the end; then the same command is killed
with SIGKILL again and again, at random moments, inside saves and at changes of
stage, started again each time, and at last left alone. Every parameter,
temperature, pool and line of metrics.jsonl must be that of the first run, bit
for bit.
"""

import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from data import build
from medpatch_jax.input import dataset

SUBJECTS = 80
WORDS = (
  "--task=phenotyping",
  "--modalities=ehr,rr",
  "--epochs=6",
  "--calibration_steps=20",
  "--batch_size=8",
  "--save_steps=2",
)
# What a kill waits for: nothing, a save that is being written, a stage's end.
MOMENTS = ("random", "save", "stage")


def run(kills: int, seed: int, folder) -> None:
  """Prints the whole trial.

  Args:
    kills: how many, the kinds of moments in turn.
    seed: of the moments.
    folder: where records and runs are kept; None for a temporary folder.

  Raises:
    AssertionError: the killed run ended otherwise; names what differs.
  """
  logging.set_verbosity(logging.WARNING)  # Orbax says much.
  with contextlib.ExitStack() as stack:
    if folder is None:
      folder = stack.enter_context(tempfile.TemporaryDirectory(dir="."))
    folder = pathlib.Path(folder).resolve()
    records = folder / "records"
    if not dataset.built(records, "phenotyping"):
      build.build(
        source="synthetic",
        task="phenotyping",
        data_dir=records,
        subjects=SUBJECTS,
        density=0.02,
        quiet=True,
      )
    whole = folder / "whole"
    began = time.monotonic()
    _finish(records, whole)
    seconds = time.monotonic() - began
    print(f"never killed: {seconds:.0f} s, load {os.getloadavg()[0]:.1f}")
    rng, tried = random.Random(seed), dict.fromkeys(MOMENTS, 0)
    # A run that comes to its end in spite of all is held beside the first,
    # and the next one begun.
    for number in itertools.count(1):
      cut = folder / f"cut-{number}"
      while sum(tried.values()) < kills:
        moment = MOMENTS[sum(tried.values()) % len(MOMENTS)]
        if not _kill(records, cut, moment, rng, seconds):
          break
        tried[moment] += 1
        where = f"kill {sum(tried.values())}/{kills} ({moment})"
        print(f"{where}, run {number}: {_where(cut)}", flush=True)
      _finish(records, cut)
      _compare(whole, cut)
      if sum(tried.values()) == kills:
        break
    print("kills: " + ", ".join(f"{n} {m}" for m, n in tried.items()))


def _finish(records, workdir) -> None:
  """Runs the command to its end."""
  if code := _start(records, workdir).wait():
    raise AssertionError(f"{workdir}: the run ended with code {code}")


def _start(records, workdir):
  command = [sys.executable, "-m", "experiments.train", *WORDS]
  command += [f"--data_dir={records}", f"--workdir={workdir}"]
  with open(f"{workdir}.log", "a") as log:
    return subprocess.Popen(command, stderr=log)


def _kill(records, workdir, moment, rng, seconds) -> bool:
  """Starts the run and kills it; False if it ended by itself."""
  before = _state(workdir)
  process = _start(records, workdir)
  # Once it has got further, so that the trial ends.
  while process.poll() is None and _state(workdir) == before:
    time.sleep(0.002)
  if moment == "random":
    until = time.monotonic() + rng.uniform(0, seconds / 8)
    while process.poll() is None and time.monotonic() < until:
      time.sleep(0.002)
  ends = len(_found(workdir, "*/*/done.json", "*/done.json"))
  while process.poll() is None:
    if moment == "random":
      break
    if moment == "save" and _saving(workdir):
      break
    if (
      moment == "stage"
      and len(_found(workdir, "*/*/done.json", "*/done.json")) > ends
    ):
      break
    time.sleep(0.001)
  if process.poll() is not None:
    return False
  time.sleep(rng.uniform(0, 0.02))
  process.send_signal(signal.SIGKILL)
  process.wait()
  return True


def _found(workdir, *patterns) -> list[pathlib.Path]:
  """What matches, while folders come and go."""
  found = []
  for pattern in patterns:
    with contextlib.suppress(FileNotFoundError):
      found += workdir.glob(pattern)
  return found


def _state(workdir) -> set[str]:
  """What a start can go on from: whole saves and stores."""
  saves = _found(workdir, "*/*/latest/*", "*/latest/*")
  stores = _found(workdir, "*/*/key.json")
  return {str(p) for p in saves if p.name.isdigit()} | set(map(str, stores))


def _saving(workdir) -> list[pathlib.Path]:
  """Saves that are being written."""
  places = [
    f"{x}/{kind}/*" for x in ("*/*", "*") for kind in ("latest", "best")
  ]
  return [p for p in _found(workdir, *places) if "tmp" in p.name]


def _where(workdir) -> str:
  ended = len(_found(workdir, "*/*/done.json", "*/done.json"))
  half = len(_saving(workdir)) + len(_found(workdir, "*/*.partial"))
  return f"{ended} stages complete, {half} writings cut short"


def _compare(whole, cut) -> None:
  """Every number of two runs, bit for bit."""
  counts = {"metrics files": 0, "arrays": 0}
  for path in sorted(whole.rglob("metrics.jsonl")):
    other = cut / path.relative_to(whole)
    if path.read_text() != other.read_text():
      raise AssertionError(f"{other}: differs from {path}")
    counts["metrics files"] += 1
  for path in sorted(whole.glob("**/done.json")):
    other = cut / path.relative_to(whole)
    if json.loads(path.read_text()) != json.loads(other.read_text()):
      raise AssertionError(f"{other}: differs from {path}")
  for path in sorted(whole.rglob("*.npy")):
    other = cut / path.relative_to(whole)
    if path.read_bytes() != other.read_bytes():
      raise AssertionError(f"{other}: differs from {path}")
    counts["arrays"] += 1
  reader = ocp.StandardCheckpointer()
  for path in sorted(whole.glob("**/best/*/state")):
    other = cut / path.relative_to(whole)
    trees = [reader.restore(p) for p in (path, other)]
    for (name, a), b in zip(
      jax.tree_util.tree_leaves_with_path(trees[0]), jax.tree.leaves(trees[1])
    ):
      if not np.array_equal(a, b):
        raise AssertionError(
          f"{other}: {jax.tree_util.keystr(name)} differs from {path}"
        )
      counts["arrays"] += 1
  found = ", ".join(f"{n} {name}" for name, n in counts.items())
  print(f"equal bit for bit: {found}")
