"""Predictions of many stays, a part at a time, to one file, whole or not at all.

Parts lie in FILE.parts until all are there; the same command goes on where it
stopped. They hold predictions of single stays: made from MIMIC's records they
fall under its agreement.
"""

import csv
import json
import pathlib
import shutil

import numpy as np

from medpatch_jax.predict.model import Prediction

FORMATS = (".csv", ".parquet", ".jsonl")


class Parts:
  """Numbered parts of one output."""

  def __init__(self, path, key: dict):
    """Opens the folder beside the file; parts of another `key` are dropped.

    Raises:
      ValueError: the file is there already, or of an unknown kind.
    """
    self.path = pathlib.Path(path)
    if self.path.suffix not in FORMATS:
      raise ValueError(f"--out={path}: wanted a name in {', '.join(FORMATS)}.")
    if self.path.exists():
      raise ValueError(f"--out={path}: is there already; give another name.")
    self.folder = self.path.with_name(self.path.name + ".parts")
    note = self.folder / "key.json"
    known = json.loads(note.read_text("utf-8")) if note.exists() else None
    if known != key:
      shutil.rmtree(self.folder, ignore_errors=True)
      self.folder.mkdir(parents=True)
      note.write_text(json.dumps(key), "utf-8")

  def has(self, number: int) -> bool:
    return self._part(number).exists()

  def write(self, number: int, ids, predictions, labels) -> None:
    """One part; `predictions` are None for stays without any input."""
    lines = [
      json.dumps(row(i, found, labels))
      for i, found in zip(ids, predictions)
      if found is not None
    ]
    partial = self._part(number).with_suffix(".partial")
    partial.write_text("".join(line + "\n" for line in lines), "utf-8")
    partial.rename(self._part(number))

  def finish(self, labels) -> int:
    """Puts the parts together and removes them. -> predicted stays."""
    partial = self.path.with_name(self.path.name + ".partial")
    rows = self._rows()
    if self.path.suffix == ".parquet":
      count = _parquet(partial, rows, labels)
    else:
      write = _csv if self.path.suffix == ".csv" else _jsonl
      with open(partial, "w", encoding="utf-8", newline="") as file:
        count = write(file, rows, labels)
    partial.rename(self.path)
    shutil.rmtree(self.folder)
    return count

  def _part(self, number):
    return self.folder / f"{number:08}.jsonl"

  def _rows(self):
    for part in sorted(self.folder.glob("*.jsonl")):
      with open(part, encoding="utf-8") as file:
        for line in file:
          yield json.loads(line)


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
