"""The table of stays: every stay once, with its window, labels and groups."""

from medpatch_jax.input.dataset import SPLITS
from medpatch_jax.input.tables import file
from medpatch_jax.input.tables.reader import real, scan, text, whole

MOST_HOURS = 20_000
# A column with more words than this tells people apart, not groups.
MOST_WORDS = 50
LABEL, GROUP = "label_", "group_"
WHOLE = "; wanted digits, as 17 or 17.0, below 2^63"


def load(read, table, learning=True) -> bool:
  """Reads and checks the table -> tables `raw` and `stays`.

  `raw` holds every column as text and row_no. `stays` (row, stay_id, hours)
  is for other tables to join: empty if the table has no problem, for the
  caller to number; else the stays that can be told, so that other tables can
  be checked.

  Args:
    read: `reader.Reader`.
    table: `layout.Table`, or None.
    learning: every stay needs labels and a subject; else columns of these
      are checked where they are, and may be empty.

  Returns:
    Whether the table has no problem.
  """
  read.connection.execute(
    "CREATE TABLE stays (row BIGINT, stay_id BIGINT, hours DOUBLE)"
  )
  if table is None or not table.complete:
    return False
  chosen = ", ".join(f"{text(c)} AS {file.name(c)}" for c in table.header)
  if not read.load(table, "raw", f"SELECT row_no, {chosen} FROM {scan(table)}"):
    return False
  table.rows = read.one("SELECT count(*) FROM raw")[0]
  if not table.rows:
    read.problems.add(table.file, "has no rows")
    return False
  known = len(read.problems.lines)
  labels = [c for c in table.header if c.startswith(LABEL)]
  _keys(read, table)
  _labels(read, table, labels, learning)
  _splits(read, table, labels, learning)
  for column in table.header:
    if column.startswith(GROUP):
      _group(read, table, column)
  if len(read.problems.lines) == known:
    return True
  read.connection.execute(
    "INSERT INTO stays SELECT row_number() OVER () - 1, stay_id, max(hours)"
    f" FROM (SELECT {whole('stay_id')} AS stay_id, {real('hours')} AS"
    " hours FROM raw) WHERE stay_id IS NOT NULL GROUP BY stay_id"
  )
  return False


def _keys(read, table):
  for column in ("stay_id", "subject_id"):
    if column in table.header:
      read.report(
        table, "raw", f"({whole(column)}) IS NULL",
        "no whole number", column, WHOLE,
      )  # fmt: skip
  twice = (
    f"(SELECT *, row_number() OVER (PARTITION BY {whole('stay_id')} ORDER"
    f" BY row_no) AS n FROM raw WHERE ({whole('stay_id')}) IS NOT NULL)"
  )
  read.report(
    table, twice, "n > 1", "has been there before; wanted each stay once",
    "stay_id",
  )  # fmt: skip
  hours = real("hours")
  read.report(
    table, "raw",
    f"coalesce(NOT ({hours} > 0 AND {hours} <= {MOST_HOURS}), true)",
    f"no number of hours above 0 and up to {MOST_HOURS:,}", "hours",
  )  # fmt: skip


def _labels(read, table, labels, learning):
  if not labels and learning:
    read.problems.add(
      table.file, "has no label; wanted a column label_NAME or more"
    )
  # Only a split of test may be without, if there is one.
  needed = "true"
  if "split" in table.header:
    needed = f"{text('split')} IN ('train', 'validation')"
  for column in labels:
    value, word = real(column), text(column)
    read.report(
      table, "raw", f"{word} IS NOT NULL AND coalesce({value} NOT IN (0, 1),"
      " true)", "neither 0 nor 1", column,
    )  # fmt: skip
    if learning:
      read.report(
        table, "raw", f"{word} IS NULL AND {needed}",
        "is empty; only stays of split test may have no label", column,
      )  # fmt: skip


def _splits(read, table, labels, learning):
  if "split" not in table.header:
    return
  split = text("split")
  names = ", ".join(map(file.quote, SPLITS))
  empty = "true" if learning else f"{split} IS NOT NULL"
  read.report(
    table, "raw", f"coalesce({split} NOT IN ({names}), true) AND {empty}",
    f"none of {', '.join(SPLITS)}", "split",
  )  # fmt: skip
  if "subject_id" in table.header:
    subject = whole("subject_id")
    mixed = (
      f"(SELECT row_no, {split} != first_value({split}) OVER (PARTITION BY"
      f" {subject} ORDER BY row_no) AS mixed FROM raw"
      f" WHERE ({subject}) IS NOT NULL)"
    )
    read.report(table, mixed, "mixed", "a subject is in two splits", "split")
  for column in labels if learning else ():
    given, total = read.one(
      f"SELECT count({text(column)}), count(*) FROM raw WHERE {split} = 'test'"
    )
    if 0 < given < total:
      read.report(
        table, "raw", f"{split} = 'test' AND {text(column)} IS NULL",
        "is empty for some of split test; wanted all of them, or none",
        column,
      )  # fmt: skip


def _group(read, table, column):
  total, numbers, words = read.one(
    f"SELECT count({text(column)}), count({real(column)}),"
    f" count(DISTINCT {text(column)}) FROM raw"
  )
  if numbers < total and words > MOST_WORDS:
    read.problems.add(
      table.file,
      f"has {words:,} different words; a subgroup has at most {MOST_WORDS}",
      column,
    )
