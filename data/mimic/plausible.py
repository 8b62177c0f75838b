"""Values that no table of MIMIC can hold: a file was damaged on the way."""

from data.errors import InputError

# MIMIC's dates are moved to 2089 to 2214, by one offset a patient.
_FIRST, _LAST = 1900, 2300
SPAN = f"{_FIRST} to {_LAST}"
_HINT = "Was the file rewritten by a program that guesses formats?"


def absurd(time):
  """SQL: a time outside these years."""
  low, high = (f"TIMESTAMP '{year}-01-01'" for year in (_FIRST, _LAST))
  return f"coalesce({time} < {low} OR {time} >= {high}, false)"


def _time(column):
  return column, absurd(column), f"a time in the years {SPAN}"


# Table -> (column, SQL of a value it cannot have, what is wanted).
_IMPOSSIBLE = {
  "patients": (
    ("anchor_age", "anchor_age NOT BETWEEN 0 AND 130", "0 to 130 years"),
    (
      "anchor_year",
      f"anchor_year NOT BETWEEN {_FIRST} AND {_LAST}",
      f"a year in {SPAN}",
    ),
    _time("dod"),
  ),
  "admissions": (
    _time("admittime"),
    _time("dischtime"),
    _time("deathtime"),
    (
      "dischtime",
      "dischtime < admittime - INTERVAL 2 DAY",
      "a time after admittime",
    ),
    ("hospital_expire_flag", "hospital_expire_flag NOT IN (0, 1)", "0 or 1"),
  ),
  "icustays": (
    _time("intime"),
    _time("outtime"),
    ("outtime", "outtime < intime", "a time after intime"),
  ),
}


def check(connection, table):
  """Refuses a loaded table more than 1 % of whose rows cannot be.

  Args:
    connection: holds the table under its name, with a column row_no.
    table: `tables.Table`.
  """
  for column, impossible, wanted in _IMPOSSIBLE[table.name]:
    wrong, first = connection.execute(
      f"SELECT count(*), min(row_no) FROM {table.name} WHERE {impossible}"
    ).fetchone()
    if wrong > max(1, 0.01 * table.rows):
      raise InputError(
        f"{table.path}: column {column} of {wrong:,} of {table.rows:,} rows"
        f" cannot be (wanted {wanted}), at most 1 % may; the first is row"
        f" {first}. {_HINT}"
      )


def check_times(table, column, wrong, total):
  """Refuses a table more than 1 % of whose rows have an absurd time.

  Args:
    table: `tables.Table`.
    column: of the times.
    wrong: such rows of the cohort.
    total: rows of the cohort.
  """
  if wrong > max(1, 0.01 * total):
    raise InputError(
      f"{table.path}: column {column} of {wrong:,} of the cohort's {total:,}"
      f" rows lies outside the years {SPAN}, at most 1 % may. {_HINT}"
    )
