"""Predictions of many stays, a part at a time, to one file, whole or not at all.

Parts lie in FILE.parts until all are there; the same command goes on where it
stopped. They hold predictions of single stays: made from MIMIC's records they
fall under its agreement.
"""

import contextlib
import csv
import json
import pathlib
import shutil
import zlib

import numpy as np

from medpatch_jax import files
from medpatch_jax.predict.model import Prediction

FORMATS = (".csv", ".parquet", ".jsonl")
DONE = "done.json"


class Parts:
  """Numbered parts of one output, for one process at a time.

  Use it in a `with`: what is finished stays after a stop; bad input leaves
  nothing.

  Attributes:
    work: a folder for raw rows, gone at the end, however that is.
    done: how many stays are in the finished file, None while there is none.
  """

  def __init__(self, path, key: dict):
    """Opens the folder beside the file; parts of another `key` are dropped.

    Raises:
      ValueError: the file is there already, of an unknown kind, or another
        process writes it.
    """
    self.path = pathlib.Path(path)
    if self.path.suffix not in FORMATS:
      raise ValueError(f"--out={path}: wanted a name in {', '.join(FORMATS)}.")
    self.folder = self.path.with_name(self.path.name + ".parts")
    self.work = self.folder / "work"
    there = self.folder.exists()
    if self.path.exists() and not there:
      self._taken()
    self._lock = files.hold(self.folder)
    if self._lock is None:
      raise ValueError(
        f"--out={path}: another process is writing it; wait for it, or give"
        " another name."
      )
    try:
      self._open(key)
    except BaseException:
      self._lock.close()
      raise

  def _open(self, key):
    same = self._note("key.json") == key
    self.done = self._finished() if same and self.path.exists() else None
    if self.path.exists() and self.done is None:
      self._remove()
      self._taken()
    if not same:
      self._empty()
      files.write_json(self.folder / "key.json", key)
    shutil.rmtree(self.work, ignore_errors=True)
    self.work.mkdir()

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    shutil.rmtree(self.work, ignore_errors=True)
    full = files.full(error)
    if kind is None or (issubclass(kind, ValueError) and not full):
      self._remove()
    self._lock.close()

  def _taken(self):
    raise ValueError(f"--out={self.path}: is there already; give another name.")

  def _note(self, name) -> dict | None:
    """A note of an earlier process, None where there is no whole one."""
    try:
      return files.read_json(self.folder / name, dict, "made anew")
    except files.Damaged:
      return None

  def _finished(self) -> int | None:
    """How many stays the file holds, if it is the one of these parts."""
    known = self._note(DONE)
    if known and files.crc(self.path) == known["crc"]:
      return known["count"]
    return None

  def _empty(self):
    for path in self.folder.iterdir():
      if path.is_dir():
        shutil.rmtree(path)
      elif path.name not in ("lock", DONE):
        path.unlink()

  def _remove(self):
    """Removes the folder; that all is done is forgotten last."""
    with contextlib.suppress(OSError):
      self._empty()
      for name in ("lock", DONE):
        (self.folder / name).unlink(missing_ok=True)
      self.folder.rmdir()

  def has(self, number: int) -> bool:
    """Whether a part is there as it was written."""
    path = self._part(number)
    try:
      total, text = path.read_text("utf-8").split("\n", 1)
    except (OSError, ValueError):
      return False
    return total == _sum(text)

  def write(self, number: int, ids, predictions, labels) -> None:
    """One part; `predictions` are None for stays without any input."""
    lines = [
      json.dumps(row(i, found, labels))
      for i, found in zip(ids, predictions)
      if found is not None
    ]
    text = "".join(line + "\n" for line in lines)
    files.write_text(self._part(number), f"{_sum(text)}\n{text}")

  def finish(self, labels) -> int:
    """Puts the parts together. -> predicted stays."""
    made, rows = self.work / "whole", self._rows()
    with files.whole(made) as part:
      if self.path.suffix == ".parquet":
        count = _parquet(part, rows, labels)
      else:
        write = _csv if self.path.suffix == ".csv" else _jsonl
        with open(part, "w", encoding="utf-8", newline="") as file:
          count = write(file, rows, labels)
    # For the same command, if this one is stopped before it has cleaned up.
    note = {"crc": files.crc(made), "count": count}
    files.write_json(self.folder / DONE, note)
    made.rename(self.path)
    return count

  def _part(self, number):
    return self.folder / f"{number:08}.jsonl"

  def _rows(self):
    for part in sorted(self.folder.glob("*.jsonl")):
      with open(part, encoding="utf-8") as file:
        next(file)  # The checksum.
        for line in file:
          yield json.loads(line)


def _sum(text: str) -> str:
  return f"{zlib.crc32(text.encode()):08x}"


def row(stay_id, found: Prediction, labels) -> dict:
  """A prediction as a line of JSON; confidences of tokens are left out."""

  def by_label(values):
    return dict(zip(labels, np.asarray(values, np.float64).tolist()))

  error = np.where(
    np.isnan(found.calibration_error), None, found.calibration_error
  )
  return {
    "stay_id": int(stay_id),
    "probability": by_label(found.probability),
    "calibration_error": dict(zip(labels, error.tolist())),
    "logits": {n: by_label(x) for n, x in found.logits.items()},
    "late_weights": {n: by_label(x) for n, x in found.late_weights.items()},
    "warnings": list(found.warnings),
  }


def _flat(line, labels):
  """Columns of a table: the id, a probability for each label, warnings."""
  probabilities = [line["probability"][n] for n in labels]
  return [line["stay_id"], *probabilities, "; ".join(line["warnings"])]


def columns(labels) -> list[str]:
  """Of .csv and .parquet; one label's is called probability."""
  names = labels if len(labels) > 1 else ("probability",)
  return ["stay_id", *names, "warnings"]


def _csv(file, rows, labels) -> int:
  lines, count = csv.writer(file, lineterminator="\n"), 0
  lines.writerow(columns(labels))
  for line in rows:
    stay, *p, warnings = _flat(line, labels)
    lines.writerow([stay, *(f"{x:.6f}" for x in p), warnings])
    count += 1
  return count


def _jsonl(file, rows, labels) -> int:
  del labels
  count = 0
  for line in rows:
    file.write(json.dumps(line) + "\n")
    count += 1
  return count


def _parquet(path, rows, labels, group: int = 10_000) -> int:
  import pyarrow as pa
  from pyarrow import parquet

  names = columns(labels)
  types = [pa.int64(), *[pa.float64()] * len(labels), pa.string()]
  schema = pa.schema(list(zip(names, types)))
  count, waiting = 0, []
  with parquet.ParquetWriter(path, schema) as file:

    def flush():
      arrays = [pa.array(c, t) for c, t in zip(zip(*waiting), types)]
      file.write_table(pa.Table.from_arrays(arrays, schema=schema))
      waiting.clear()

    for line in rows:
      waiting.append(_flat(line, labels))
      count += 1
      if len(waiting) == group:
        flush()
    if waiting:
      flush()
  return count
