"""What the tables hold of a few stays -> their examples, in record order.

Dims: N events, S stays of the call, V variables.
"""

import collections
import dataclasses
import functools
import pathlib

import numpy as np

from data import leakage, records, shards
from data.errors import InputError
from data.tally import Tally
from medpatch_jax import files
from medpatch_jax.input import discretise, examples, images
from medpatch_jax.input import variables as table
from medpatch_jax.input.embeddings import Unreadable
from medpatch_jax.input.tables import embeddings, file, reader
from medpatch_jax.input.tables import rows as sources

# What each process reads, as Parquet files sorted by row: name -> what of the
# checked table of that name, rows of a row group (which is decoded at once).
KEPT = {
  "events": (
    "SELECT row, hour, variable, value, row_no FROM events WHERE"
    f" {sources.USED}",
    30_720,
  ),
  "notes": (
    "SELECT row, kind, hour, text, row_no FROM notes WHERE inside AND text IS"
    " NOT NULL",
    2_048,
  ),
  "images": ("SELECT row, hour, path, row_no FROM images", 30_720),
  # A group is decoded at once, so few of those that hold the arrays.
  "embeddings": (
    "SELECT row, kind, hour, path, tokens, row_no, inside FROM embeddings WHERE"
    " inside",
    2_048,
  ),
}


def widths(variables):
  """Columns of each series."""
  found = table.series(variables).items()
  return {m: len(table.columns(own)) for m, own in found}


def keep(connection, folder, names):
  """Writes what is kept of the tables `names` into `folder`."""
  for name in names:
    sql, group = KEPT[name]
    with files.whole(folder / f"{name}.parquet") as part:
      connection.execute(
        f"COPY ({sql} ORDER BY row) TO {file.quote(part)} (FORMAT parquet,"
        f" COMPRESSION snappy, ROW_GROUP_SIZE {group})"
      )


@dataclasses.dataclass
class Job(shards.Job):
  """Records of a folder of tables.

  Attributes:
    stays: `stays.Stays`.
    kinds: modality -> series, image or text.
    variables: of all series, those of one after those of another.
    root: folder of the tables, which paths start from.
    embedded: kind of embeddings -> `embeddings.Kind`.
  """

  stays: object
  kinds: dict
  variables: tuple
  root: pathlib.Path
  embedded: dict

  def features(self):
    return records.features(
      len(self.stays.label_names),
      widths(self.variables) | {m: e.width for m, e in self.embedded.items()},
      self.kinds,
      self.stays.kinds_of_groups(),
      single=(),
      dtypes={m: e.dtype for m, e in self.embedded.items()},
    )

  def tally(self):
    groups = self.stays.kinds_of_groups()
    counted = [n for n, k in groups.items() if k == "word" or n == "age"]
    labels = len(self.stays.label_names)
    words = leakage.words(self.stays.label_names)
    return Tally(
      self.variables, labels, self.kinds, tuple(counted), words=words
    )

  def assembler(self):
    connection = reader.connect(
      ":memory:",
      threads=1,
      memory=f"{int(shards.EACH / 1e6)}MB",
      temporary=self.folder / "spill",
    )
    for name in KEPT:
      if (path := self.folder / f"{name}.parquet").exists():
        connection.execute(
          f"CREATE VIEW {name} AS SELECT * FROM {file.parquet(path)}"
        )
    return Assembler(
      connection,
      self.stays,
      self.kinds,
      self.variables,
      self.root,
      self.embedded,
    )


