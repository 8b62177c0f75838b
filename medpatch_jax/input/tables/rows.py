"""Events, notes and images of a folder of tables.

Each function reads one table once, adds what is wrong with it to the
reader's problems, and leaves a DuckDB table of that name sorted by the stay's
row.
"""

from medpatch_jax.input import cell
from medpatch_jax.input.discretise import EDGE
from medpatch_jax.input.tables import file, films, stays
from medpatch_jax.input.tables.reader import bits, odd, real, scan, text, whole
from medpatch_jax.input.variables import categories

# What a row of events came to: used, out of the window, without a value, out
# of its range, beyond a limit of measurement and left out, at such a limit.
KEPT, WINDOW, EMPTY, RANGE, CENSORED, BOUND = range(6)
USED = f"state IN ({KEPT}, {BOUND})"
# Names of modalities and of predictions (logits share one dict), and of
# fields of a record.
SERIES, IMAGE = "ehr", "cxr"
RESERVED = (
  *(SERIES, IMAGE, "high", "low", "late", "combined", "reduced", "missingness"),
  *("all", "fuse", "stay_id", "subject_id", "present", "label", "hours"),
)
KIND = r"[a-z][a-z0-9_]{0,29}"
# Of fields that a record has beside a modality's.
SUFFIXES = ("_hour", "_hours")
MOST_KINDS = 20
# What is said of a row whose stay or hour cannot be told.
KEYS = (
  ("no whole number", "stay_id", stays.WHOLE),
  ("is of no stay of the table stays", "stay_id"),
  ("no number, or one beyond all sense", "hour"),
)
NO_KIND = "no lower-case word such as radiology, or a name that is taken"
# Condition: a path that leads out of the folder.
AWAY = r"regexp_matches(r.path, '^([/\\]|[A-Za-z]:)|(^|[/\\])\.\.([/\\]|$)')"
OUTSIDE = "leads outside the folder; wanted a path below it"
SKIP = "; --skip_unknown leaves others out"


def events(read, table, variables, censored="refuse", model=None, skip=False):
  """Reads the events -> table `events`; returns how many were skipped.

  Its columns: row_no, row, hour, variable, word (as given), value, state
  (`KEPT` and so on).

  Args:
    read: `reader.Reader`.
    table: `layout.Table`.
    variables: tuple of `Variable`.
    censored: what is done with values beyond a limit of measurement, see
      `series.CENSORED`.
    model: None for the variables of a folder; of a model that predicts
      "tables" or "mimic", the rules of its series: the latter's read any word.
    skip: leaves out rows of variables that are not known.
  """
  _lookup(read.connection, variables)
  strict = str(model != "mimic")
  bad = f"{strict} AND r.word IS NOT NULL AND NOT v.classes"
  limit = cell.limit_sql("r.word")
  allowed = "false" if censored == "refuse" else f"({limit}) IS NOT NULL"
  problem = bits(
    [
      "r.id IS NULL",
      stranger(read),
      odd("r.hour"),
      "v.variable IS NULL",
      f"{bad} AND {odd('r.number', 1e30)} AND NOT ({allowed})",
      f"{strict} AND v.classes AND r.word IS NOT NULL AND c.class IS NULL",
    ]
  )
  end = f"({limit})"
  bound = (
    f"CASE WHEN isinf({end}) THEN CASE WHEN {end} > 0 THEN v.high ELSE v.low"
    f" END ELSE {end} END"
  )
  if censored != "bound":
    bound = "NULL"
  query = (
    "SELECT row_no, row, hour, variable, word, CASE WHEN classes THEN class"
    " WHEN isfinite(number) THEN number WHEN isfinite(bound) THEN bound END AS"
    f" value, CASE WHEN NOT inside THEN {WINDOW} WHEN word IS NULL THEN {EMPTY}"
    f" WHEN value IS NULL THEN {CENSORED}"
    f" WHEN NOT classes AND (value < low OR value > high) THEN {RANGE}"
    f" WHEN NOT classes AND number IS NULL THEN {BOUND} ELSE {KEPT}"
    " END::UTINYINT AS state, problem::UTINYINT AS problem FROM ("
    "SELECT r.row_no, s.row, r.hour, v.variable, r.word, r.number, v.classes,"
    f" v.low, v.high, c.class, {bound} AS bound, {inside(EDGE)} AS inside,"
    f" {problem} AS problem FROM ("
    f"SELECT row_no, {whole('stay_id')} AS id, {real('hour')} AS hour,"
    f" {text('variable')} AS name, {text('value')} AS word,"
    f" {real('value')} AS number FROM {scan(table)}) r"
    " LEFT JOIN stays s ON s.stay_id = r.id"
    " LEFT JOIN known v ON v.name = r.name"
    " LEFT JOIN classes c ON c.variable = v.variable AND c.word = r.word)"
    " ORDER BY row"
  )
  if not read.load(table, "events", query):
    return 0
  skipped = skip_rows(read, table, 0b1000) if skip else 0
  if model is None:
    unknown = "is none of the table variables"
  else:
    names = ", ".join(v.name for v in variables)
    unknown = f"is none of the model's variables; wanted one of {names}{SKIP}"
  checks = [*KEYS, (unknown, "variable")]
  checks += [("no number", "value", _kinds(read))]
  checks += [("none of its categories", "value")]
  read.report_bits(table, checks)
  check_rows(read, table, f"state != {WINDOW}")
  return skipped


