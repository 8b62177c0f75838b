"""Finds the tables of a folder and their columns; reads them with DuckDB.

docs/own_data.md describes the format.
"""

import csv
import dataclasses
import gzip
import io
import pathlib
import zlib

import duckdb

from data.errors import InputError, nearest
from data.progress import Progress

SUFFIXES = (".parquet", ".csv.gz", ".csv")
# Table -> (columns it must have, columns it may have); None for any others,
# a prefix stands for every column that begins with it.
COLUMNS = {
  "stays": (
    ("stay_id", "subject_id", "hours"),
    ("split", "label_", "group_"),
  ),
  "variables": (("name",), ("categories", "normal", "low", "high", "unit")),
  "events": (("stay_id", "hour", "variable", "value"), None),
  "notes": (("stay_id", "kind", "hour", "text"), None),
  "images": (("stay_id", "hour", "path"), None),
}
# Damaged lines remembered of a file.
MOST = 1000


@dataclasses.dataclass
class Table:
  """A file whose columns have been checked.

  Attributes:
    name: key of `COLUMNS`.
    path: the file.
    header: its columns, in order.
    rows: data rows, once it has been read.
  """

  name: str
  path: pathlib.Path
  header: list[str]
  rows: int = 0
  # As the build report names them; a damaged row ends the build.
  bad_count: int = 0
  bad: tuple = ()

  @property
  def file(self):
    return self.path.name


def files(root) -> list[pathlib.Path]:
  """Every file that may be a table."""
  root = pathlib.Path(root)
  paths = [root / f"{name}{suffix}" for name in COLUMNS for suffix in SUFFIXES]
  return [path for path in paths if path.is_file()]


def open_all(root, problems) -> dict[str, Table]:
  """Finds every table and checks its columns; name -> Table."""
  root = pathlib.Path(root)
  if not root.is_dir():
    found = "a file" if root.exists() else "nothing"
    raise InputError(f"--tables={root}: found {found}, wanted a folder.")
  opened, there = {}, set()
  for name in COLUMNS:
    paths = [
      p for suffix in SUFFIXES if (p := root / f"{name}{suffix}").is_file()
    ]
    there |= {name} if paths else set()
    if len(paths) > 1:
      names = " and ".join(p.name for p in paths)
      problems.add(name, f"is there as {names}; leave one")
    elif paths and (header := _header(paths[0], problems)) is not None:
      opened[name] = Table(name, paths[0], header)
      _columns(opened[name], problems)
    if name == "stays" and not paths:
      wanted = " or ".join(f"stays{s}" for s in SUFFIXES)
      problems.add("stays", f"is missing; wanted {wanted}")
  if ("events" in there) != ("variables" in there):
    missing = "variables" if "events" in there else "events"
    problems.add(missing, "is missing; events and variables are given together")
  if not {"events", "notes", "images"} & there:
    problems.add(
      "events, notes, images", "are all missing; wanted at least one"
    )
  return opened


def _header(path, problems):
  """Column names of a file, or None with the reason in `problems`."""
  if path.suffix == ".parquet":
    try:
      with duckdb.connect() as connection:
        found = connection.execute(
          f"DESCRIBE SELECT * FROM read_parquet({quote(path)})"
        ).fetchall()
    except duckdb.Error:
      problems.add(path.name, "is no Parquet file, or is cut off")
      return None
    return [name for name, *_ in found]
  opener = gzip.open if path.suffix == ".gz" else open
  try:
    with opener(path, "rb") as file:
      line = file.readline(1 << 20)
    text = line.decode("utf-8-sig")
  except UnicodeDecodeError:
    problems.add(path.name, "line 1 is not UTF-8 text")
    return None
  except (OSError, EOFError, zlib.error):
    problems.add(path.name, "cannot be read; is it cut off, or not gzip?")
    return None
  if not text.strip():
    problems.add(path.name, "is empty; wanted a header line and rows")
    return None
  return [c.strip() for c in next(csv.reader(io.StringIO(text)))]


