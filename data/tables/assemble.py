"""What the tables hold of a few stays -> their examples, in record order.

Dims: N events, S stays of the call, V variables.
"""

import dataclasses
import pathlib

import numpy as np

from data import images
from data.tables import sources
from medpatch_jax.input import discretise
from medpatch_jax.input import variables as table

# Stays assembled at once. Bounds memory, whatever the size of the tables.
CHUNK = 64


@dataclasses.dataclass
class Part:
  """Examples of consecutive stays and what was met on the way.

  Attributes:
    examples: dicts for `records.Writer`; stays of which nothing is known are
      left out.
    bad: rows of the table images that could not be read.
    films: how many images were opened.
  """

  examples: list
  bad: list
  films: int


@dataclasses.dataclass
class Assembler:
  """Makes examples of what `sources` left in `connection`.

  Attributes:
    connection: DuckDB.
    stays: `stays.Stays`.
    kinds: modality -> series, image or text.
    variables: of the series.
    root: folder of the tables, which paths of images start from.
  """

  connection: object
  stays: object
  kinds: dict
  variables: tuple
  root: pathlib.Path

  def part(self, start, stop):
    """Examples of the rows [start, stop)."""
    cursor = self.connection.cursor()
    try:
      inputs, bad = {}, []
      if sources.SERIES in self.kinds:
        inputs[sources.SERIES] = self._series(cursor, start, stop)
      if sources.IMAGE in self.kinds:
        inputs[sources.IMAGE], bad = self._images(cursor, start, stop)
      for m, kind in self.kinds.items():
        if kind == "text":
          inputs[m] = self._texts(cursor, m, start, stop)
    finally:
      cursor.close()
    films = len(inputs.get(sources.IMAGE, ())) + len(bad)
    examples = [
      self._example(row, {m: found.get(row) for m, found in inputs.items()})
      for row in range(start, stop)
      if any(row in found for found in inputs.values())
    ]
    return Part(examples, bad, films)

  def _series(self, cursor, start, stop):
    """-> row -> grid f32[T F] of the stays with an event."""
    found = cursor.execute(
      f"SELECT row - {start} AS stay, hour, variable, value FROM events WHERE"
      f" state = {sources.KEPT} AND row >= {start} AND row < {stop}"
      " ORDER BY row, hour, row_no"
    ).fetchnumpy()
    stay = np.asarray(found["stay"], np.int64)
    grid, offset = discretise.discretise(
      stay,
      np.asarray(found["hour"], np.float64),
      np.asarray(found["variable"], np.int64),
      np.asarray(found["value"], np.float64),
      self.stays.end[start:stop],
      self.variables,
    )
    return {
      start + int(i): grid[offset[i] : offset[i + 1]] for i in np.unique(stay)
    }

  def _images(self, cursor, start, stop):
    """-> (row -> (bytes, hour), rows of the table that are unreadable)."""
    found, bad = {}, []
    for number, row, hour, path in cursor.execute(
      f"SELECT row_no, row, hour, path FROM images WHERE row >= {start} AND"
      f" row < {stop}"
    ).fetchall():
      try:
        found[row] = images.shrink(self.root / path), hour
      except images.Unreadable:
        bad.append(number)
    return found, bad

  def _texts(self, cursor, kind, start, stop):
    """-> row -> (texts joined by a blank line, hours of each)."""
    grouped = {}
    for row, hour, text in cursor.execute(
      "SELECT row, hour, text FROM notes WHERE kind = ? AND inside AND text IS"
      f" NOT NULL AND row >= {start} AND row < {stop} ORDER BY row, hour,"
      " row_no",
      [kind],
    ).fetchall():
      texts, hours = grouped.setdefault(row, ([], []))
      texts.append(text)
      hours.append(hour)
    return {r: ("\n\n".join(t), h) for r, (t, h) in grouped.items()}

  def _example(self, row, found):
    """The record of a stay; `found` is None where a modality is absent."""
    stays = self.stays
    example = {
      "stay_id": int(stays.stay_id[row]),
      "subject_id": int(stays.subject_id[row]),
      "present": np.array([found[m] is not None for m in self.kinds]),
      "label": stays.label[row],
    }
    for name, values in stays.groups.items():
      example[name] = values[row]
    for m, kind in self.kinds.items():
      if kind == "series":
        example[m] = self._empty if found[m] is None else found[m]
      elif kind == "image":
        image, hour = found[m] or (b"", np.nan)
        example[m], example[f"{m}_hour"] = image, np.float32(hour)
      else:
        text, hours = found[m] or ("", [])
        example[m] = text
        example[f"{m}_hours"] = np.array(hours, np.float32)
    return example

  @property
  def _empty(self):
    """The series of a stay without an event."""
    columns = len(table.columns(self.variables))
    return np.zeros((0, columns), np.float32)