def skip_rows(read, table, bit):
  """Leaves out rows with a bit of `problem` set; returns how many."""
  query = f"DELETE FROM {table.name} WHERE problem & {bit} > 0"
  return read.one(query)[0]


def _kinds(read):
  """What stands where numbers should: kinds and counts, never the words."""
  found = read.connection.execute(
    f"SELECT {cell.kind_sql('word')} AS kind, count(*) AS n FROM events WHERE"
    " problem & 16 > 0 GROUP BY kind ORDER BY n DESC, kind"
  ).fetchall()
  kinds = ", ".join(f"{n:,} {kind}" for kind, n in found)
  beyond = any(kind in cell.LIMITS for kind, _ in found)
  hint = (
    "; --censored=drop leaves out what is beyond a limit of measurement,"
    " --censored=bound takes the limit"
  )
  return f": {kinds}{hint * beyond}"


def _lookup(connection, variables):
  """Tables `known` (variables) and `classes` (their words)."""
  connection.execute(
    "CREATE TABLE known (variable INTEGER, name VARCHAR, classes BOOLEAN,"
    " low DOUBLE, high DOUBLE, modality VARCHAR)"
  )
  connection.execute(
    "CREATE TABLE classes (variable INTEGER, word VARCHAR, class DOUBLE)"
  )
  for i, v in enumerate(variables):
    low, _, _, high = v.limits or (None,) * 4
    connection.execute(
      "INSERT INTO known VALUES (?, ?, ?, ?, ?, ?)",
      [i, v.name, bool(v.classes), low, high, v.modality],
    )
    for word, j in categories(v).items():
      connection.execute("INSERT INTO classes VALUES (?, ?, ?)", [i, word, j])


def _joins(read):
  """Whether there are stays that rows can belong to."""
  return read.one("SELECT count(*) > 0 FROM stays")[0]


def stranger(read):
  """Condition: a row of no stay; never, if no stay could be read."""
  return f"r.id IS NOT NULL AND s.row IS NULL AND {_joins(read)}"


def inside(edge=0.0):
  """Condition: a row of the hours of its stay."""
  return f"(r.hour >= -{edge} AND r.hour <= s.hours + {edge})"


def odd_kind(kind, known=None):
  """Conditions: no name of a kind; one, but none of `known`."""
  plain = f"regexp_full_match({kind}, {file.quote(KIND)})"
  taken = ", ".join(map(file.quote, RESERVED))
  ends = " OR ".join(f"suffix({kind}, {file.quote(s)})" for s in SUFFIXES)
  odd = f"coalesce(NOT {plain} OR {kind} IN ({taken}) OR {ends}, true)"
  if not known:
    return odd, "false"
  names = ", ".join(map(file.quote, known))
  return odd, f"NOT {odd} AND {kind} NOT IN ({names})"