def _columns(table, problems):
  """Checks the names of a table's columns."""
  must, may = COLUMNS[table.name]
  for column in must:
    if column not in table.header:
      problems.add(
        table.file,
        f"is missing; found {len(table.header)} columns."
        f"{nearest(column, table.header)}",
        column,
      )
  folded = [c.casefold() for c in table.header]
  for column in sorted(set(table.header)):
    if folded.count(column.casefold()) > 1:
      problems.add(table.file, "is there twice", column)
  if may is None:
    return
  prefixes = tuple(m for m in may if m.endswith("_"))
  for column in table.header:
    named = column.startswith(prefixes) and column not in prefixes
    if not (column in must or column in may or (prefixes and named)):
      wanted = ", ".join(
        must + tuple(f"{m}..." if m in prefixes else m for m in may)
      )
      problems.add(table.file, f"is unknown; wanted {wanted}", column)


def quote(text):
  """Text as an SQL literal."""
  return "'" + str(text).replace("'", "''") + "'"


def name(column):
  """A column's name in SQL."""
  return '"' + column.replace('"', '""') + '"'


def scan(table):
  """SQL that reads a table, its rows numbered from 1 in column `row_no`."""
  if table.path.suffix == ".parquet":
    source = f"read_parquet({quote(table.path)})"
  else:
    spec = ", ".join(f"{quote(c)}: 'VARCHAR'" for c in table.header)
    # A quoted line break must not be taken for the end of a row, which two
    # readers in the middle of a plain file could do.
    source = (
      f"read_csv({quote(table.path)}, header=true, auto_detect=false,"
      f" delim=',', quote='\"', escape='\"', columns={{{spec}}},"
      f" parallel=false, max_line_size=16000000, store_rejects=true,"
      f" rejects_table='bad_{table.name}',"
      f" rejects_scan='scan_{table.name}', rejects_limit={MOST})"
    )
  return f"(SELECT *, row_number() OVER () AS row_no FROM {source})"


def connect(path, *, threads, memory, temporary):
  """A DuckDB database that keeps within `memory` (as "2GB") by spilling."""
  connection = duckdb.connect(str(path))
  connection.execute(f"SET threads={int(threads)}")
  connection.execute(f"SET memory_limit={quote(memory)}")
  connection.execute(f"SET temp_directory={quote(temporary)}")
  connection.execute("SET enable_progress_bar=true")
  connection.execute("SET enable_progress_bar_print=false")
  return connection


def load(connection, table, sql, problems, quiet=False):
  """Runs `sql`, which scans `table` once; False if the file is damaged."""
  progress = Progress(
    f"reading {table.file}",
    poll=lambda: connection.query_progress() / 100,
    quiet=quiet,
  )
  try:
    with progress:
      connection.execute(sql)
  except duckdb.Error as error:
    problems.add(table.file, _explain(error))
    return False
  if table.path.suffix == ".parquet":
    return True
  damaged = connection.execute(
    "SELECT first(error_type ORDER BY line), list(DISTINCT line ORDER BY line)"
    f" FROM bad_{table.name} GROUP BY error_type ORDER BY min(line)"
  ).fetchall()
  connection.execute(f"DROP TABLE bad_{table.name}")
  connection.execute(f"DROP TABLE scan_{table.name}")
  for kind, lines in damaged:
    # Rows cannot be numbered past a damaged line.
    what = f"{_KINDS.get(kind, 'damaged')}; no other row of it was checked"
    problems.add(table.file, what, rows=lines, unit="line")
  return not damaged


_KINDS = {
  "MISSING COLUMNS": "too few columns",
  "TOO MANY COLUMNS": "too many columns",
  "UNQUOTED VALUE": "a quote that does not close",
  "INVALID ENCODING": "no UTF-8 text",
  "LINE SIZE OVER MAXIMUM": "a line over 16 MB",
}


def _explain(error):
  """What DuckDB says, without content."""
  text = str(error).upper()
  if isinstance(error, duckdb.OutOfMemoryException):
    return "memory or the temporary folder ran out; raise --memory"
  if "GZIP" in text or "PARQUET" in text:
    return "ends early or is damaged; copy it again"
  if "UTF" in text:
    return "is not UTF-8 text"
  if isinstance(error, duckdb.IOException):
    return "cannot be read to its end (disk or permission)"
  return f"is no table that can be read ({type(error).__name__})"
