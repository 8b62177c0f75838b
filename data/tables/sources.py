"""Variables, events, notes and images of a folder of tables.

Each function reads one table once, adds what is wrong with it to `problems`,
and leaves a DuckDB table of that name sorted by the stay's row.
"""

import dataclasses
import os
import pathlib

import numpy as np

from data.splits import SPLITS
from data.tables import sql
from data.tables.layout import load, quote, scan
from medpatch_jax.input.discretise import EDGE
from medpatch_jax.input.variables import Variable, categories

# What a row of events came to.
KEPT, WINDOW, EMPTY, RANGE = range(4)
# Names of modalities and of predictions (logits share one dict), and of
# fields of a record.
SERIES, IMAGE = "ehr", "cxr"
RESERVED = (
  *(SERIES, IMAGE, "high", "low", "late", "combined", "reduced", "missingness"),
  *("all", "fuse", "stay_id", "subject_id", "present", "label"),
)
KIND = r"[a-z][a-z0-9_]{0,29}"
MOST_KINDS = 20
_NO_STAY = ("no whole number", "stay_id")
_UNKNOWN_STAY = ("is of no stay of the table stays", "stay_id")
_NO_HOUR = ("no number, or one beyond all sense", "hour")


def variables(connection, table, problems, quiet=False):
  """Reads the table of variables -> tuple of `Variable`.

  Where no normal value is given it is NaN, or "" of categories: `normals`
  fills it in.
  """
  optional = ("categories", "normal", "low", "high", "unit")
  given = [c for c in ("name", *optional) if c in table.header]
  columns = ", ".join(sql.text(c) for c in given)
  read = (
    f"CREATE TABLE raw_variables AS SELECT row_no, {columns} FROM {scan(table)}"
  )
  if "name" not in given or not load(connection, table, read, problems, quiet):
    return ()
  rows = connection.execute(
    "SELECT * FROM raw_variables ORDER BY row_no"
  ).fetchall()
  table.rows = len(rows)
  if not rows:
    problems.add(table.file, "has no rows")
  out = []
  for number, *cells in rows:
    cells = dict(zip(given, cells))
    found = _variable(table, number, cells, out, problems)
    if found:
      out.append(found)
  return tuple(out)


def _variable(table, row, cells, before, problems):
  """One row -> `Variable`, or None with the reasons in `problems`."""
  known = len(problems.lines)

  def wrong(what, column):
    problems.add(table.file, what, column, [row])

  title = cells["name"]
  if title is None or "->" in title or not title.isprintable():
    wrong("no name of printable characters without ->", "name")
  elif title in [v.name for v in before]:
    wrong("has been there before", "name")
  words = cells.get("categories")
  classes = tuple(w.strip() for w in words.split("|")) if words else ()
  if words and (len(set(classes)) < len(classes) or len(classes) < 2):
    wrong("wanted two or more different words, as low|high", "categories")
  if "" in classes:
    wrong("holds an empty word", "categories")
  number = {}
  for column in ("normal", "low", "high"):
    word = cells.get(column)
    number[column] = np.nan
    if word is None or (classes and column == "normal"):
      continue
    try:
      number[column] = float(word)
    except ValueError:
      pass
    if not np.isfinite(number[column]):
      wrong("no number", column)
    elif classes:
      wrong("is given for a variable of categories", column)
  normal, low, high = number["normal"], number["low"], number["high"]
  if low >= high:
    wrong("is not below high", "low")
  if normal < low or normal > high:
    wrong("lies outside low and high", "normal")
  if classes:
    normal = cells.get("normal") or ""
    if normal and normal not in classes:
      wrong("is none of the categories", "normal")
  if len(problems.lines) > known:
    return None
  low, high = np.nan_to_num(low, nan=-np.inf), np.nan_to_num(high, nan=np.inf)
  return Variable(
    title,
    normal,
    (),
    unit=cells.get("unit") or "",
    classes=classes,
    scores=tuple(float(i) for i in range(len(classes))),
    limits=None
    if classes
    else (float(low), float(low), float(high), float(high)),
  )


