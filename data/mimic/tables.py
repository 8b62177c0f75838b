"""Finds, checks and scans the csv files of MIMIC with DuckDB.

Every file is read once, in a stream, as .csv or .csv.gz. A damaged row is
left out and its line remembered; more than 1 % of them (and more than one)
is an error. Messages
name file, column and line, never content.
"""

import dataclasses
import itertools
import json
import pathlib

import duckdb

from data.errors import InputError, nearest
from data.progress import Progress
from data.resume import OutOfRoom
from medpatch_jax import files, schema
from medpatch_jax.input.tables import file

ID, TIME, REAL, TEXT = "BIGINT", "TIMESTAMP", "DOUBLE", "VARCHAR"

# Columns this project reads. A pair is one column under either name.
COLUMNS = {
  "patients": {
    "subject_id": ID,
    "gender": TEXT,
    "anchor_age": REAL,
    "anchor_year": ID,
    "anchor_year_group": TEXT,
    "dod": TIME,
  },
  "admissions": {
    "subject_id": ID,
    "hadm_id": ID,
    "admittime": TIME,
    "dischtime": TIME,
    "deathtime": TIME,
    ("race", "ethnicity"): TEXT,
    "hospital_expire_flag": ID,
  },
  "icustays": {
    "subject_id": ID,
    "hadm_id": ID,
    "stay_id": ID,
    "first_careunit": TEXT,
    "last_careunit": TEXT,
    "intime": TIME,
    "outtime": TIME,
  },
  "chartevents": {
    "subject_id": ID,
    "stay_id": ID,
    "charttime": TIME,
    "itemid": ID,
    "value": TEXT,
    "valuenum": REAL,
  },
  "labevents": {
    "subject_id": ID,
    "hadm_id": ID,
    "charttime": TIME,
    "itemid": ID,
    "value": TEXT,
    "valuenum": REAL,
  },
  # Counted, to tell the release; nothing is taken from it.
  "outputevents": {"hadm_id": ID},
  "diagnoses_icd": {"hadm_id": ID, "icd_code": TEXT, "icd_version": ID},
  "metadata": {
    "dicom_id": TEXT,
    "subject_id": ID,
    "study_id": ID,
    "ViewPosition": TEXT,
    "StudyDate": TEXT,
    "StudyTime": TEXT,
  },
  "chexpert": {
    "subject_id": ID,
    "study_id": ID,
    **dict.fromkeys(schema.FINDINGS, REAL),
  },
  "radiology": {
    "subject_id": ID,
    "hadm_id": ID,
    "note_type": TEXT,
    "note_seq": ID,
    "charttime": TIME,
    "storetime": TEXT,
    "text": TEXT,
  },
  "discharge": {
    "hadm_id": ID,
    "note_type": TEXT,
    "note_seq": ID,
    "charttime": TIME,
    "text": TEXT,
  },
}
_QUOTE = (
  "a quote does not close, and nothing behind it can be read; was the download"
  " cut off?"
)
MULTILINE = ("radiology", "discharge")
# More bad lines than this are not listed, and are an error by themselves.
MOST_REJECTS = 2_000_000


@dataclasses.dataclass
class Table:
  """One csv file whose header has been checked.

  Attributes:
    name: key of `COLUMNS`.
    path: the file.
    found: its header.
    names: the column read -> its name in this file.
    rows: data rows seen by the last scan, None before.
    bad: line numbers left out, ascending (first 100).
    bad_count: how many lines were left out.
  """

  name: str
  path: pathlib.Path
  found: file.Header
  names: dict[str, str]
  rows: int | None = None
  bad: list[int] = dataclasses.field(default_factory=list)
  bad_count: int = 0

  def columns(self):
    return set(self.found.columns)


def folder(path, flag):
  """The folder given by `flag`, or InputError."""
  path = pathlib.Path(path)
  if not path.is_dir():
    found = "a file" if path.exists() else "nothing"
    raise InputError(f"--{flag}={path}: found {found}, wanted a folder.")
  return path


def find(root, name, folders, stem=None):
  """Opens table `name` in the first of `folders` that has it."""
  stem = stem or name
  tried = [pathlib.Path(root) / f / f"{stem}.csv" for f in folders]
  for path in tried:
    for candidate in (path.with_name(path.name + ".gz"), path):
      if candidate.is_file():
        return _open(name, candidate)
  wanted = " or ".join(f"{p}[.gz]" for p in tried)
  raise InputError(
    f"{root}: table {name} is missing; wanted {wanted}."
    f"{_near(pathlib.Path(root), folders, stem)}"
  )