@dataclasses.dataclass
class Assembler:
  """Makes examples of what `keep` left.

  Attributes:
    connection: DuckDB, with the tables of `KEPT` that there are.
    stays: `stays.Stays`.
    kinds: modality -> series, image or text.
    variables: of the series.
    root: folder of the tables, which paths start from.
    embedded: kind of embeddings -> `embeddings.Kind`.
  """

  connection: object
  stays: object
  kinds: dict
  variables: tuple
  root: pathlib.Path
  embedded: dict

  def part(self, start, stop):
    """`shards.Part` of the rows [start, stop).

    Stays of which nothing is known are left out.
    """
    inputs = self._series(start, stop)
    if sources.IMAGE in self.kinds:
      inputs[sources.IMAGE] = self._images(start, stop)
    for m, kind in self.kinds.items():
      if kind == "text":
        inputs[m] = self._texts(m, start, stop)
      elif kind == "embedding":
        inputs[m] = self._embeddings(m, start, stop)
    films = len(inputs.get(sources.IMAGE, ()))
    rows = [
      row
      for row in range(start, stop)
      if any(row in found for found in inputs.values())
    ]
    examples = [
      self._example(row, {m: found.get(row) for m, found in inputs.items()})
      for row in rows
    ]
    return shards.Part(examples, rows, collections.Counter(), [], films)

  def _series(self, start, stop):
    """-> modality -> row -> grid f32[T F] of the stays with an event."""
    if "series" not in self.kinds.values():
      return {}
    found = self.connection.execute(
      f"SELECT row - {start} AS stay, hour, variable, value FROM events WHERE"
      f" row >= {start} AND row < {stop} ORDER BY row, hour, row_no"
    ).fetchnumpy()
    kinds = {"stay": int, "hour": float, "variable": int, "value": float}
    columns = [np.asarray(found[n], kind) for n, kind in kinds.items()]
    inputs, first = {}, 0
    for m, own in table.series(self.variables).items():
      of = (columns[2] >= first) & (columns[2] < first + len(own))
      stay, hour, variable, value = (column[of] for column in columns)
      grid, offset = discretise.discretise(
        stay, hour, variable - first, value, self.stays.end[start:stop], own
      )
      inputs[m] = {
        start + int(i): grid[offset[i] : offset[i + 1]] for i in np.unique(stay)
      }
      first += len(own)
    return inputs

  def _images(self, start, stop):
    """-> row -> (bytes, hour)."""
    found = {}
    for number, row, hour, path in self.connection.execute(
      f"SELECT row_no, row, hour, path FROM images WHERE row >= {start} AND"
      f" row < {stop}"
    ).fetchall():
      try:
        found[row] = images.shrink(self.root / path), hour
      except images.Unreadable:
        raise InputError(
          f"images, row {number}: the file can no longer be read; give the same"
          " command again."
        ) from None
    return found

  def _texts(self, kind, start, stop):
    """-> row -> (texts joined by a blank line, hours of each)."""
    grouped = {}
    for row, hour, text in self.connection.execute(
      f"SELECT row, hour, text FROM notes WHERE kind = ? AND row >= {start} AND"
      f" row < {stop} ORDER BY row, hour, row_no",
      [kind],
    ).fetchall():
      texts, hours = grouped.setdefault(row, ([], []))
      texts.append(text)
      hours.append(hour)
    return {r: (examples.join(t), h) for r, (t, h) in grouped.items()}

  def _embeddings(self, kind, start, stop):
    """-> row -> (tokens of all, one after the other, f[T D]; hours of each)."""
    grouped, dtype = {}, self.embedded[kind].dtype
    try:
      for row, hour, array in embeddings.stay(
        self.connection, self.root, kind, start, stop
      ):
        arrays, hours = grouped.setdefault(row, ([], []))
        arrays.append(array)
        hours.append(hour)
    except Unreadable as error:
      raise InputError(str(error)) from None
    return {
      r: (np.concatenate(arrays).astype(dtype), hours)
      for r, (arrays, hours) in grouped.items()
    }

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
        empty = np.zeros((0, self.widths[m]), np.float32)
        example[m] = empty if found[m] is None else found[m]
      elif kind == "embedding":
        empty = np.zeros((0, self.embedded[m].width), self.embedded[m].dtype)
        example[m], hours = found[m] or (empty, [])
        example[f"{m}_hours"] = np.array(hours, np.float32)
      elif kind == "image":
        image, hour = found[m] or (b"", np.nan)
        example[m], example[f"{m}_hour"] = image, np.float32(hour)
      else:
        text, hours = found[m] or ("", [])
        example[m] = text
        example[f"{m}_hours"] = np.array(hours, np.float32)
    return example

  @functools.cached_property
  def widths(self):
    return widths(self.variables)
