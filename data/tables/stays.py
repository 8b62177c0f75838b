"""The table of stays: who is in the dataset, in which split, with what label.

Dims: S stays, C labels.
"""

import dataclasses

import numpy as np

from data import splits
from data.tables import layout, sql

MOST_HOURS = 20_000
# A column with more words than this tells people apart, not groups.
MOST_WORDS = 50
LABEL, GROUP = "label_", "group_"
# A group's word where none is given.
UNKNOWN = "unknown"


@dataclasses.dataclass
class Stays:
  """Stays in record order: by split, then by a hash of stay_id.

  Attributes:
    stay_id, subject_id: i64[S].
    split: i64[S], index into `splits.SPLITS`.
    end: f64[S], length of the series in hours.
    label: f32[S C], NaN where the outcome is not known.
    label_names: C names.
    groups: name -> list of S words, or f32[S].
    filters: (sentence, stays left) of each rule, in order.
    remarks: sentences for the report.
    facts: further counts for the report.
  """

  stay_id: np.ndarray
  subject_id: np.ndarray
  split: np.ndarray
  end: np.ndarray
  label: np.ndarray
  label_names: list
  groups: dict
  filters: list
  remarks: list
  facts: dict

  def kinds_of_groups(self):
    """Group -> number or word."""
    return {
      n: "word" if isinstance(v, list) else "number"
      for n, v in self.groups.items()
    }


def load(connection, table, problems, quiet=False):
  """Reads and checks the table; leaves a DuckDB table `stays`.

  Its columns: row (in record order), stay_id, hours.

  Returns:
    `Stays`, or None where problems make it unusable.
  """
  connection.execute(
    "CREATE TABLE stays (row BIGINT, stay_id BIGINT, hours DOUBLE)"
  )
  must, _ = layout.COLUMNS["stays"]
  if table is None or not set(must) <= set(table.header):
    return None
  chosen = ", ".join(f"{sql.text(c)} AS {layout.name(c)}" for c in table.header)
  read = (
    f"CREATE TABLE raw AS SELECT row_no, {chosen} FROM {layout.scan(table)}"
  )
  if not layout.load(connection, table, read, problems, quiet):
    return None
  table.rows = connection.execute("SELECT count(*) FROM raw").fetchone()[0]
  if not table.rows:
    problems.add(table.file, "has no rows")
    return None
  known = len(problems.lines)
  labels = [c for c in table.header if c.startswith(LABEL)]
  groups = [c for c in table.header if c.startswith(GROUP)]
  _check_keys(connection, table, problems)
  _check_labels(connection, table, labels, problems)
  _check_splits(connection, table, labels, problems)
  for column in groups:
    _check_group(connection, table, column, problems)
  if len(problems.lines) > known:
    # The other tables can still be checked against the ids that are whole.
    connection.execute(
      "INSERT INTO stays SELECT row_number() OVER () - 1, stay_id, max(hours)"
      f" FROM (SELECT {sql.whole('stay_id')} AS stay_id, {sql.real('hours')} AS"
      " hours FROM raw) WHERE stay_id IS NOT NULL GROUP BY stay_id"
    )
    return None
  found = _stays(connection, table, labels, groups)
  connection.register(
    "ordered",
    {
      "row": np.arange(len(found.stay_id)),
      "stay_id": found.stay_id,
      "hours": found.end,
    },
  )
  connection.execute(
    "INSERT INTO stays SELECT row, stay_id, hours FROM ordered"
  )
  connection.unregister("ordered")
  return found


def _check_keys(connection, table, problems):
  for column in ("stay_id", "subject_id"):
    sql.report(
      connection, table, "raw", f"({sql.whole(column)}) IS NULL", problems,
      "no whole number", column,
    )  # fmt: skip
  twice = (
    f"(SELECT *, row_number() OVER (PARTITION BY {sql.whole('stay_id')} ORDER"
    f" BY row_no) AS n FROM raw WHERE ({sql.whole('stay_id')}) IS NOT NULL)"
  )
  sql.report(
    connection, table, twice, "n > 1", problems,
    "has been there before; wanted each stay once", "stay_id",
  )  # fmt: skip
  hours = sql.real("hours")
  sql.report(
    connection, table, "raw",
    f"coalesce(NOT ({hours} > 0 AND {hours} <= {MOST_HOURS}), true)", problems,
    f"no number of hours above 0 and up to {MOST_HOURS:,}", "hours",
  )  # fmt: skip