def _near(root, folders, stem):
  """' It is in DIR: pass that folder.' if a folder above or below has it."""
  root = root.absolute()
  below = itertools.islice(
    itertools.chain(root.glob("*/"), root.glob("*/*/")), 500
  )
  for other in (*root.parents[:2], *below):
    for name in folders:
      for end in ("csv", "csv.gz"):
        if (other / name / f"{stem}.{end}").is_file():
          return f" It is in {other}: pass that folder."
  return ""


def _open(name, path):
  """Reads and checks the header line."""
  try:
    found = file.header(path)
  except file.Damaged as error:
    what = str(error).replace("empty;", "empty,")
    raise InputError(f"{path}: {what}.") from None
  columns = found.columns
  known = {
    c for w in COLUMNS[name] for c in (w if isinstance(w, tuple) else (w,))
  }
  names = {}
  for wanted in COLUMNS[name]:
    choices = wanted if isinstance(wanted, tuple) else (wanted,)
    there = [c for c in choices if c in columns]
    if not there:
      # Where the header line is missing its place is a patient's row.
      hint = nearest(choices[0], columns) if known & set(columns) else ""
      raise InputError(
        f"{path}: column {' or '.join(choices)} is missing; found"
        f" {len(columns)} columns.{hint}"
      )
    names[choices[0]] = there[0]
  named = [n.casefold() for n in found.names if n]
  if len(set(named)) < len(named):
    raise InputError(f"{path}: two columns have the same name.")
  return Table(name, path, found, names)


def scan(table):
  """SQL of a full scan with this project's column names and types."""
  wanted = {
    (k[0] if isinstance(k, tuple) else k): t
    for k, t in COLUMNS[table.name].items()
  }
  inverse = {found: name for name, found in table.names.items()}
  types = {
    column: _READ.get(wanted[inverse[column]], wanted[inverse[column]])
    if column in inverse
    else TEXT
    for column in table.found.columns
  }
  chosen = ", ".join(
    f"{_whole(found) if wanted[name] == ID else file.name(found)}"
    f" AS {file.name(name)}"
    for name, found in table.names.items()
  )
  # A quoted line break must not be taken for the end of a row, which two
  # readers in the middle of a plain file could do.
  source = file.scan(
    table.path,
    table.found,
    types=types,
    bad=table.name,
    limit=MOST_REJECTS,
    parallel="false" if table.name in MULTILINE else "true",
  )
  return f"(SELECT {chosen} FROM {source})"


quote = file.quote
# As whole numbers DuckDB would round 1.7 to 2, another patient. Every whole
# number below 2^53 is one of these, which take no longer to read.
_READ = {ID: REAL}
_HALF = "no whole number below 2^53 in column "


def _whole(column):
  """SQL of an id, an error where it is no whole number below 2^53."""
  name = file.name(column)
  return (
    f"CASE WHEN {name} IS NULL THEN NULL WHEN {name} = trunc({name}) AND"
    f" abs({name}) < {2**53} THEN CAST({name} AS {ID}) ELSE"
    f" error({quote(_HALF + column)}) END"
  )


def connect(*, threads, memory, temporary):
  """A DuckDB connection that keeps within `memory` (as "2GB") by spilling."""
  connection = duckdb.connect()
  connection.execute(f"SET threads={int(threads)}")
  connection.execute(f"SET memory_limit={quote(memory)}")
  connection.execute(f"SET temp_directory={quote(str(temporary))}")
  connection.execute("SET enable_progress_bar=true")
  connection.execute("SET enable_progress_bar_print=false")
  # A csv file looks tiny to the planner, which would then hash the large
  # side of a join. With these off the right side is hashed: the stays.
  connection.execute(
    "SET disabled_optimizers='join_order,build_side_probe_side'"
  )
  return connection


