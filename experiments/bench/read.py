"""How fast records are read: `benchmark --what=read`.

Writes records with films of the size that a build stores (short side 512), or
takes those of a built dataset, and reads them in random order: from a cold and
from a warm cache, then with films decoded to 384 x 384 as stage 1 takes them,
by one thread and by one for each core.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import tempfile
import time

import numpy as np

from data import records, resume
from data.synthetic import films
from medpatch_jax import presets, schema
from medpatch_jax.input import dataset, examples

TASK = "phenotyping"
# Operations of one film in stage 1: ViT-S/16 at 384 pixels, 12.4 billion
# multiplications and additions forward, twice that backward.
FILM = 3 * 2 * 12.4e9
# What an H100 does of them in a second: bfloat16 at its peak, and the share
# that a ViT of this size reaches as a rule. Assumed: none was at hand.
H100, SHARE = 989e12, 0.4


def run(stays, data_dir, task, folder, threads):
  """Prints the whole measurement.

  Args:
    stays: records to write where no dataset is given.
    data_dir, task: a built dataset, or None.
    folder: where records are written; None for a temporary folder.
    threads: of the last line.
  """
  with contextlib.ExitStack() as stack:
    if data_dir is None:
      folder = folder or stack.enter_context(
        tempfile.TemporaryDirectory(dir=".")
      )
      task = TASK
      data_dir = write(pathlib.Path(folder), stays)
    data = dataset.Dataset(data_dir, task)
    _measure(data, threads)


def write(folder, stays):
  """Records of `stays` stays of 48 hours, each with a film and two notes.

  A note is one window of BERT's, nearly full.

  Returns:
    The folder, a data_dir with `TASK`.
  """
  shown = np.zeros(films.NUM_LABELS, bool)
  rng = np.random.default_rng(0)
  drawn = [
    films.encode(films.render(rng, shown, False, 512))
    for _ in range(min(stays, 64))
  ]
  columns = 76
  features = records.features(25, {"ehr": columns})
  path = folder / TASK / records.VERSION
  path.mkdir(parents=True, exist_ok=True)
  note = "No acute change of the lungs is seen. " * 56
  example = {
    "ehr": rng.standard_normal((48, columns), np.float32),
    "rr": note,
    "dn": note,
    "present": np.ones(4, bool),
    "label": np.zeros(25, np.float32),
    "age": np.float32(60),
    "gender": "F",
    "ethnicity": "other",
    "cxr_hour": np.float32(1),
    "rr_hours": np.ones(1, np.float32),
    "dn_hour": np.float32(90),
  }
  writer = records.Writer(path, TASK, features)
  for first in range(0, stays, records.SHARD):
    part = path / f"{first}.array_record"
    rows = range(first, min(first + records.SHARD, stays))
    met = records.write_file(
      part,
      features,
      (
        example | {"stay_id": i, "subject_id": i, "cxr": drawn[i % len(drawn)]}
        for i in rows
      ),
    )
    writer.adopt("train", part, met)
    part.unlink()
  empty = {"hours": [], "present": [], "subject": []}
  empty["characters"] = {"rr": [], "dn": []}
  full = {
    "hours": [48] * stays,
    "present": [15] * stays,
    "subject": list(range(stays)),
    "characters": {m: [len(note)] * stays for m in ("rr", "dn")},
  }
  writer.finish(
    {
      "label_names": list(schema.TASKS[TASK].labels),
      "columns": [f"c{i}" for i in range(columns)],
      "modalities": list(schema.MODALITIES),
      "mean": [0.0] * columns,
      "std": [1.0] * columns,
      "index": {"train": full, "validation": empty, "test": empty},
    }
  )
  return folder


def _measure(data, threads):
  split = "train"
  order = np.random.default_rng(0).permutation(data.size(split))
  files = sorted(data.path.glob("*-train.array_record*"))
  total = sum(f.stat().st_size for f in files)
  print(
    f"{len(order):,} records in {len(files)} files of at most"
    f" {records.SHARD}, {resume.size(total)}; {os.cpu_count()} cores, load"
    f" {os.getloadavg()[0]:.1f}"
  )
  for name in ("cold", "warm"):
    source = data.source(split, ("cxr", "ehr", "rr"))
    if name == "cold":
      forget(files)
    seconds = _seconds(lambda i, s=source: s[i], order, 1)
    print(
      f"read, {name} cache, 1 thread     {len(order) / seconds:8,.0f} records/s"
      f" {total / seconds / 1e6:8,.0f} MB/s"
    )
  column = data.modalities.index("cxr")
  rows = order[data.present(split)[order, column]]
  size = presets.PRESETS["base"].image_size
  source = data.source(split, ("cxr",))

  def film(i):
    return examples.image(source[i]["cxr"], size)

  rates = []
  for n in dict.fromkeys((1, threads)):
    rates.append(len(rows) / _seconds(film, rows, n))
    print(f"read and decoded, {n} threads      {rates[-1]:8,.0f} films/s")
  most = H100 * SHARE / FILM
  print(
    f"One H100 would train on about {most:,.0f} films/s in stage 1, were it to"
    f" reach {SHARE:.0%} of its peak in bfloat16 (not measured: none here): as"
    f" many as {most / rates[0]:.0f} cores like these decode."
  )


def forget(files):
  """Asks the system to drop what it holds of files in memory."""
  for path in files:
    with open(path, "rb") as file:
      os.fsync(file.fileno())
      os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _seconds(read, rows, threads):
  """How long it takes to read rows in this order."""
  start = time.perf_counter()
  if threads == 1:
    for i in rows:
      read(int(i))
  else:
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
      for _ in pool.map(read, map(int, rows)):
        pass
  return time.perf_counter() - start
