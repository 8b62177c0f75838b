"""Writes the files of records, several processes side by side.

A file holds the stays of a fixed range of rows, so that its bytes depend on
neither the number of processes nor on what an earlier, stopped build had
finished. Beside each file lies a note: its length, digest and tally.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import multiprocessing.util
import os
import pathlib
import signal
import threading

import numpy as np

from data import records, resume
from data.progress import Progress
from data.splits import SPLITS

# Fewer stays than this are written by one process: starting others takes
# longer.
ALONE = 1500
# Memory of a process that writes, at most; films of MIMIC among it.
EACH = 256e6
# Stays assembled at once. Bounds memory, whatever the size of the cohort.
CHUNK = 64


@dataclasses.dataclass
class Part:
  """Examples of consecutive stays and what was counted on the way.

  Attributes:
    examples: dicts for `records.write_file`; some stays may be left out.
    rows: row of the stay of each example.
    counts: (variable, what) -> count, of `clean.clean`, and ("carried", "").
    bad_films: lines, in their table, of films that could not be read.
    films: how many films were opened.
  """

  examples: list
  rows: list
  counts: collections.Counter
  bad_films: list
  films: int


@dataclasses.dataclass
class Job:
  """What every file is made from; sent to each process once.

  A source says how: `features`, `tally`, `assembler` (whose `part(start,
  stop)` is a `Part`) and `unreadable`.

  Attributes:
    folder: the working folder; the files go to its folder records/.
    split: i64[S], index into `splits.SPLITS` of each stay, in record order.
    end: f64[S], length of each one's window in hours.
    linked: films that are linked to a stay.
  """

  folder: pathlib.Path
  split: np.ndarray
  end: np.ndarray
  linked: int

  def features(self):
    """Of `records.features`."""
    raise NotImplementedError

  def tally(self):
    """An empty `Tally`."""
    raise NotImplementedError

  def assembler(self):
    """What makes examples, in the process that calls."""
    raise NotImplementedError

  def unreadable(self, count, line):
    """InputError of too many unreadable films, the first in a line."""
    raise NotImplementedError

  def known(self):
    """bool[S], stays that may become records."""
    return np.ones(len(self.split), bool)

  def ranges(self):
    """Every file: (split, number in it, first row, row after the last)."""
    out, known = [], self.known()
    for index, split in enumerate(SPLITS):
      rows = ((self.split == index) & known).nonzero()[0]
      for number, i in enumerate(range(0, len(rows), records.SHARD)):
        last = min(i + records.SHARD, len(rows)) - 1
        out.append((split, number, int(rows[i]), int(rows[last]) + 1))
    return out


def write(job, *, threads, memory, quiet=False):
  """Writes what is missing.

  Args:
    job: `Job`.
    threads: cores that may be used.
    memory: bytes that all processes may take together.
    quiet: no progress on stderr.

  Returns:
    ([(split, path, note of `records.write_file`)], Tally).
  """
  (job.folder / "records").mkdir(exist_ok=True)
  ranges = job.ranges()
  todo = [
    r for r in ranges if resume.noted(_note(job, r), _path(job, r)) is None
  ]
  stays = sum(stop - start for *_, start, stop in todo)
  workers = min(threads, max(1, int(memory / EACH)), len(todo))
  found = _Bad(job, ranges, set(todo))
  with Progress("writing records", quiet=quiet) as progress:
    if workers < 2 or stays < ALONE:
      maker = _Maker(job)
      for done, item in enumerate(todo, 1):
        found.check(maker.make(item))
        progress.at(done / len(todo))
    else:
      _spread(job, todo, workers, found, progress)
  return _collect(job, ranges)


def _spread(job, todo, workers, found, progress):
  """Writes the files of `todo` in new processes."""
  # Not forked: threads of DuckDB and others would not come along.
  pool = concurrent.futures.ProcessPoolExecutor(
    workers,
    multiprocessing.get_context("spawn"),
    initializer=_start,
    initargs=(job,),
  )
  try:
    with _deaf():  # The new processes start so: stopping is the parent's.
      futures = [pool.submit(_make, item) for item in todo]
    for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
      found.check(future.result())
      progress.at(done / len(todo))
  except concurrent.futures.process.BrokenProcessPool:
    raise resume.OutOfRoom(
      "a process that writes records was ended from outside, most likely for"
      " want of memory; lower --threads or --memory and give the same command"
      " again: what is finished is kept."
    ) from None
  finally:
    pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _deaf():
  """Holds Ctrl-C back; processes started meanwhile never hear it."""
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(job):
  """Prepares a new process."""
  global _maker
  threading.Thread(target=_follow, daemon=True).start()
  # Without the interpreter's last rites, at which libraries complain.
  multiprocessing.util.Finalize(None, os._exit, (0,), exitpriority=-100)
  _maker = _Maker(job)


def _follow():
  """Ends this process with its parent, however that ends."""
  multiprocessing.parent_process().join()
  os._exit(1)


def _make(item):
  return _maker.make(item)


class _Maker:
  """One process's means to write files."""

  def __init__(self, job):
    self.job = job
    self.features = job.features()
    self.assembler = job.assembler()

  def make(self, item):
    """Writes one file and its note. -> lines of films it could not read."""
    tally = self.job.tally()
    path = _path(self.job, item)
    found = records.write_file(path, self.features, self._examples(item, tally))
    found["tally"] = tally.state()
    resume.note(_note(self.job, item), found, path)
    return tally.bad_films

  def _examples(self, item, tally):
    split, _, start, stop = item
    for first in range(start, stop, CHUNK):
      part = self.assembler.part(first, min(first + CHUNK, stop))
      tally.extend(split, part.examples, self.job.end[part.rows])
      tally.cleaned[split].update(part.counts)
      tally.counts.update(part.counts)
      tally.films += part.films
      tally.bad_films += part.bad_films
      yield from part.examples


class _Bad:
  """Films that could not be read: too many are an error, at once."""

  def __init__(self, job, ranges, todo):
    self.job, self.lines = job, []
    for item in ranges:
      if item not in todo:
        self.check(resume.noted(_note(job, item))["tally"]["bad_films"])

  def check(self, lines):
    self.lines += lines
    if len(self.lines) > max(1, 0.01 * self.job.linked):
      raise self.job.unreadable(len(self.lines), min(self.lines))


def _path(job, item):
  return job.folder / "records" / f"{item[0]}-{item[1]:05}.array_record"


def _note(job, item):
  return _path(job, item).with_suffix(".json")


def _collect(job, ranges):
  """Adds up the notes, in record order."""
  files, tally = [], job.tally()
  for item in ranges:
    met = resume.noted(_note(job, item))
    tally.merge(job.tally().set(met.pop("tally")))
    if met["length"]:
      files.append((item[0], _path(job, item), met))
  return files, tally