def events(connection, table, variables, problems, quiet=False):
  """Reads the events -> table `events`.

  Its columns: row_no, row, hour, variable, value, state (`KEPT` and so on).
  """
  _lookup(connection, variables)
  word, number = sql.text("value"), sql.real("value")
  bits = sql.bits(
    [
      "r.id IS NULL",
      _stranger(connection),
      sql.odd("r.hour"),
      "v.variable IS NULL",
      f"NOT v.classes AND r.word IS NOT NULL AND {sql.odd('r.number', 1e30)}",
      "v.classes AND r.word IS NOT NULL AND c.class IS NULL",
    ]
  )
  value = "CASE WHEN v.classes THEN c.class ELSE r.number END"
  read = (
    f"CREATE TABLE events AS SELECT r.row_no, s.row, r.hour, v.variable,"
    f" {value} AS value, CASE WHEN NOT {_inside(EDGE)} THEN {WINDOW}"
    f" WHEN r.word IS NULL THEN {EMPTY}"
    f" WHEN r.number < v.low OR r.number > v.high THEN {RANGE}"
    f" ELSE {KEPT} END::UTINYINT AS state, ({bits})::UTINYINT AS problem FROM ("
    f"SELECT row_no, {sql.whole('stay_id')} AS id, {sql.real('hour')} AS hour,"
    f" {sql.text('variable')} AS name, {word} AS word, {number} AS number"
    f" FROM {scan(table)}) r"
    " LEFT JOIN stays s ON s.stay_id = r.id"
    " LEFT JOIN known v ON v.name = r.name"
    " LEFT JOIN classes c ON c.variable = v.variable AND c.word = r.word"
    " ORDER BY s.row"
  )
  if not load(connection, table, read, problems, quiet):
    return
  checks = [_NO_STAY, _UNKNOWN_STAY, _NO_HOUR]
  checks += [("is none of the table variables", "variable")]
  checks += [("no number", "value"), ("none of its categories", "value")]
  sql.report_bits(connection, table, checks, problems)
  _check_rows(connection, table, f"state != {WINDOW}", problems)


def _lookup(connection, variables):
  """Tables `known` (variables) and `classes` (their words)."""
  connection.execute(
    "CREATE TABLE known (variable INTEGER, name VARCHAR, classes BOOLEAN,"
    " low DOUBLE, high DOUBLE)"
  )
  connection.execute(
    "CREATE TABLE classes (variable INTEGER, word VARCHAR, class DOUBLE)"
  )
  for i, v in enumerate(variables):
    low, _, _, high = v.limits or (None,) * 4
    connection.execute(
      "INSERT INTO known VALUES (?, ?, ?, ?, ?)",
      [i, v.name, bool(v.classes), low, high],
    )
    for word, j in categories(v).items():
      connection.execute("INSERT INTO classes VALUES (?, ?, ?)", [i, word, j])


def _joins(connection):
  """Whether there are stays that rows can belong to."""
  return connection.execute("SELECT count(*) > 0 FROM stays").fetchone()[0]


def _stranger(connection):
  """Condition: a row of no stay; never, if no stay could be read."""
  return f"r.id IS NOT NULL AND s.row IS NULL AND {_joins(connection)}"


def _inside(edge=0.0):
  return f"(r.hour >= -{edge} AND r.hour <= s.hours + {edge})"


def _check_rows(connection, table, inside, problems):
  """Counts the rows; a table without any of use is the wrong table."""
  table.rows, good, kept = connection.execute(
    f"SELECT count(*), count(*) FILTER (problem = 0), count(*) FILTER"
    f" (problem = 0 AND {inside}) FROM {table.name}"
  ).fetchone()
  if not table.rows:
    problems.add(table.file, "has no rows; leave the file out instead")
  elif good and not kept and _joins(connection):
    problems.add(
      table.file, "no row lies in the hours of its stay; wanted hours since"
      " the start of the stay", "hour",
    )  # fmt: skip


def normals(connection, variables, split, usual):
  """Fills in normal values that were not given.

  With the mean of the train split's values, or their commonest category, the
  first of several. What train never measured gets its usual value, else the
  middle of its range, or its first category.

  Args:
    connection: with the tables events and stays.
    variables: of `variables`.
    split: i64[S], index into SPLITS, in record order.
    usual: name -> value of a healthy person, as far as the source knows.

  Returns:
    Tuple of `Variable`.
  """
  last = int((split == SPLITS.index("train")).sum())
  # In one thread: sums of several would differ in their last digits.
  threads = connection.execute("SELECT current_setting('threads')").fetchone()[
    0
  ]
  connection.execute("SET threads=1")
  rows = f"FROM events WHERE state = {KEPT} AND row < {last}"
  means = dict(
    connection.execute(
      f"SELECT variable, avg(value) {rows} GROUP BY variable"
    ).fetchall()
  )
  common = connection.execute(
    f"SELECT variable, value, count(*) AS n {rows} GROUP BY variable, value"
    " ORDER BY n, value DESC"
  ).fetchall()
  connection.execute(f"SET threads={threads}")
  most = {variable: value for variable, value, _ in common}
  out = []
  for i, v in enumerate(variables):
    if v.classes and not v.normal:
      v = dataclasses.replace(v, normal=v.classes[int(most.get(i, 0))])
    elif not v.classes and np.isnan(v.normal):
      v = dataclasses.replace(
        v, normal=float(means.get(i, usual.get(v.name, _middle(v))))
      )
    out.append(v)
  return tuple(out)


