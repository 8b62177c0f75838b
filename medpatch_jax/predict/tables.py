"""A folder of tables (docs/own_data.md) -> raw stays, a few at a time.

The tables are read by the code that builds datasets of them
(`medpatch_jax.input.tables`): it refuses the same files in the same words.
What only learning needs (labels, subjects, the table of variables) need not be
there, and is checked where it is. DuckDB sorts each table by stay on disk, so
memory does not grow with them.
"""

import os
import pathlib

import numpy as np

from medpatch_jax.input.tables import (
  embeddings,
  file,
  layout,
  problems,
  reader,
  rows,
  stays,
  variables,
)

COLUMNS = layout.COLUMNS


class Tables:
  """The stays of a folder, by number in the order of their ids.

  Attributes:
    ids: i64[S].
    left: what was left out, in words -> how many rows.
    unread: rows of the table of images whose image cannot be read.
  """

  def __init__(
    self, folder, preparation, work, memory="1GB", skip_unknown=False
  ):
    """Reads and checks every table.

    Args:
      folder: of the tables.
      preparation: `stay.Preparation` of the model.
      work: an existing folder for the database.
      memory: what DuckDB may hold; it spills to `work` beyond.
      skip_unknown: leaves out variables and kinds of notes that the model
        does not know.

    Raises:
      ValueError: lists every problem of the tables, by table, column and row
        (1 is the first after the header).
    """
    self.root = pathlib.Path(folder)
    self._kinds = preparation.kinds
    self._late = preparation.late
    found = problems.Problems(folder, done="predicted")
    opened = layout.open_all(folder, found, learning=False)
    database = pathlib.Path(work) / "tables.duckdb"
    database.unlink(missing_ok=True)
    self._db = reader.connect(
      database, threads=os.cpu_count(), memory=memory, temporary=work
    )
    self.left: dict[str, int] = {}
    self.unread: list[int] = []
    try:
      self._read(opened, preparation, skip_unknown, found)
      found.stop()
    except BaseException:
      self.close()
      raise
    self._tables = opened
    ids = self._db.execute("SELECT stay_id FROM stays ORDER BY row")
    self.ids = np.asarray(ids.fetchnumpy()["stay_id"], np.int64)

  def _read(self, opened, preparation, skip, found):
    """Every table that the model reads, once; drops the others."""
    read = reader.Reader(self._db, found)
    if stays.load(read, opened.get("stays"), learning=False):
      self._db.execute(
        "INSERT INTO stays SELECT row_number() OVER (ORDER BY id) - 1, id,"
        f" hours FROM (SELECT {reader.whole('stay_id')} AS id,"
        f" {reader.real('hours')} AS hours FROM raw)"
      )
    if "variables" in opened:
      variables.load(read, opened.pop("variables"))
    kinds = set(self._kinds.values())
    used = {"events": "series", "notes": "text", "images": "image"}
    used["embeddings"] = "embedding"
    for name, kind in used.items():
      if name in opened and (kind not in kinds or not opened[name].complete):
        del opened[name]
    if "events" in opened:
      recipe = preparation.recipe
      self._left(
        "events of a variable",
        rows.events(
          read,
          opened["events"],
          recipe.variables,
          recipe.censored,
          "mimic" if recipe.rules else "tables",
          skip,
        ),
      )
    if "images" in opened:
      self.unread = rows.images(read, opened["images"], self.root)
    if "notes" in opened:
      texts = {
        m: m in self._late for m, kind in self._kinds.items() if kind == "text"
      }
      _, skipped = rows.notes(read, opened["notes"], texts, skip)
      self._left("notes of a kind", skipped)

    if "embeddings" in opened:
      shapes = preparation.shapes
      known = {
        m: embeddings.Kind(model, shapes.columns[m])
        for m, model in preparation.embedded.items()
      }
      _, skipped = embeddings.load(
        read, opened["embeddings"], self.root, known, skip
      )
      self._left("embeddings of a kind", skipped)

  def _left(self, what, count):
    if count:
      self.left[f"{what} that the model does not know"] = count

  def part(self, start: int, stop: int) -> list[dict]:
    """Raw stays [start, stop), as `Model.predict_batch` takes them."""
    found = [
      {"hours": hours} for _, hours in self._rows("stays", "hours", start, stop)
    ]
    for m, kind in self._kinds.items():
      if kind == "series" and "events" in self._tables:
        columns = "hour, (SELECT name FROM known k WHERE k.variable ="
        columns += " events.variable), word"
        more = " AND variable IN (SELECT variable FROM known WHERE modality ="
        more += f" {file.quote(m)})"
        for row, *event in self._rows("events", columns, start, stop, more):
          found[row - start].setdefault(m, []).append(tuple(event))
      if kind == "image" and "images" in self._tables:
        for row, hour, path in self._rows("images", "hour, path", start, stop):
          found[row - start][m] = (hour, self.root / path)
      if kind == "text" and "notes" in self._tables:
        more = f" AND text IS NOT NULL AND kind = {file.quote(m)}"
        columns = "hour, text"
        for row, *note in self._rows("notes", columns, start, stop, more):
          found[row - start].setdefault(m, []).append(tuple(note))
      if kind == "embedding" and "embeddings" in self._tables:
        for row, hour, array in embeddings.stay(
          self._db, self.root, m, start, stop
        ):
          found[row - start].setdefault(m, []).append((hour, array))
    return found

  def row(self, number: int) -> int:
    """Row of the table stays that holds the stay of this number."""
    found = self._db.execute(
      f"SELECT row_no FROM raw WHERE ({reader.whole('stay_id')}) ="
      f" {int(self.ids[number])}"
    )
    return found.fetchone()[0]

  def stays_file(self) -> str:
    return self._tables["stays"].file

  def close(self) -> None:
    self._db.close()

  def _rows(self, name, columns, start, stop, more=""):
    """(row, *columns) of some stays, in order of time and of the table."""
    order = "row" if name == "stays" else "row, hour, row_no"
    return self._db.execute(
      f"SELECT row, {columns} FROM {name} WHERE row >= {int(start)} AND row <"
      f" {int(stop)}{more} ORDER BY {order}"
    ).fetchall()
