"""A folder of tables (docs/own_data.md) -> raw stays, a few at a time.

stays (stay_id, hours), events, notes and images are read; labels, splits and
groups are not looked at, and need not be there. DuckDB sorts each table by
stay on disk, so memory does not grow with them.
"""

import os
import pathlib

import numpy as np

COLUMNS = {
  "stays": ("stay_id", "hours"),
  "events": ("stay_id", "hour", "variable", "value"),
  "notes": ("stay_id", "kind", "hour", "text"),
  "images": ("stay_id", "hour", "path"),
}
SUFFIXES = (".parquet", ".csv.gz", ".csv")
# What the builder takes for a time on the edge of the window.
EDGE = 1e-6
_WHOLE = r"-?\d{1,18}(\.0+)?"


class Tables:
  """The stays of a folder, by number in the order of their ids."""

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
      ValueError: a table is missing, damaged or not as it must be; names
        table, column and row (1 is the first after the header).
    """
    import duckdb  # Absent on some GPU images.

    self.root = pathlib.Path(folder)
    if not self.root.is_dir():
      raise ValueError(f"--tables={folder}: wanted a folder of tables.")
    self._error = duckdb.Error
    kinds = self._kinds = preparation.kinds
    of = {kind: m for m, kind in kinds.items() if kind != "text"}
    self._series, self._image = of.get("series"), of.get("image")
    (pathlib.Path(work) / "tables.duckdb").unlink(missing_ok=True)
    self._db = duckdb.connect(str(pathlib.Path(work) / "tables.duckdb"))
    self._db.execute(f"SET memory_limit='{memory}'")
    self._db.execute(f"SET temp_directory={_quote(work)}")
    self.files = {n: path for n in COLUMNS if (path := self._find(n))}
    if "stays" not in self.files:
      raise ValueError(f"{self.root}: has no table stays.")
    self._read("stays", "SELECT row_no, id, hours FROM $ ORDER BY id")
    self._check("stays", "hours", "hours IS NULL OR NOT (hours > 0)", "above 0")
    self._check("stays", "stay_id", "id IN (SELECT id FROM stays GROUP BY id"
                " HAVING count(*) > 1)", "each once")  # fmt: skip
    self.left: dict[str, int] = {}
    known = [v.name for v in preparation.recipe.variables]
    self._rows(known, skip_unknown)
    found = self._db.execute("SELECT id FROM stays ORDER BY id").fetchnumpy()
    self.ids = np.asarray(found["id"], np.int64)

  def _rows(self, variables, skip_unknown):
    """Events, notes and images."""
    inside = f"r.hour >= -{EDGE} AND r.hour <= s.hours + {EDGE}"
    for name, columns, used in (
      ("events", "variable, value", self._series),
      ("notes", "kind, text", "text" in self._kinds.values()),
      ("images", "path", self._image),
    ):
      if name in self.files and used:
        self._read(
          name,
          f"SELECT r.row_no, r.id, r.hour, {columns}, {inside} AS inside FROM $"
          " r LEFT JOIN stays s ON s.id = r.id ORDER BY r.id, r.hour, r.row_no",
        )
      else:
        self.files.pop(name, None)
    texts = [m for m, kind in self._kinds.items() if kind == "text"]
    for name, column, known in (
      ("events", "variable", variables),
      ("notes", "kind", texts),
    ):
      if name not in self.files:
        continue
      names = ", ".join(map(_quote, known))
      unknown = f"{column} IS NULL OR {column} NOT IN ({names})"
      if skip_unknown:
        query = f"DELETE FROM {name} WHERE {unknown}"
        count = self._db.execute(query).fetchone()[0]
        self.left[f"{name} of a {column} that the model does not know"] = count
      wanted = f"one of {', '.join(known)}; --skip_unknown leaves others out"
      self._check(name, column, unknown, wanted)

  def part(self, start: int, stop: int) -> list[dict]:
    """Raw stays [start, stop), as `Model.predict_batch` takes them.

    Raises:
      ValueError: a path of an image leads out of the folder.
    """
    ids = self.ids[start:stop]
    within = f"id >= {int(ids[0])} AND id <= {int(ids[-1])}"
    hours = self._db.execute(
      f"SELECT id, hours FROM stays WHERE {within}"
    ).fetchall()
    stays = {i: {"hours": h} for i, h in hours}
    for m, kind in self._kinds.items():
      if kind == "series" and "events" in self.files:
        rows = "SELECT id, hour, variable, value FROM events"
        for i, *row in self._ordered(rows, within):
          stays[i].setdefault(m, []).append(tuple(row))
      if kind == "image" and "images" in self.files:
        rows = "SELECT id, row_no, path FROM images"
        for i, number, path in self._ordered(rows, within, " AND inside"):
          stays[i][m] = self._path(number, path)  # The last one stays.
      if kind == "text" and "notes" in self.files:
        rows = "SELECT id, hour, text FROM notes"
        more = f" AND inside AND text IS NOT NULL AND kind = {_quote(m)}"
        for i, hour, text in self._ordered(rows, within, more):
          stays[i].setdefault(m, []).append((hour, text))
    return [stays[int(i)] for i in ids]

  def row(self, number: int) -> int:
    """Row of the table stays that holds the stay of this number."""
    found = self._db.execute(
      f"SELECT row_no FROM stays WHERE id = {int(self.ids[number])}"
    )
    return found.fetchone()[0]

  def close(self) -> None:
    self._db.close()

  def _ordered(self, rows, within, more=""):
    return self._db.execute(
      f"{rows} WHERE {within}{more} ORDER BY id, hour, row_no"
    ).fetchall()

  def _path(self, row, path):
    """A file below the folder, links followed.

    Raises:
      ValueError: it is none.
    """
    file = os.path.realpath(self.root / path)
    if not file.startswith(os.path.realpath(self.root) + os.sep):
      what = "leads outside the folder; wanted a path below it"
    elif not os.path.isfile(file):
      what = "names no file of the folder"
    else:
      return file
    raise ValueError(
      f"{self.files['images'].name}, column path: {what} (row {row})."
    )

  def _find(self, name):
    paths = [p for s in SUFFIXES if (p := self.root / (name + s)).is_file()]
    if len(paths) > 1:
      names = " and ".join(p.name for p in paths)
      raise ValueError(f"{self.root}: {name} is there as {names}; leave one.")
    return paths[0] if paths else None

  def _read(self, name, query):
    """One table, once, into the database; `$` in the query is the file."""
    path = self.files[name]
    if path.suffix == ".parquet":
      source = f"read_parquet({_quote(path)})"
    else:
      source = (
        f"read_csv({_quote(path)}, header=true, all_varchar=true, delim=',',"
        " quote='\"', escape='\"', parallel=false, max_line_size=16000000,"
        " auto_detect=true, sample_size=1)"
      )
    try:
      header = [c for c, *_ in self._db.execute(
        f"DESCRIBE SELECT * FROM {source}").fetchall()]  # fmt: skip
      for column in COLUMNS[name]:
        if column not in header:
          raise ValueError(f"{path.name}: column {column} is missing.")
      columns = ", ".join(_COLUMN[c] for c in COLUMNS[name])
      file = f"(SELECT row_number() OVER () AS row_no, {columns} FROM {source})"
      self._db.execute(f"CREATE TABLE {name} AS {query.replace('$', file)}")
    except self._error as error:
      raise ValueError(
        f"{path.name}: is damaged or no such table ({type(error).__name__})."
      ) from None
    self._check(name, "stay_id", "id IS NULL", "a whole number")
    if name != "stays":
      self._check(
        name, "hour", "hour IS NULL OR NOT isfinite(hour)", "a number"
      )
      self._check(name, "stay_id", "id NOT IN (SELECT id FROM stays)",
                  "one of the table stays")  # fmt: skip

  def _check(self, name, column, condition, wanted):
    rows = self._db.execute(
      f"SELECT row_no FROM {name} WHERE {condition} ORDER BY row_no LIMIT 6"
    ).fetchall()
    if rows:
      shown = ", ".join(str(r) for (r,) in rows[:5])
      more = " and more" if len(rows) > 5 else ""
      raise ValueError(
        f"{self.files[name].name}, column {column}: wanted {wanted} (row"
        f" {shown}{more})."
      )


def _quote(text) -> str:
  """Text as an SQL literal."""
  return "'" + str(text).replace("'", "''") + "'"


def _text(column):
  trimmed = f"trim(CAST({column} AS VARCHAR), ' \t\r\n')"
  return f"nullif({trimmed}, '')"


def _whole(column):
  word = _text(column)
  return (
    f"CASE WHEN regexp_full_match({word}, '{_WHOLE}') THEN"
    f" CAST(regexp_extract({word}, '^-?\\d+') AS BIGINT) END"
  )


def _real(column):
  return f"TRY_CAST({_text(column)} AS DOUBLE)"


_COLUMN = {
  "stay_id": f"{_whole('stay_id')} AS id",
  **{c: f"{_real(c)} AS {c}" for c in ("hour", "hours")},
  **{
    c: f"{_text(c)} AS {c}"
    for c in ("variable", "value", "kind", "text", "path")
  },
}
