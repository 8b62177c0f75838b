"""Devices and processes: any number of them gives the same numbers."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from medpatch_jax.train import stop
from medpatch_jax.train.parallel import Parallel

ROOT = pathlib.Path(__file__).parent.parent


def start(devices, *words, **environment):
  """A process of tests/devices.py with so many devices."""
  return subprocess.Popen(
    [sys.executable, "-m", "tests.devices", *map(str, words)],
    cwd=ROOT,
    env=os.environ
    | {
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
      + os.environ["XLA_FLAGS"],
      "JAX_PLATFORMS": "cpu",
    }
    | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def pair(*words, after=()):
  """Two processes with two devices each, which meet on this machine."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    address = f"localhost:{free.getsockname()[1]}"
  return [start(2, *words, address, 2, i, *after) for i in range(2)]


def ended(process, code=0):
  """What a process printed, once it has ended."""
  out, err = process.communicate(timeout=300)
  assert process.returncode == code, err[-3000:]
  return [
    json.loads(line.removeprefix("found "))
    for line in out.splitlines()
    if line.startswith("found ")
  ]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
  """What each process printed, and the folder of the run of two."""
  root = tmp_path_factory.mktemp("parallel")
  started = [start(4, root / "one", "1,2,4"), *pair(root / "two", "4")]
  return [ended(process) for process in started], root


def test_both_ways_and_any_number_of_devices_and_processes_agree(found):
  lines, _ = found
  assert [len(part) for part in lines] == [6, 2, 2]
  first, *others = sum(lines, [])
  for other in others:
    where = f"{other['kind']}, {other['devices']} devices"
    for name in ("w", "best"):
      np.testing.assert_allclose(
        other[name], first[name], rtol=1e-5, atol=1e-6, err_msg=where
      )


def test_losses_of_every_epoch_agree_and_are_written_once(found):
  _, root = found
  logs = {
    path.relative_to(root): [
      json.loads(line) for line in path.read_text().splitlines()
    ]
    for path in root.glob("*/*/metrics.jsonl")
  }
  assert len(logs) == 8
  first, *others = logs.values()
  assert [line["step"] for line in first] == [3, 6, 9, 12, 15, 18, 21]
  for lines in others:
    for a, b in zip(first, lines, strict=True):
      assert a.keys() == b.keys()
      np.testing.assert_allclose(
        list(a.values()), list(b.values()), rtol=1e-5, atol=1e-6
      )


def test_every_process_reads_its_own_rows_of_a_pass_and_no_others(found):
  (_, *two), _ = found
  for kind in range(2):
    first, second = (set(part[kind]["read"]) for part in two)
    # Validation is in order: the first half of each batch, and the tail.
    assert first == {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19}
    assert second == {4, 5, 6, 7, 12, 13, 14, 15}


def test_ctrl_c_is_passed_on_where_jax_hears_sigterm_alone():
  heard, before = [], signal.getsignal(signal.SIGTERM)
  signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
  try:
    with stop.passing_on():
      signal.raise_signal(signal.SIGINT)
      assert stop.asked() and heard == [signal.SIGTERM]
      # A second one kills.
      assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  finally:
    signal.signal(signal.SIGTERM, before)
  assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
  assert stop.Stopped().code == 130
  with stop.listening():  # Forgotten by the next stage.
    assert not stop.asked()


@pytest.mark.slow
def test_processes_that_slurm_starts_find_each_other(found, tmp_path):
  """With what SLURM sets for two tasks on one node, and nothing else."""
  lines, _ = found
  job = {
    # JAX makes the port of it: another one in each run of the test.
    "SLURM_JOB_ID": str(os.getpid()),
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_NTASKS": "2",
  }
  started = [
    start(
      2, tmp_path, "4", "auto", **job, SLURM_PROCID=str(i), SLURM_LOCALID=str(i)
    )
    for i in range(2)
  ]
  for process, before in zip(started, lines[1:], strict=True):
    for a, b in zip(ended(process), before, strict=True):
      assert a["w"] == b["w"] and a["read"] == b["read"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_of_two_processes_saves_once_and_both_go_on(
  found, tmp_path, number
):
  lines, root = found
  # 21 updates in all; one process gets the signal at its fifth batch.
  started = pair(tmp_path, "4", after=[5, int(number)])
  first, second = (
    ended(process, code)
    for process, code in zip(started, (128 + number, stop.EXIT_CODE))
  )
  assert first == second and len(first[0]["saves"]) == 1
  assert 5 <= first[0]["saves"][0] < 21
  again = [ended(process) for process in pair(tmp_path, "4")]
  for before, after in zip(lines[1:], again, strict=True):
    for a, b in zip(before, after, strict=True):
      assert a["w"] == b["w"] and a["best"] == b["best"]
  for kind in ("pmap4", "shard_map4"):
    whole, cut = (p / kind / "metrics.jsonl" for p in (root / "two", tmp_path))
    assert whole.read_text() == cut.read_text()


def test_a_device_that_is_not_there_is_said_so():
  command = "from medpatch_jax.train.parallel import Parallel; Parallel()"
  process = subprocess.run(
    [sys.executable, "-c", command],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": ""},
    capture_output=True,
    text=True,
  )
  assert process.returncode
  said = process.stderr.splitlines()[-1]
  assert said.startswith("ValueError: no device of JAX_PLATFORMS=cuda: ")
  assert said.endswith("or set JAX_PLATFORMS=cpu.")


def test_a_batch_that_does_not_divide_names_the_nearest():
  parallel = Parallel()
  parallel.devices = [None] * 4
  with pytest.raises(ValueError, match="=10 .* 4 devices; pass 8 or 12"):
    parallel.check(10)
  with pytest.raises(ValueError, match="in 3 parts each; pass 12 or 24"):
    parallel.check(16, accumulate=3)
  parallel.check(24, accumulate=3)
