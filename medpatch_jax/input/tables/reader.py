"""Reads the tables of a folder into DuckDB, and says what is wrong in rows."""

import contextlib
import dataclasses

from medpatch_jax.input import cell
from medpatch_jax.input.tables import file
from medpatch_jax.input.tables.problems import Problems

_MOST_LINE = 16_000_000
_KINDS = file.KINDS | {"LINE SIZE OVER MAXIMUM": "a line over 16 MB"}


def connect(path, *, threads, memory, temporary):
  """A DuckDB database that keeps within `memory` (as "2GB") by spilling."""
  import duckdb  # Absent on some GPU images.

  connection = duckdb.connect(str(path))
  connection.execute(f"SET threads={int(threads)}")
  connection.execute(f"SET memory_limit={file.quote(memory)}")
  connection.execute(f"SET temp_directory={file.quote(temporary)}")
  connection.execute("SET enable_progress_bar=true")
  connection.execute("SET enable_progress_bar_print=false")
  return connection


def _silent(title, poll):
  """Shows no progress."""
  del title, poll
  return contextlib.nullcontext()


@dataclasses.dataclass
class Reader:
  """Where tables are read to, and what is wrong with them.

  Attributes:
    connection: of `connect`.
    problems: what is wrong is added to it.
    progress: (title, function of the share done) -> a context manager.
  """

  connection: object
  problems: Problems
  progress: object = _silent

  def one(self, query):
    """The first row of a query."""
    return self.connection.execute(query).fetchone()

  def load(self, table, name, query) -> bool:
    """Keeps what `query` selects of `scan(table)`, a row for each, as `name`.

    Returns:
      False if the file is damaged.
    """
    import duckdb

    def poll():
      return self.connection.query_progress() / 100

    try:
      with self.progress(f"reading {table.file}", poll):
        self.connection.execute(f"CREATE TABLE {name} AS {query}")
      return self._whole(table, name)
    except duckdb.Error as error:
      self.problems.add(table.file, file.explain(error, table.path))
      return False

  def _whole(self, table, name):
    """Whether no line of a table was damaged."""
    if table.path.suffix == ".parquet":
      return True
    bad = f"bad_{table.name}"
    damaged = self.connection.execute(
      "SELECT first(error_type ORDER BY line), list(DISTINCT line ORDER BY"
      f" line) FROM {bad} GROUP BY error_type ORDER BY min(line)"
    ).fetchall()
    self.connection.execute(f"DROP TABLE {bad}")
    self.connection.execute(f"DROP TABLE scan_{table.name}")
    for kind, lines in damaged:
      # Rows cannot be numbered past a damaged line.
      what = f"{_KINDS.get(kind, 'damaged')}; no other row of it was checked"
      self.problems.add(table.file, what, rows=lines, unit="line")
    if damaged:
      return False
    # Everything behind a quote that never closes is left out without a word
    # where one thread reads a file; other rules keep it as one row.
    loose = file.scan(
      table.path,
      table.found,
      strict_mode="false",
      parallel="false",
      max_line_size=_MOST_LINE,
    )
    rows = self.one(f"SELECT count(*) FROM {name}")[0]
    if self.one(f"SELECT count(*) FROM {loose}")[0] != rows:
      what = f"{_KINDS['UNQUOTED VALUE']}; nothing behind it was read"
      self.problems.add(table.file, what)
      return False
    return True

  def report(self, table, source, condition, what, column=None, more=""):
    """Adds a problem if rows of `source` (with row_no) meet a condition."""
    count = self.one(f"SELECT count(*) FROM {source} WHERE {condition}")[0]
    if count:
      rows = self.connection.execute(
        f"SELECT row_no FROM {source} WHERE {condition} ORDER BY row_no LIMIT 5"
      ).fetchall()
      rows = [r for (r,) in rows]
      self.problems.add(table.file, what, column, rows, count, more=more)

  def report_bits(self, table, checks):
    """As `report` for each (what, column, more) whose bit is in `problem`."""
    for i, check in enumerate(checks):
      self.report(table, table.name, f"problem & {1 << i} > 0", *check)


def scan(table) -> str:
  """SQL that reads a table, its rows numbered from 1 in column `row_no`."""
  columns = ", ".join(map(file.name, table.header))
  # A quoted line break must not be taken for the end of a row, which two
  # readers in the middle of a plain file could do.
  source = file.scan(
    table.path,
    table.found,
    bad=table.name,
    parallel="false",
    max_line_size=_MOST_LINE,
  )
  return f"(SELECT {columns}, row_number() OVER () AS row_no FROM {source})"


def text(column) -> str:
  """SQL of a column's words, NULL where there are none."""
  return cell.text_sql(file.name(column))


def whole(column) -> str:
  """SQL of a column's whole number, NULL where there is none."""
  return cell.whole_sql(text(column))


def real(column) -> str:
  """SQL of a column's number, NULL where there is none."""
  return cell.number_sql(text(column))


def odd(value, most=1e6) -> str:
  """Condition: no number, or one beyond all sense."""
  return f"coalesce(NOT isfinite({value}) OR abs({value}) > {most}, true)"


def bits(conditions) -> str:
  """SQL of a number whose bit i tells whether condition i holds."""
  return " + ".join(
    f"CASE WHEN {condition} THEN {1 << i} ELSE 0 END"
    for i, condition in enumerate(conditions)
  )
