"""SQL expressions and checks that the tables share."""

from data.tables.layout import name

# A column read as text, as a whole number, as a number; NULL if it is none.
_SPACE = "' \t\r\n'"


def text(column):
  return f"nullif(trim(CAST({name(column)} AS VARCHAR), {_SPACE}), '')"


def whole(column):
  # A whole number that went through a table of floats ends in .0; a plain
  # cast would round 1.7.
  word = text(column)
  return (
    f"CASE WHEN regexp_full_match({word}, '-?\\d{{1,18}}(\\.0+)?') THEN"
    f" CAST(regexp_extract({word}, '^-?\\d+') AS BIGINT) END"
  )


def real(column):
  return f"TRY_CAST({text(column)} AS DOUBLE)"


def odd(value, most=1e6):
  """Condition: no number, or one beyond all sense."""
  return f"coalesce(NOT isfinite({value}) OR abs({value}) > {most}, true)"


def bits(conditions):
  """A number whose bit i tells whether condition i holds."""
  return " + ".join(
    f"CASE WHEN {condition} THEN {1 << i} ELSE 0 END"
    for i, condition in enumerate(conditions)
  )


def report(connection, table, source, condition, problems, what, column=None):
  """Adds a problem if rows of `source` (with row_no) meet a condition."""
  count = connection.execute(
    f"SELECT count(*) FROM {source} WHERE {condition}"
  ).fetchone()[0]
  if count:
    rows = connection.execute(
      f"SELECT row_no FROM {source} WHERE {condition} ORDER BY row_no LIMIT 5"
    ).fetchall()
    problems.add(table.file, what, column, [r for (r,) in rows], count)


def report_bits(connection, table, checks, problems):
  """As `report` for each (what, column) whose bit is set in `problem`."""
  for i, (what, column) in enumerate(checks):
    condition = f"problem & {1 << i} > 0"
    report(connection, table, table.name, condition, problems, what, column)
