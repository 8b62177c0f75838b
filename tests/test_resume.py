"""A build that was stopped goes on, and gives what one never stopped gives."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from data import build, errors, records, resume, shards
from data.mimic import rules, store, tables
from tests import mimic_raw
from tests.test_build import _digest as digest

# Small files of records, and processes even for these few.
_SMALL = """
import sys
from data import build, records, shards
records.SHARD, shards.ALONE = 8, 0
build.build(source="synthetic", task="phenotyping", subjects=150, threads=2,
  data_dir=sys.argv[1], raw_dir=sys.argv[2])
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  """The raw files, and the digest of what is built of them in one go."""
  out = tmp_path_factory.mktemp("whole")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(records, "SHARD", 8)
    path = _build(out, out / "raw")
  assert len(list(path.glob("*-train.array_record-*"))) > 5
  return out / "raw", digest(path)


def _build(out, raw, **options):
  return build.build(
    source="synthetic",
    task="phenotyping",
    subjects=150,
    threads=2,
    data_dir=out,
    raw_dir=raw,
    quiet=True,
    **options,
  )


def _stopped(out, raw, repository, name, how):
  """Starts a build, stops it once `name` is there. -> its working folder."""
  process = subprocess.Popen(
    [sys.executable, "-c", _SMALL, str(out), str(raw)],
    cwd=repository,
    stderr=subprocess.PIPE,
    text=True,
  )
  parent = out / "phenotyping"
  until = time.monotonic() + 60
  while not (found := list(parent.glob(f".part-*/{name}"))):
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < until, f"{name} did not come"
    time.sleep(0.001)
  process.send_signal(how)
  process.communicate(timeout=30)
  assert process.returncode != 0, "the build was done before it was stopped"
  assert os.listdir(parent) == [p.name for p in parent.glob(".part-*")]
  return next(parent.glob(".part-*")), found


@pytest.mark.parametrize(
  "name, how",
  [
    ("chartevents.json", signal.SIGTERM),
    ("records/train-00000.json", signal.SIGKILL),
    ("records/train-00004.json", signal.SIGINT),
  ],
)
def test_stopped_build_goes_on(
  raw, name, how, tmp_path, repository, monkeypatch
):
  raw, whole = raw
  work, _ = _stopped(tmp_path, raw, repository, name, how)
  kept = {
    p.stem: p.stat().st_ino for p in (work / "records").glob("*.array_record")
    if p.with_suffix(".json").exists()
  }  # fmt: skip
  assert bool(kept) == name.startswith("records")
  assert (work / "chartevents.parquet").exists()
  monkeypatch.setattr(records, "SHARD", 8)
  read = []
  load = tables.load
  monkeypatch.setattr(
    tables,
    "load",
    lambda c, table, *a, **k: (
      read.append(table.name),
      load(c, table, *a, **k),
    ),
  )
  path = _build(tmp_path, raw)
  assert digest(path) == whole
  assert "chartevents" not in read and "patients" in read
  # What was written before is the very file.
  there = {p.stat().st_ino for p in path.glob("*.array_record*")}
  assert set(kept.values()) <= there
  assert os.listdir(path.parent) == ["1.0.0"]


def test_changed_flag_or_file_starts_anew(raw, tmp_path, repository):
  raw, _ = raw
  work, _ = _stopped(
    tmp_path, raw, repository, "chartevents.json", signal.SIGKILL
  )
  # Were it taken up, this would end in an error of Parquet.
  (work / "chartevents.parquet").write_bytes(b"stale")
  path = _build(tmp_path, raw, rules=rules.Rules(outliers="keep"))
  assert os.listdir(path.parent) == ["1.0.0"]
  given = {"task": "phenotyping"}
  file = tmp_path / "file.csv"
  file.write_text("a")
  names = {resume.key(given, [file])}
  file.write_text("ab")
  names |= {resume.key(given, [file]), resume.key({}, [file])}
  os.utime(file, ns=(0, 0))
  names |= {resume.key(given, [file])}
  assert len(names) == 4


def test_two_builds_of_one_dataset(tmp_path):
  root, out = mimic_raw.write(tmp_path / "raw"), tmp_path / "out"
  held = []
  workplace = resume.workplace

  def keep(parent, name):
    folder = parent / f".part-{name}"
    folder.mkdir()
    held.append(open(folder / "lock", "wb"))
    fcntl.flock(held[0], fcntl.LOCK_EX)
    return workplace(parent, name)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(resume, "workplace", keep)
    with pytest.raises(errors.InputError, match="another build .* is running"):
      mimic_raw.build(root, out)
  held[0].close()
  assert mimic_raw.build(root, out).is_dir()


def test_too_little_disk_is_refused_before_the_start(tmp_path, monkeypatch):
  root = mimic_raw.write(tmp_path / "raw")
  usage = shutil.disk_usage(tmp_path)._replace(free=5_000)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  mimic_raw.assert_refused(
    root,
    tmp_path / "out",
    r"--data_dir: about .* (kB|MB) of disk are needed .* 5 kB are free; make",
  )


@pytest.mark.parametrize("when", ["tables", "records"])
def test_full_disk_is_told_and_gone_on_from(raw, when, tmp_path, monkeypatch):
  raw, whole = raw
  monkeypatch.setattr(records, "SHARD", 8)
  full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  def fail(*_):
    raise full

  with monkeypatch.context() as patch:
    if when == "tables":
      original = store.Store._copy
      patch.setattr(
        store.Store,
        "_copy",
        lambda self, sql, part, group: (
          fail()
          if "all_films" in str(part)
          else original(self, sql, part, group)
        ),
      )
    else:
      patch.setattr(records, "encode", fail)
    with pytest.raises(errors.InputError, match="disk is full; make room"):
      _build(tmp_path, raw)
  (work,) = (tmp_path / "phenotyping").glob(".part-*")
  assert (work / "chartevents.json").exists()
  assert digest(_build(tmp_path, raw)) == whole


def test_ctrl_c_while_a_table_is_read(tmp_path):
  root = mimic_raw.write(tmp_path)
  table = tables.find(root / "mimiciv", "chartevents", ("icu",))
  connection = tables.connect(threads=1, memory="1GB", temporary=tmp_path)
  stop = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
  stop.start()
  with pytest.raises(KeyboardInterrupt):
    tables.load(
      connection, table, "SELECT max(hash(range)) FROM range(100000000000)"
    )
  connection.close()


def _die(item):
  os.kill(os.getpid(), signal.SIGKILL)


def test_a_writing_process_that_dies_is_told(raw, tmp_path, monkeypatch):
  """As when the system ends it for want of memory; then it goes on."""
  raw, whole = raw
  monkeypatch.setattr(records, "SHARD", 8)
  with monkeypatch.context() as patch:
    patch.setattr(shards, "ALONE", 0)
    patch.setattr(shards, "_make", _die)
    with pytest.raises(errors.InputError, match="ended from outside"):
      _build(tmp_path, raw)
  assert digest(_build(tmp_path, raw)) == whole
