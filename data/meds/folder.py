"""A folder of MEDS 0.4: its shards, checked, and its splits.

`data/**/*.parquet` hold a row for each measurement, `metadata/dataset.json`
says which version of MEDS they are, `metadata/subject_splits.parquet` which
split a subject belongs to. Source: the schemas of the package `meds` 0.4.
"""

import contextlib
import dataclasses
import json
import pathlib

import duckdb

from data.errors import InputError
from medpatch_jax.input.tables import file

VERSION = "0.4"
# MEDS's splits -> ours.
SPLITS = {"train": "train", "tuning": "validation", "held_out": "test"}
INTEGER = ("BIGINT", "INTEGER", "UBIGINT", "UINTEGER")
TIME = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
REAL = ("FLOAT", "DOUBLE", *INTEGER)
WORDS = ("VARCHAR", "ENUM")
_MUST = {"subject_id": INTEGER, "time": TIME, "code": WORDS}
_MAY = {"numeric_value": REAL, "text_value": WORDS}


@dataclasses.dataclass(frozen=True)
class Folder:
  """A checked folder.

  Attributes:
    root: the folder.
    shards: its files of data, sorted.
    columns: those that all of them have.
    name: of the data, by dataset.json.
  """

  root: pathlib.Path
  shards: tuple
  columns: frozenset
  name: str

  def scan(self, shard) -> str:
    """Returns SQL of a shard's rows: MEDS's columns, row_no (from 1)."""
    optional = "".join(
      f", NULL::VARCHAR AS {name}" for name in _MAY if name not in self.columns
    )
    source = file.parquet(self.shards[shard], numbered=True)
    return f"(SELECT *{optional}, file_row_number + 1 AS row_no FROM {source})"

  def refuse(self, shard, row, column, what):
    """Raises an InputError that names a row."""
    raise InputError(
      f"{self.shards[shard]}, row {row}, column {column}: {what}."
    )


def files(root) -> list[pathlib.Path]:
  """Returns every file of a folder that a dataset is built from."""
  root = pathlib.Path(root)
  if not root.is_dir():
    found = "a file" if root.exists() else "nothing"
    raise InputError(f"--meds={root}: found {found}, wanted a folder.")
  names = "dataset.json", "subject_splits.parquet"
  found = [root / "metadata" / name for name in names]
  return sorted((root / "data").rglob("*.parquet")) + [
    path for path in found if path.is_file()
  ]


def read(connection, root, progress) -> Folder:
  """Opens a folder and checks the version, columns and order of its shards.

  Args:
    connection: DuckDB's.
    root: the folder.
    progress: (title) -> a context manager.

  Raises:
    InputError: names file, row and field.
  """
  root = pathlib.Path(root)
  shards = tuple(p for p in files(root) if root / "data" in p.parents)
  name = _version(root)
  if not shards:
    raise InputError(
      f"--meds={root}: data/ holds no .parquet file; wanted MEDS's shards."
    )
  columns = frozenset.intersection(*(_columns(connection, p) for p in shards))
  found = Folder(root, shards, columns, name)
  with progress("checking the shards"):
    _order(connection, found)
  return found


def _version(root):
  """Checks metadata/dataset.json; returns the name of the data."""
  path = root / "metadata/dataset.json"
  try:
    about = json.loads(path.read_text("utf-8"))
  except OSError as error:
    raise InputError(
      f"{path}: cannot be read ({error.strerror}); wanted MEDS's metadata."
    ) from None
  except ValueError:
    raise InputError(f"{path}: is no JSON.") from None
  version = about.get("meds_version") if isinstance(about, dict) else None
  if not isinstance(version, str) or version.split(".")[:2] != ["0", "4"]:
    found = "none" if version is None else repr(version)[:20]
    raise InputError(
      f"{path}, meds_version: found {found}, wanted {VERSION} or {VERSION}.x;"
      " write the data anew with MEDS tools of that version."
    )
  return str(about.get("dataset_name") or root.name)


@contextlib.contextmanager
def reading(path):
  """Turns what DuckDB raises while it reads a file into an InputError."""
  try:
    yield
  except duckdb.Error as error:
    raise InputError(f"{path}: {file.explain(error, path)}.") from None


def types(connection, path) -> dict:
  """Returns column -> DuckDB's type of a Parquet file.

  Raises:
    InputError: it is none.
  """
  with reading(path):
    rows = connection.execute(
      f"DESCRIBE SELECT * FROM {file.parquet(path)}"
    ).fetchall()
  return {name: kind.partition("(")[0] for name, kind, *_ in rows}


