"""MEDS's label files -> samples: a subject, a prediction time, labels.

A file has a row for each sample: subject_id, prediction_time and one of
boolean_value, integer_value, float_value and categorical_value. Its name is
the label's.
"""

import pathlib

from data.errors import InputError
from data.meds import folder as folder_lib
from medpatch_jax.input.tables import file

_MUST = {"subject_id": folder_lib.INTEGER, "prediction_time": folder_lib.TIME}
VALUES = {
  "boolean_value": ("BOOLEAN",),
  "integer_value": folder_lib.INTEGER,
  "float_value": folder_lib.REAL,
  "categorical_value": folder_lib.WORDS,
}
MOST_WORDS = 50


def files(given) -> list[pathlib.Path]:
  """Returns the files that --labels names: files and folders, by commas.

  Raises:
    InputError: there is none, or two of one name.
  """
  found = []
  for word in str(given).split(","):
    path = pathlib.Path(word)
    parts = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not parts or not all(p.is_file() for p in parts):
      raise InputError(
        f"--labels={word}: holds no .parquet file; wanted MEDS's label files."
      )
    found += parts
  names = [path.stem for path in found]
  for path in found:
    if names.count(path.stem) > 1:
      raise InputError(
        f"--labels: {path.name} is given twice; a label is named after its file."
      )
  return found


def read(connection, paths):
  """Reads label files -> table `samples`.

  Its columns: row_no (in the first file), subject_id, until (the prediction
  time), and a column of each label: 0, 1 or NULL.

  Args:
    connection: DuckDB's.
    paths: of `files`.

  Returns:
    Names of the labels.

  Raises:
    InputError: names file, row and field.
  """
  first, names = paths[0], []
  _load(connection, first, "samples")
  columns = ["s.row_no", "s.subject_id", "s.until"]
  joins = "samples s"
  for i, path in enumerate(paths):
    _load(connection, path, f"label_{i}")
    _same(connection, f"label_{i}", path, first)
    joins += f" JOIN label_{i} USING (subject_id, until)"
    for name, value in _labels(connection, path, f"label_{i}"):
      names.append(name)
      columns.append(f"{value} AS {file.name(name)}")
  connection.execute(
    f"CREATE TABLE labelled AS SELECT {', '.join(columns)} FROM {joins} ORDER BY"
    " s.row_no"
  )
  connection.execute("DROP TABLE samples")
  connection.execute("ALTER TABLE labelled RENAME TO samples")
  return names


def _load(connection, path, table):
  """Reads a file -> table with row_no, subject_id, until, word, number."""
  types = folder_lib.types(connection, path)
  folder_lib.check_types(path, types, _MUST, VALUES)
  values = [name for name in VALUES if name in types]
  if not values:
    raise InputError(
      f"{path}: has no column of values; wanted one of {', '.join(VALUES)}."
    )
  given = " + ".join(f"({name} IS NOT NULL)::INT" for name in values)
  numbers = [f"{v}::DOUBLE" for v in values if v != "categorical_value"]
  word = "categorical_value" if "categorical_value" in values else "NULL"
  with folder_lib.reading(path):
    connection.execute(
      f"CREATE TABLE {table} AS SELECT file_row_number + 1 AS row_no, subject_id,"
      f" CAST(prediction_time AS TIMESTAMP) AS until, {given} AS given,"
      f" {word}::VARCHAR AS word, coalesce({', '.join([*numbers, 'NULL'])}) AS"
      f" number FROM {file.parquet(path, numbered=True)}"
    )
  if not connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
    raise InputError(f"{path}: has no rows.")
  twice = (
    f"(SELECT *, row_number() OVER (PARTITION BY subject_id, until ORDER BY"
    f" row_no) AS n FROM {table})"
  )
  values = ", ".join(values)
  for source, condition, column, what in (
    (table, "subject_id IS NULL", "subject_id", "is empty"),
    (table, "until IS NULL", "prediction_time", "is empty"),
    (table, "given > 1", values, "more than one has a value"),
    (
      twice,
      "n > 1",
      "prediction_time",
      "the subject and time have been there before",
    ),
  ):
    refuse(connection, path, source, condition, column, what)


def refuse(connection, path, source, condition, column, what):
  """Refuses a file with a row of `source` that meets a condition."""
  row, count = connection.execute(
    f"SELECT min(row_no), count(*) FROM {source} WHERE {condition}"
  ).fetchone()
  if count:
    more = f" ({count - 1:,} more such rows)" if count > 1 else ""
    raise InputError(f"{path}, row {row}, column {column}: {what}{more}.")


def _same(connection, table, path, first):
  """Refuses a file of other samples than those of the first."""
  for there, here, at in (("samples", table, path), (table, "samples", first)):
    refuse(
      connection,
      at,
      f"(SELECT * FROM {here} ANTI JOIN {there} USING (subject_id, until))",
      "true",
      "prediction_time",
      f"the subject and time are not in {path if at is first else first};"
      " wanted the same samples in all label files",
    )


def _labels(connection, path, table):
  """Yields (name, SQL of 0, 1 or NULL) of each label of a file."""
  words = [
    w
    for (w,) in connection.execute(
      f"SELECT DISTINCT word FROM {table} WHERE word IS NOT NULL ORDER BY word"
    ).fetchall()
  ]
  if words:
    refuse(
      connection, path, table, "number IS NOT NULL", "categorical_value",
      "is empty where other rows have one",
    )  # fmt: skip
    if len(words) > MOST_WORDS:
      raise InputError(
        f"{path}, column categorical_value: found {len(words):,} different"
        f" words, wanted at most {MOST_WORDS}."
      )
    for word in words:
      yield (
        f"{path.stem}_{word}",
        f"({table}.word = {file.quote(word)})::DOUBLE",
      )
    return
  refuse(
    connection, path, table, "number NOT IN (0, 1)", "the value",
    "is neither 0 nor 1; wanted labels that are true or false, or"
    " categorical_value",
  )  # fmt: skip
  yield path.stem, f"{table}.number"
