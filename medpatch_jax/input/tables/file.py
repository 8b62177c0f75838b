"""One file of comma-separated text or Parquet, as DuckDB is to read it.

The only place that knows what a csv file may look like: blank lines before
the header, a byte order mark, lines that end in LF, CR LF or CR, columns
without a name. What DuckDB says of an error holds lines of the file: its
words are never passed on.
"""

import csv
import dataclasses
import gzip
import pathlib
import re
import zlib

from medpatch_jax.input import cell

# Bytes that a header line may have, and that are read at once.
MOST, _PART = 1 << 20, 1 << 14
EMPTY = "is empty; wanted a header line and rows"
# What pandas writes an index without a name as, in Parquet.
INDEX = "__index_level_0__"
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|\Z)")
# What DuckDB calls a damaged line.
KINDS = {
  "MISSING COLUMNS": "too few columns",
  "TOO MANY COLUMNS": "too many columns",
  "UNQUOTED VALUE": "a quote that does not close",
  "INVALID ENCODING": "no UTF-8 text",
}


class Damaged(ValueError):
  """A file that cannot be read; says what it is, without content."""


@dataclasses.dataclass(frozen=True)
class Header:
  """Columns of a file.

  Attributes:
    names: as the file has them, "" for one without a name.
    columns: the same, made different from each other, as DuckDB is to call
      them.
    skip: lines before the header line, all of them blank.
    floats: of `columns` those of floating-point numbers (Parquet).
  """

  names: list[str]
  columns: list[str]
  skip: int = 0
  floats: tuple[str, ...] = ()


def header(path) -> Header:
  """Reads the names of a file's columns.

  Raises:
    Damaged: no text, empty, or no Parquet.
  """
  path = pathlib.Path(path)
  return _parquet(path) if path.suffix == ".parquet" else _csv(path)


def _parquet(path):
  import duckdb  # Absent on some GPU images.

  try:
    with duckdb.connect() as connection:
      found = connection.execute(
        f"DESCRIBE SELECT * FROM {parquet(path)}"
      ).fetchall()
  except duckdb.Error:
    raise Damaged("is no Parquet file, or is cut off") from None
  names = [c for c, *_ in found]
  floats = tuple(c for c, t, *_ in found if t in ("FLOAT", "DOUBLE"))
  return Header(["" if c == INDEX else c for c in names], names, floats=floats)


def _csv(path):
  skip, line = _first_line(path)
  if b"\0" in line:
    raise Damaged("line 1 is not UTF-8 text; is it UTF-16? save it as UTF-8")
  if not line:
    raise Damaged(EMPTY)
  if line.count(b'"') % 2:
    raise Damaged("line 1 has a quote that does not close")
  try:
    names = next(csv.reader([line.decode("utf-8").strip("\r\n")]))
  except UnicodeDecodeError:
    raise Damaged("line 1 is not UTF-8 text") from None
  except csv.Error:
    raise Damaged("line 1 is no header line of column names") from None
  names = [cell.strip(name) for name in names]
  return Header(names, _different(names), skip)


def _first_line(path):
  """-> (blank lines before it, the first line that is not blank, or b"")."""
  opener = gzip.open if path.suffix == ".gz" else open
  raw, ended = b"", False
  try:
    with opener(path, "rb") as file:
      while not ended and len(raw) < MOST:
        more = file.read(_PART)
        raw, ended = raw + more, not more
        skip, line, whole = _cut(raw)
        if whole:
          return skip, line
  except (OSError, EOFError, zlib.error) as error:
    raise Damaged(
      f"cannot be read ({type(error).__name__}); is it cut off, or not gzip?"
    ) from None
  return skip, line


def _cut(raw):
  """-> (blank lines, first line that is not blank, whether it is whole)."""
  lines = iter(_LINE.findall(raw.removeprefix(b"\xef\xbb\xbf")))
  skip, line = 0, b""
  for line in lines:
    if line.strip() or not line:
      break
    skip += 1
  for more in lines:
    if line.count(b'"') % 2 == 0:
      break
    line += more  # A line break within quotes.
  even = line.count(b'"') % 2 == 0
  return skip, line, even and line.endswith((b"\r", b"\n"))