def check_types(path, found, must, may=()):
  """Refuses a file (InputError) without a column, or of another type.

  Args:
    path: the file.
    found: column -> type.
    must, may: column -> types that it may have.
  """
  for name, kinds in {**must, **dict(may)}.items():
    if name not in found and name in must:
      raise InputError(
        f"{path}, column {name}: is missing; wanted {', '.join(must)}."
      )
    if name in found and found[name] not in (*kinds, '"NULL"'):
      raise InputError(
        f"{path}, column {name}: is of type {found[name]}, wanted {kinds[0]}."
      )


def _columns(connection, path):
  found = types(connection, path)
  check_types(path, found, _MUST, _MAY)
  return frozenset(found)


# What MEDS does not allow of a row -> (column, what is said of it). Before it
# in the shard stand `before` and `earlier`.
_ODD = {
  "subject_id IS NULL": ("subject_id", "is empty"),
  "code IS NULL": ("code", "is empty"),
  "subject_id = before AND (time < earlier OR time IS NULL AND earlier IS NOT"
  " NULL)": (
    "time",
    "is earlier than in the row before; wanted a subject's rows by time, those"
    " without a time first",
  ),
}
_APART = "has been there before; wanted a subject's rows together"


def _order(connection, folder):
  """Refuses rows that MEDS does not allow, and a subject in two shards.

  In a shard the rows of a subject stand together, first those without a time,
  then by time.
  """
  seen = {}
  firsts = ", ".join(f"min(row_no) FILTER ({odd})" for odd in _ODD)
  for shard, path in enumerate(folder.shards):
    rows = (
      "(SELECT subject_id, time, code, row_no, lag(subject_id) OVER () AS"
      f" before, lag(time) OVER () AS earlier FROM {folder.scan(shard)})"
    )
    with reading(path):
      found = connection.execute(f"SELECT {firsts} FROM {rows}").fetchone()
      subjects = connection.execute(
        "SELECT subject_id, min(row_no), (list(row_no ORDER BY row_no))[2] FROM"
        f" {rows} WHERE subject_id IS DISTINCT FROM before GROUP BY subject_id"
        " ORDER BY 2"
      ).fetchall()
    for row, (column, what) in zip(found, _ODD.values()):
      if row is not None:
        folder.refuse(shard, row, column, what)
    for subject, first, again in subjects:
      if again is not None:
        folder.refuse(shard, again, "subject_id", _APART)
      if subject in seen:
        other = folder.shards[seen[subject]].relative_to(folder.root)
        what = f"the subject is in {other}, too; wanted its rows in one shard"
        folder.refuse(shard, first, "subject_id", what)
      seen[subject] = shard


def splits(connection, folder):
  """Reads metadata/subject_splits.parquet -> table `splits`, if it is there.

  Returns:
    Whether it is. The table has subject_id and split, one of ours.
  """
  path = folder.root / "metadata/subject_splits.parquet"
  if not path.is_file():
    return False
  check_types(
    path, types(connection, path), {"subject_id": INTEGER, "split": WORDS}
  )
  source = (
    f"(SELECT *, row_number() OVER () AS row_no FROM {file.parquet(path)})"
  )
  names = ", ".join(map(file.quote, SPLITS))
  for condition, column, what in (
    ("subject_id IS NULL", "subject_id", "is empty"),
    (
      f"coalesce(split NOT IN ({names}), true)",
      "split",
      f"is none of {', '.join(SPLITS)}",
    ),
    (
      "n > 1",
      "subject_id",
      "the subject has been there before; wanted each one once",
    ),
  ):
    count, row = connection.execute(
      "SELECT count(*), min(row_no) FROM (SELECT *, row_number() OVER"
      f" (PARTITION BY subject_id ORDER BY row_no) AS n FROM {source}) WHERE"
      f" {condition}"
    ).fetchone()
    if count:
      raise InputError(f"{path}, row {row:,}, column {column}: {what}.")
  cases = " ".join(
    f"WHEN {file.quote(a)} THEN {file.quote(b)}" for a, b in SPLITS.items()
  )
  connection.execute(
    "CREATE TABLE splits AS SELECT subject_id, CASE split"
    f" {cases} END AS split FROM {source}"
  )
  return True