def _middle(variable):
  """The middle of a variable's range; of one open to a side, what is next to 0."""
  low, _, _, high = variable.limits
  if np.isfinite(low) and np.isfinite(high):
    return (low + high) / 2
  return np.clip(0.0, low, high)


def notes(connection, table, problems, quiet=False):
  """Reads the notes -> table `notes`; returns the kinds there are, sorted.

  Its columns: row_no, row, kind, hour, text (NULL if blank), inside.
  """
  plain = f"regexp_full_match(r.kind, {quote(KIND)})"
  taken = ", ".join(map(quote, RESERVED))
  bits = sql.bits(
    [
      "r.id IS NULL",
      _stranger(connection),
      sql.odd("r.hour"),
      f"coalesce(NOT {plain} OR r.kind IN ({taken}) OR"
      " suffix(r.kind, '_hour') OR suffix(r.kind, '_hours'), true)",
    ]
  )
  read = (
    f"CREATE TABLE notes AS SELECT r.row_no, s.row, r.kind, r.hour, r.text,"
    f" {_inside()} AS inside, ({bits})::UTINYINT AS problem FROM ("
    f"SELECT row_no, {sql.whole('stay_id')} AS id, {sql.real('hour')} AS hour,"
    f" {sql.text('kind')} AS kind, {sql.text('text')} AS text"
    f" FROM {scan(table)}) r LEFT JOIN stays s ON s.stay_id = r.id"
    " ORDER BY s.row"
  )
  if not load(connection, table, read, problems, quiet):
    return ()
  wanted = "no lower-case word such as radiology, or a name that is taken"
  checks = [_NO_STAY, _UNKNOWN_STAY, _NO_HOUR, (wanted, "kind")]
  sql.report_bits(connection, table, checks, problems)
  _check_rows(connection, table, "inside", problems)
  kinds = connection.execute(
    "SELECT DISTINCT kind FROM notes WHERE problem = 0 ORDER BY kind"
  ).fetchall()
  if len(kinds) > MOST_KINDS:
    problems.add(
      table.file, f"has {len(kinds):,} kinds, at most {MOST_KINDS}", "kind"
    )
  return tuple(kind for (kind,) in kinds)


def images(connection, table, root, problems, quiet=False):
  """Reads the images -> table `images`, the last one of each stay's hours.

  Its columns: row_no, row, hour, path. Each file is there, in the folder.
  """
  away = r"regexp_matches(r.path, '^([/\\]|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)')"
  bits = sql.bits(
    [
      "r.id IS NULL",
      _stranger(connection),
      sql.odd("r.hour"),
      "r.path IS NULL",
      away,
    ]
  )
  read = (
    f"CREATE TABLE images AS SELECT r.row_no, s.row, r.hour, r.path,"
    f" {_inside()} AS inside, ({bits})::UTINYINT AS problem FROM ("
    f"SELECT row_no, {sql.whole('stay_id')} AS id, {sql.real('hour')} AS hour,"
    f" {sql.text('path')} AS path"
    f" FROM {scan(table)}) r LEFT JOIN stays s ON s.stay_id = r.id"
    " ORDER BY s.row"
  )
  if not load(connection, table, read, problems, quiet):
    return
  outside = "leads outside the folder; wanted a path below it"
  checks = [_NO_STAY, _UNKNOWN_STAY, _NO_HOUR, ("is empty", "path")]
  sql.report_bits(connection, table, [*checks, (outside, "path")], problems)
  _check_rows(connection, table, "inside", problems)
  connection.execute(
    "CREATE TABLE last AS SELECT row_no, row, hour, path FROM images WHERE"
    " problem = 0 AND inside QUALIFY row_number() OVER (PARTITION BY row ORDER"
    " BY hour DESC, row_no DESC) = 1 ORDER BY row"
  )
  connection.execute("DROP TABLE images")
  connection.execute("ALTER TABLE last RENAME TO images")
  _check_files(connection, table, root, outside, problems)


def _check_files(connection, table, root, outside, problems):
  """Each image that is used must be a file below the folder, links or not."""
  real = os.path.realpath(root)
  missing, away = [], []
  for row, path in connection.execute(
    "SELECT row_no, path FROM images ORDER BY row_no"
  ).fetchall():
    file = os.path.realpath(pathlib.Path(root) / path)
    if not file.startswith(real + os.sep):
      away.append(row)
    elif not os.path.isfile(file):
      missing.append(row)
  if away:
    problems.add(table.file, outside, "path", away)
  if missing:
    problems.add(table.file, "names no file of the folder", "path", missing)
