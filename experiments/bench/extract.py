"""How fast raw files become records: `benchmark --what=extract`.

Builds from the synthetic twin in MIMIC's layout and with MIMIC's density of
events (4,300 chart rows a stay), at several sizes, each in a process of its
own: rows read a second, from .csv.gz through to discretised stays; memory and
disk at most; and what that makes of MIMIC-IV v3.1. Then the writing of as many
records as MIMIC has, with fewer events each and with notes, without films.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from data import build, resume, synthetic
from data.mimic import release
from data.progress import Progress
from data.synthetic import model

# Subjects of the twin at scale 1: 2.4 million chart rows.
SUBJECTS = 440
READ = {n: f"reading {n}.csv.gz" for n in ("chartevents", "labevents")}
WRITTEN = "writing records"
# Stays of phenotyping on v3.1 as published.
STAYS = 77_510


def run(scales, records, folder, threads, memory):
  """Prints the whole measurement.

  Args:
    scales: sizes, multiples of `SUBJECTS`.
    records: about how many are written at MIMIC's number; 0 for none.
    folder: where raw files are kept from one call to the next and datasets
      are built; None for a temporary folder.
    threads: cores that may be used.
    memory: what DuckDB may hold, as "2GB".
  """
  print(f"{threads} threads of {os.cpu_count()} cores, --memory={memory}")
  with contextlib.ExitStack() as stack:
    if folder is None:
      folder = stack.enter_context(tempfile.TemporaryDirectory(dir="."))
    folder = pathlib.Path(folder).resolve()
    print(
      "scale  chart rows   lab rows   stays   read chart   read labs"
      "    records    rows a second  memory     disk  load"
    )
    found = [_size(folder, scale, threads, memory) for scale in scales]
    if len(found) > 1:
      _growth(scales, found)
    _estimate(found[-1])
    if records:
      _records(folder, records, threads, memory)


def _size(folder, scale, threads, memory):
  raw = _twin(folder, f"raw-{scale:g}", round(SUBJECTS * scale), 1.0)
  met = _build(folder, raw, threads, memory, notes=False)
  seconds = met["seconds"]
  chart, labs = (met["rows"][n] for n in READ)
  rate = (chart + labs) / met["total"]
  print(
    f"{scale:5g} {chart:11,} {labs:10,} {met['stays']:7,}"
    f" {seconds[READ['chartevents']]:9.1f} s"
    f" {seconds[READ['labevents']]:9.1f} s {seconds[WRITTEN]:8.1f} s"
    f" {rate:14,.0f}  {met['memory'] / 1e9:4.2f} GB {resume.size(met['disk']):>9}"
    f"  {os.getloadavg()[0]:4.1f}",
    flush=True,
  )
  return met


def _growth(scales, found):
  """How time, memory and disk grow from the first size to the last."""
  rows = [sum(m["rows"][n] for n in READ) for m in found]
  print(
    f"growth from {scales[0]:g} to {scales[-1]:g}: rows"
    f" {rows[-1] / rows[0]:.1f}, time {found[-1]['total'] / found[0]['total']:.1f},"
    f" memory {found[-1]['memory'] / found[0]['memory']:.1f},"
    f" disk {found[-1]['disk'] / found[0]['disk']:.1f} times"
  )


def _estimate(met):
  """What the rates of one size make of MIMIC-IV v3.1."""
  full = dict(zip(release.TABLES, release.ROWS["v3.1"]))
  minutes = {
    n: full[n] / met["rows"][n] * met["seconds"][title] / 60
    for n, title in READ.items()
  }
  minutes["records"] = STAYS / met["stays"] * met["seconds"][WRITTEN] / 60
  parts = ", ".join(f"{n} {m:.1f}" for n, m in minutes.items())
  print(
    f"MIMIC-IV v3.1, estimated from these rates ({full['chartevents']:,} chart"
    f" and {full['labevents']:,} lab rows, {STAYS:,} stays): {parts}; together"
    f" {sum(minutes.values()):.1f} minutes"
  )


def _records(folder, records, threads, memory):
  """Writes MIMIC's number of records, with notes and without films."""
  raw = _twin(folder, f"raw-{records}-records", round(records / 1.04), 0.1)
  met = _build(folder, raw, threads, memory, notes=True)
  print(
    f"{met['stays']:,} records with notes, without films (a tenth of MIMIC's"
    f" events): {met['seconds'][WRITTEN]:.1f} s,"
    f" {1e3 * met['seconds'][WRITTEN] / met['stays']:.2f} ms a record, memory"
    f" {met['memory'] / 1e9:.2f} GB, disk {resume.size(met['disk'])}, load"
    f" {os.getloadavg()[0]:.1f}"
  )