def check_rows(read, table, inside):
  """Counts the rows; a table without any of use is the wrong table."""
  table.rows, good, kept = read.one(
    f"SELECT count(*), count(*) FILTER (problem = 0), count(*) FILTER"
    f" (problem = 0 AND {inside}) FROM {table.name}"
  )
  if not table.rows:
    read.problems.add(table.file, "has no rows; leave the file out instead")
  elif good and not kept and _joins(read):
    read.problems.add(
      table.file, "no row lies in the hours of its stay; wanted hours since"
      " the start of the stay", "hour",
    )  # fmt: skip


def notes(read, table, known=None, skip=False):
  """Reads the notes -> table `notes`.

  Its columns: row_no, row, kind, hour, text (NULL if blank), inside.

  Args:
    read: `reader.Reader`.
    table: `layout.Table`.
    known: kinds of a model, each -> whether notes of later than the window
      are read, too; None for any kinds.
    skip: leaves out rows of other kinds.

  Returns:
    (kinds there are, sorted; rows skipped).
  """
  late = ", ".join(map(file.quote, [k for k, v in (known or {}).items() if v]))
  window = f"({inside()}{f' OR r.kind IN ({late})' if late else ''})"
  odd_name, unknown = odd_kind("r.kind", known)
  problem = bits(
    [
      "r.id IS NULL",
      stranger(read),
      odd("r.hour"),
      odd_name,
      unknown,
    ]
  )
  query = (
    f"SELECT r.row_no, s.row, r.kind, r.hour, r.text,"
    f" {window} AS inside, ({problem})::UTINYINT AS problem FROM ("
    f"SELECT row_no, {whole('stay_id')} AS id, {real('hour')} AS hour,"
    f" {text('kind')} AS kind, {text('text')} AS text"
    f" FROM {scan(table)}) r LEFT JOIN stays s ON s.stay_id = r.id"
    " ORDER BY s.row"
  )
  if not read.load(table, "notes", query):
    return (), 0
  skipped = skip_rows(read, table, 0b11000) if skip else 0
  wanted = f"wanted one of {', '.join(known or ())}{SKIP}"
  read.report_bits(table, [*KEYS, (NO_KIND, "kind"), (wanted, "kind")])
  check_rows(read, table, "inside")
  kinds = read.connection.execute(
    "SELECT DISTINCT kind FROM notes WHERE problem = 0 ORDER BY kind"
  ).fetchall()
  if len(kinds) > MOST_KINDS:
    read.problems.add(
      table.file, f"has {len(kinds):,} kinds, at most {MOST_KINDS}", "kind"
    )
  return tuple(kind for (kind,) in kinds), skipped


def images(read, table, root):
  """Reads the images -> table `images`, the last one of each stay's hours.

  Its columns: row_no, row, hour, path. Each file is there, in the folder, and
  a film can be had from it.

  Returns:
    Rows that were left out since none can be, ascending.
  """
  problem = bits(
    [
      "r.id IS NULL",
      stranger(read),
      odd("r.hour"),
      "r.path IS NULL",
      AWAY,
    ]
  )
  query = (
    f"SELECT r.row_no, s.row, r.hour, r.path,"
    f" {inside()} AS inside, ({problem})::UTINYINT AS problem FROM ("
    f"SELECT row_no, {whole('stay_id')} AS id, {real('hour')} AS hour,"
    f" {text('path')} AS path"
    f" FROM {scan(table)}) r LEFT JOIN stays s ON s.stay_id = r.id"
    " ORDER BY s.row"
  )
  if not read.load(table, "images", query):
    return []
  read.report_bits(table, [*KEYS, ("is empty", "path"), (OUTSIDE, "path")])
  check_rows(read, table, "inside")
  connection = read.connection
  connection.execute(
    "CREATE TABLE last AS SELECT row_no, row, hour, path FROM images WHERE"
    " problem = 0 AND inside QUALIFY row_number() OVER (PARTITION BY row ORDER"
    " BY hour DESC, row_no DESC) = 1 ORDER BY row"
  )
  connection.execute("DROP TABLE images")
  connection.execute("ALTER TABLE last RENAME TO images")
  return films.check(read, table, root, OUTSIDE)
