"""The rows of MEDS's shards that a map makes something of, by window.

Of each sample a window is read that ends at its prediction time: nothing
later is.
"""

import dataclasses

from data.errors import InputError
from data.meds import folder as folder_lib
from data.meds import labels as labels_lib
from data.mimic import rules as rules_lib
from medpatch_jax.input import cell, clean
from medpatch_jax.input.tables import file
from medpatch_jax.input.tables import stays as stays_lib

HOUR = 3_600_000_000  # Microseconds.
# Uses of codes that are of any time up to the prediction.
_ANY = ("word", "years_since")


@dataclasses.dataclass
class Meds:
  """What is read, and where to.

  Attributes:
    connection: DuckDB's.
    folder: `folder.Folder`.
    map: `mapping.Mapping`.
    labels: path of the first label file, whose rows messages name.
    rules: `rules.Rules`, of MIMIC's items.
    remarks: sentences for the report.
    facts: counts for the report.
  """

  connection: object
  folder: object
  map: object
  labels: object
  rules: object = dataclasses.field(default_factory=rules_lib.Rules)
  remarks: list = dataclasses.field(default_factory=list)
  facts: dict = dataclasses.field(default_factory=dict)

  def run(self, query, *values):
    return self.connection.execute(query, *values)

  def insert(self, table, rows):
    """Inserts tuples."""
    places = ", ".join("?" * len(rows[0]))
    self.connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)

  def count(self, what, n):
    """Adds to a fact."""
    self.facts[what] = self.facts.get(what, 0) + int(n)

  def refuse(self, source, condition, column, what):
    """Refuses the first row of `source` (shard, row_no) under a condition."""
    found = self.run(
      f"SELECT shard, row_no FROM {source} WHERE {condition} ORDER BY ALL LIMIT"
      " 1"
    ).fetchone()
    if found:
      self.folder.refuse(*found, column, what)

  def entries(self, *uses):
    """SQL of a list of the places in the map of entries with these uses."""
    found = [i for i, e in enumerate(self.map.entries) if e.use in uses]
    return listed(found or [-1])

  @property
  def shards(self):
    """SQL of the rows of each shard."""
    return [self.folder.scan(i) for i in range(len(self.folder.shards))]


def listed(numbers):
  """Numbers as a list of SQL."""
  return f"({', '.join(map(str, numbers))})"


def codes(meds):
  """Table `codes`: every code that is mapped, with what it becomes.

  Its columns: code, entry (place in the map), rank (0 for the preferred
  one), item, part (what * stands for), multiply, plus, value.
  """
  scans = " UNION ALL ".join(f"SELECT code FROM {s}" for s in meds.shards)
  there = meds.run(f"SELECT DISTINCT code FROM ({scans}) ORDER BY 1").fetchall()
  meds.run(
    "CREATE TABLE codes (code VARCHAR, entry INTEGER, rank INTEGER, item"
    " INTEGER, part VARCHAR, multiply DOUBLE, plus DOUBLE, value VARCHAR)"
  )
  known = set(clean.sources(meds.rules.variables)[0].tolist())
  for i, entry in enumerate(meds.map.entries):
    rows = {}
    for rank, source in enumerate(entry.sources):
      for (code,) in there:
        part = source.match(code)
        item = int(part) if entry.use == "item" and part else None
        if part is not None and (item is None or item in known):
          rest = part, source.multiply, source.add, source.value
          rows.setdefault(code, (code, i, rank, item, *rest))
    if rows:
      meds.insert("codes", list(rows.values()))
    elif entry.optional:
      meds.remarks.append(
        f"{entry.use} {entry.name}: none of its codes occurs."
      )
    else:
      raise InputError(
        f"{meds.map.source}, {entry.use} {entry.name}: matches no code of"
        f" {meds.folder.root / 'data'}; correct its codes, or say optional:"
        " true."
      )