def load(connection, table, sql, *, title=None, quiet=False):
  """Runs `sql`, which scans `table` once, and checks what was read.

  Sets `table.rows`, `bad` and `bad_count`.

  Raises:
    InputError: the file is cut off or no csv, or more than 1 % of its rows
      are damaged.
  """
  connection.execute("PRAGMA enable_profiling='no_output'")
  progress = Progress(
    title or f"reading {table.path.name}",
    poll=_poll(connection, table.path),
    quiet=quiet,
  )
  try:
    with progress:
      connection.execute(sql)
  except duckdb.Error as error:
    raise _explain(table, error) from None
  except RuntimeError as error:  # What DuckDB makes of Ctrl-C.
    if "interrupted" in str(error):
      raise KeyboardInterrupt from None
    raise
  profile = json.loads(connection.get_profiling_information())
  connection.execute("PRAGMA disable_profiling")
  rows = _scanned(profile)
  if table.name in MULTILINE:
    _check_quotes(connection, table, rows)
  rejects = connection.execute(
    "SELECT DISTINCT line, first(error_type), first(column_name)"
    f" FROM bad_{table.name} GROUP BY line ORDER BY line"
  ).fetchall()
  connection.execute(f"DROP TABLE bad_{table.name}")
  connection.execute(f"DROP TABLE scan_{table.name}")
  table.bad = [line for line, _, _ in rejects[:100]]
  table.bad_count = len(rejects)
  table.rows = rows + len(rejects)
  for line, kind, _ in rejects:
    if kind == "UNQUOTED VALUE":  # It counts as one, whatever it swallows.
      raise InputError(f"{table.path}: line {line}: {_QUOTE}")
  most = max(1, 0.01 * table.rows)
  if not table.rows:
    raise InputError(
      f"{table.path}: holds a header and no row; was the download cut off?"
    )
  if table.bad_count > most or table.bad_count >= MOST_REJECTS:
    line, kind, column = rejects[0]
    where = f", column {column}" if column else ""
    raise InputError(
      f"{table.path}: {_share(table)} rows cannot be read, at most 1 %"
      f" may; the first is line {line}{where}: {_kind(kind, table, column)}."
    )
  return table


def _check_quotes(connection, table, rows):
  """Refuses a file with a quote that never closes.

  A single reader leaves out everything behind it without a word; by looser
  rules it is one row more.
  """
  loose = file.scan(
    table.path, table.found, parallel="false", strict_mode="false"
  )
  try:
    found = connection.execute(f"SELECT count(*) FROM {loose}").fetchone()[0]
  except duckdb.Error:
    return  # Damaged otherwise, which is told by line.
  bad = connection.execute(f"SELECT count(*) FROM bad_{table.name}").fetchone()
  if found > rows and not bad[0]:
    raise InputError(f"{table.path}: {_QUOTE}")


def _poll(connection, path):
  """A function returning how much of a file has been read, in [0, 1].

  DuckDB knows no better than a guess of a compressed file. Where the system
  counts the bytes a process reads, these tell it.
  """
  counter = pathlib.Path("/proc/self/io")

  def read():
    return int(counter.read_text().split()[1])

  try:
    start, size = read(), path.stat().st_size
  except OSError:
    return lambda: connection.query_progress() / 100
  return lambda: min(1.0, (read() - start) / max(size, 1))


def _share(table):
  return f"{table.bad_count:,} of {table.rows:,}"


def _kind(kind, table, column):
  """What is wrong with a rejected line, in words."""
  inverse = {found: name for name, found in table.names.items()}
  wanted = {
    (k[0] if isinstance(k, tuple) else k): t
    for k, t in COLUMNS[table.name].items()
  }.get(inverse.get(column))
  words = {ID: "no whole number", REAL: "no number", TIME: "no time"}
  if kind == "CAST":
    return words.get(wanted, "a value of the wrong type")
  most = {"LINE SIZE OVER MAXIMUM": "a line over 2 MB"}
  return (file.KINDS | most).get(kind, "a damaged line")


def _explain(table, error):
  """A one-line InputError for what DuckDB says, without content."""
  if files.full(error):
    return OutOfRoom(
      "--data_dir: the disk is full; make room and give the same command"
      " again: what is finished is kept."
    )
  if isinstance(error, duckdb.OutOfMemoryException):
    return OutOfRoom(
      f"{table.path}: memory ran out; raise --memory and give the same command"
      " again: what is finished is kept."
    )
  what = file.explain(error, table.path)
  for column in table.names.values():
    if _HALF + column in str(error):
      what = f"column {column} holds an id that is no whole number below 2^53"
  return InputError(f"{table.path}: {what}.")


def _scanned(profile):
  """Rows that came out of READ_CSV, from DuckDB's profile of the query."""
  total, stack = 0, [profile]
  while stack:
    node = stack.pop()
    if isinstance(node, list):
      stack.extend(node)
    elif isinstance(node, dict):
      extra = node.get("extra_info")
      if isinstance(extra, dict) and extra.get("Function") == "READ_CSV":
        total += int(node["rows_scanned"])
      stack.extend(v for v in node.values() if isinstance(v, dict | list))
  return total