def _different(names):
  """The same names; those that are empty or there before get a number."""
  folded = [name.casefold() for name in names]
  return [
    name if name and name.casefold() not in folded[:i] else f"{name} #{i + 1}"
    for i, name in enumerate(names)
  ]


def scan(path, found: Header, *, types=None, bad=None, limit=1000, **more):
  """Returns SQL that reads a file.

  Args:
    path: the file.
    found: its header.
    types: column -> SQL type; VARCHAR by default.
    bad: name to keep damaged lines under (tables `bad_NAME`, `scan_NAME`), of
      which at most `limit` are kept; without it the first is an error.
    limit: see `bad`.
    **more: other options of DuckDB's read_csv.
  """
  if path.suffix == ".parquet":
    # A number that is none is what other programs write for a missing one. As
    # text: by a file's statistics DuckDB may hold that there is none.
    nan = ", ".join(
      f"nullif(CAST({name(c)} AS VARCHAR), 'nan') AS {name(c)}"
      for c in found.floats
    )
    replaced = f" REPLACE ({nan})" if nan else ""
    return f"(SELECT *{replaced} FROM {parquet(path)})"
  types = types or {}
  typed = (f"{quote(c)}: '{types.get(c, 'VARCHAR')}'" for c in found.columns)
  options = {
    "header": "true",
    "auto_detect": "false",  # It would take # for a comment.
    "delim": "','",
    "quote": "'\"'",
    "escape": "'\"'",
    "skip": found.skip,
    "hive_partitioning": "false",
    "columns": "{" + ", ".join(typed) + "}",
    **more,
  }
  if bad:
    options |= {
      "store_rejects": "true",
      "rejects_table": quote(f"bad_{bad}"),
      "rejects_scan": quote(f"scan_{bad}"),
      "rejects_limit": limit,
    }
  words = ", ".join(f"{key}={value}" for key, value in options.items())
  return f"read_csv({_place(path)}, {words})"


def parquet(path, numbered=False) -> str:
  """SQL that reads a Parquet file as it is.

  Texts that are not marked as such are read as texts, and no folder's name,
  such as split=1, becomes a column. With `numbered` the column
  file_row_number counts the rows from 0.
  """
  options = "hive_partitioning=false, binary_as_string=true"
  options += ", file_row_number=true" * numbered
  return f"read_parquet({_place(path)}, {options})"


def _place(path) -> str:
  """A path as an SQL literal, by which DuckDB finds no other file.

  It takes *, ? and [ for a pattern, and in[1] for the folder in1.
  """
  return quote(re.sub(r"[*?\[]", r"[\g<0>]", str(path)))


def explain(error, path) -> str:
  """Says what an error of DuckDB's means, without content."""
  import duckdb

  text = str(error).replace(str(path), "").upper()
  if isinstance(error, duckdb.OutOfMemoryException):
    return "memory or the temporary folder ran out; raise --memory"
  if isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
    # The first line alone: others quote the file.
    first = text.partition("\n")[0]
    if "GZIP" in first:
      return "the gzip stream ends early or is damaged; download it again"
    if "UTF" in first or "STRING ENCODING" in first:
      return "is not UTF-8 text"
    if "PARQUET" in first or "SNAPPY" in first:
      return "ends early or is damaged; copy it again"
    if "STATE MACHINE" in first:
      return "its lines end in more than one way; save it with LF line ends"
  if isinstance(error, duckdb.IOException):
    return "cannot be read to its end (disk or permission)"
  return f"is no table that can be read ({type(error).__name__})"


def quote(text) -> str:
  """Text as an SQL literal."""
  return "'" + str(text).replace("'", "''") + "'"


def name(column) -> str:
  """A column's name in SQL."""
  return '"' + column.replace('"', '""') + '"'