def _twin(folder, name, subjects, density):
  """Raw files without films, written unless they are there."""
  raw = folder / name
  if not raw.exists():
    never = model.Presence(cxr_early=0, cxr_late=0, cxr_short=0)
    with Progress(f"writing {name}") as progress:
      synthetic.write(
        raw,
        subjects=subjects,
        density=density,
        presence=never,
        progress=lambda done, total: progress.at(done / total),
      )
  return raw


def _build(folder, raw, threads, memory, notes):
  """Builds in a new process. -> what was measured of it."""
  command = [sys.executable, "-c", _CHILD, str(raw), str(folder / "out")]
  command += [str(threads), memory, "notes" if notes else ""]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
  peak = {"memory": 0, "disk": 0}
  done = threading.Event()
  watch = threading.Thread(
    target=_watch, args=(process.pid, folder / "out", peak, done)
  )
  watch.start()
  try:
    text, _ = process.communicate()
  finally:
    done.set()
    watch.join()
  if process.returncode:
    raise RuntimeError(f"the build ended with code {process.returncode}")
  return json.loads(text.splitlines()[-1]) | peak


# Runs in the new process; the last line it prints is JSON.
_CHILD = """
import sys
from experiments.bench import extract
extract.child(*sys.argv[1:])
"""


def child(raw, out, threads, memory, notes):
  """Builds phenotyping and prints what it took."""
  raw = pathlib.Path(raw)
  start = time.perf_counter()
  path = build.build(
    task="phenotyping",
    data_dir=out,
    mimic_iv=raw / "mimiciv",
    mimic_note=raw / "mimic-iv-note" if notes else None,
    threads=int(threads),
    memory=memory,
    overwrite=True,
    quiet=True,
  )
  total = time.perf_counter() - start
  report = json.loads((path / "report.json").read_text("utf-8"))
  rows = {n: t["rows"] for n, t in report["tables"].items()}
  index = json.loads((path / "metadata.json").read_text("utf-8"))["index"]
  stays = sum(len(split["hours"]) for split in index.values())
  seconds = dict(Progress.finished)
  print(
    json.dumps(
      {"rows": rows, "stays": stays, "seconds": seconds, "total": total}
    )
  )


def _watch(pid, folder, peak, done):
  """Memory of a process with its children, and disk of a folder, at most."""
  while not done.wait(0.05):
    peak["memory"] = max(peak["memory"], sum(map(_resident, _family(pid))))
    peak["disk"] = max(peak["disk"], _occupied(folder))


def _family(pid):
  """A process and all that it started."""
  found = [pid]
  for parent in found:
    for path in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
      with contextlib.suppress(OSError):
        found += [int(p) for p in path.read_text().split()]
  return found


def _resident(pid):
  try:
    pages = pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]
  except (OSError, IndexError):
    return 0
  return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _occupied(folder):
  total = 0
  # A folder may be gone by the time it is looked into: os.walk goes on then.
  for root, _, names in os.walk(folder):
    for name in names:
      with contextlib.suppress(OSError):
        found = os.lstat(os.path.join(root, name))
        total += found.st_blocks * 512 // max(found.st_nlink, 1)
  return total