def windows(meds, progress):
  """Table `placed`: `samples` with their windows.

  Its further columns: start, stay_id, row (in order of stay_id), hours.
  """
  _starts(meds, progress)
  labels_lib.refuse(
    meds.connection, meds.labels, "(FROM samples ANTI JOIN subjects USING"
    " (subject_id))", "true", "subject_id",
    f"the subject has no row in {meds.folder.root / 'data'}",
  )  # fmt: skip
  if meds.map.hours is not None:
    window = (
      f"SELECT s.*, until - to_microseconds({round(meds.map.hours * HOUR)}) AS"
      " start, row_no AS stay_id FROM samples s"
    )
  else:
    window = (
      "SELECT s.*, t.time AS start, coalesce(t.id, s.row_no) AS stay_id FROM"
      " samples s ASOF LEFT JOIN starts t ON s.subject_id = t.subject_id AND"
      " s.until >= t.time"
    )
  meds.run(
    "CREATE TABLE placed AS SELECT *, row_number() OVER (ORDER BY stay_id,"
    f" row_no) - 1 AS row, (epoch_us(until) - epoch_us(start)) / {HOUR} AS"
    " hours, row_number() OVER (PARTITION BY stay_id ORDER BY row_no) AS n FROM"
    f" ({window})"
  )
  most = stays_lib.MOST_HOURS
  for condition, what in (
    ("start IS NULL", "no event that begins a window is at or before it"),
    (
      f"NOT (hours > 0 AND hours <= {most})",
      f"its window is not of hours above 0 and up to {most:,}",
    ),
    (
      "n > 1",
      "is of a stay that has been there before; for several prediction times"
      " of a stay leave stay_id out of the map",
    ),
  ):
    labels_lib.refuse(
      meds.connection, meds.labels, "placed", condition, "prediction_time", what
    )


def _starts(meds, progress):
  """Tables `subjects` and `starts` (of windows: subject_id, time, id)."""
  meds.run("CREATE TABLE subjects (subject_id BIGINT)")
  meds.run("CREATE TABLE starts (subject_id BIGINT, time TIMESTAMP, id BIGINT)")
  named = meds.map.stay_id
  if named and named not in meds.folder.columns:
    raise InputError(
      f"{meds.folder.root / 'data'}, column {named}: is missing from a shard;"
      " the map takes the stay's id from it."
    )
  number = f"TRY_CAST({file.name(named)} AS BIGINT)" if named else "NULL"
  begins = f"SELECT code FROM codes WHERE entry IN {meds.entries('start')}"
  with progress("reading the subjects"):
    for scan in meds.shards:
      meds.run(f"INSERT INTO subjects SELECT DISTINCT subject_id FROM {scan}")
      meds.run(
        f"INSERT INTO starts SELECT subject_id, time, {number} FROM {scan}"
        f" WHERE time IS NOT NULL AND code IN ({begins})"
      )
  # Of two stays that begin at one time the same is taken every time.
  meds.run(
    "CREATE OR REPLACE TABLE starts AS SELECT subject_id, time, min(id) AS id"
    " FROM starts GROUP BY ALL"
  )


def seen(meds, progress):
  """Table `seen`: the rows of the windows, with what they become.

  Its columns: row (of the sample), time, us (microseconds from the start; 0
  of a row without a time), entry, rank, item, part, given and number (before
  and after multiply and plus), text, fixed (by the map), shard, row_no.
  """
  items, anytime = meds.entries("item"), meds.entries(*_ANY)
  early = round(meds.rules.carry_in * HOUR)
  inside = (
    f"CASE WHEN c.entry IN {anytime} THEN e.time IS NULL OR e.time <= s.until"
    f" WHEN e.time IS NULL THEN c.entry NOT IN {items}"
    " ELSE e.time <= s.until AND e.time >= s.start -"
    f" to_microseconds(CASE WHEN c.entry IN {items} THEN {early} ELSE 0 END) END"
  )
  # The shortest text of a 32-bit float is what was charted; its own digits
  # go on.
  given = "CAST(CAST(e.numeric_value AS VARCHAR) AS DOUBLE)"
  select = (
    "SELECT s.row, CAST(e.time AS TIMESTAMP) AS time, coalesce(epoch_us(e.time)"
    f" - epoch_us(s.start), 0) AS us, c.*, {given} AS given, given * c.multiply"
    f" + c.plus AS number, coalesce(c.value, {cell.text_sql('e.text_value')}) AS"
    " text, c.value IS NOT NULL AS fixed"
  )
  with progress("reading the shards"):
    for shard, scan in enumerate(meds.shards):
      with folder_lib.reading(meds.folder.shards[shard]):
        meds.run(
          f"{'INSERT INTO seen' if shard else 'CREATE TABLE seen AS'} {select},"
          f" {shard} AS shard, e.row_no FROM {scan} e JOIN codes c ON e.code ="
          " c.code JOIN placed s ON e.subject_id = s.subject_id WHERE"
          f" {inside}"
        )
  meds.refuse(
    "seen", "isnan(given)", "numeric_value", "NaN; wanted a number, or null"
  )