def _check_labels(connection, table, labels, problems):
  if not labels:
    problems.add(table.file, "has no label; wanted a column label_NAME or more")
    return
  for column in labels:
    value, word = sql.real(column), sql.text(column)
    sql.report(
      connection, table, "raw",
      f"{word} IS NOT NULL AND coalesce({value} NOT IN (0, 1), true)",
      problems, "neither 0 nor 1", column,
    )  # fmt: skip
    if "split" not in table.header:
      sql.report(
        connection, table, "raw", f"{word} IS NULL", problems,
        "is empty; only stays of split test may have no label", column,
      )  # fmt: skip
      continue
    sql.report(
      connection, table, "raw",
      f"{word} IS NULL AND {sql.text('split')} IN ('train', 'validation')",
      problems, "is empty; only stays of split test may have no label", column,
    )  # fmt: skip


def _check_splits(connection, table, labels, problems):
  if "split" not in table.header:
    return
  split = sql.text("split")
  names = ", ".join(map(layout.quote, splits.SPLITS))
  sql.report(
    connection, table, "raw", f"coalesce({split} NOT IN ({names}), true)",
    problems, f"none of {', '.join(splits.SPLITS)}", "split",
  )  # fmt: skip
  subject = sql.whole("subject_id")
  mixed = (
    f"(SELECT row_no, {split} != first_value({split}) OVER (PARTITION BY"
    f" {subject} ORDER BY row_no) AS mixed FROM raw"
    f" WHERE ({subject}) IS NOT NULL)"
  )
  sql.report(
    connection, table, mixed, "mixed", problems,
    "a subject is in two splits", "split",
  )  # fmt: skip
  for column in labels:
    known = f"count({sql.text(column)})"
    given, total = connection.execute(
      f"SELECT {known}, count(*) FROM raw WHERE {split} = 'test'"
    ).fetchone()
    if 0 < given < total:
      sql.report(
        connection, table, "raw",
        f"{split} = 'test' AND {sql.text(column)} IS NULL", problems,
        "is empty for some of split test; wanted all of them, or none",
        column,
      )  # fmt: skip


def _check_group(connection, table, column, problems):
  total, numbers, words = connection.execute(
    f"SELECT count({sql.text(column)}), count({sql.real(column)}),"
    f" count(DISTINCT {sql.text(column)}) FROM raw"
  ).fetchone()
  if numbers < total and words > MOST_WORDS:
    problems.add(
      table.file,
      f"has {words:,} different words; a subgroup has at most {MOST_WORDS}",
      column,
    )


def _stays(connection, table, labels, groups):
  """`Stays` of a table that passed every check."""
  split = sql.text("split") if "split" in table.header else "NULL"
  names = [*labels, *groups]
  columns = ", ".join(
    [sql.whole("stay_id"), sql.whole("subject_id"), sql.real("hours"), split]
    + [sql.real(c) for c in labels]
    + [sql.text(c) for c in groups]
  )
  rows = connection.execute(
    f"SELECT {columns} FROM raw ORDER BY row_no"
  ).fetchall()
  columns = list(zip(*rows))
  stay, subject = (np.array(c, np.int64) for c in columns[:2])
  where = (
    splits.by_hash(subject)
    if "split" not in table.header
    else np.array([splits.SPLITS.index(s) for s in columns[3]])
  )
  order = splits.order(stay, where)
  given = dict(zip(names, columns[4:]))
  label = np.array([given[c] for c in labels], np.float64).T
  return Stays(
    stay_id=stay[order],
    subject_id=subject[order],
    split=where[order],
    end=np.array(columns[2], np.float64)[order],
    label=label.astype(np.float32)[order],
    label_names=[c.removeprefix(LABEL) for c in labels],
    groups={
      c.removeprefix(GROUP): _group([given[c][i] for i in order])
      for c in groups
    },
    filters=[("of the table", len(stay))],
    remarks=[],
    facts={},
  )


def _group(values):
  """Words as a list, or f32[S] where every value is a number."""
  try:
    return np.array([np.nan if v is None else v for v in values], np.float32)
  except ValueError:
    return [UNKNOWN if v is None else v for v in values]
