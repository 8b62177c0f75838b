"""Series, films and notes of the chosen stays, joined by subject and time.

Each function reads one csv file once and leaves a table of the store sorted
by the stay's row, which the records are then written from, a few stays at a
time. Windows: MIMIC.md sections 3 and 4.
"""

import pathlib
import re

from data.errors import InputError
from data.mimic import death, plausible, tables
from data.mimic import hourly as hourly_lib
from data.mimic import store as store_lib
from medpatch_jax.input import cell
from medpatch_jax.input import variables as table_lib

_DICOM = re.compile(r"[0-9A-Za-z-]+\Z")


def events(store, table, rules):
  """Rows of chartevents or labevents -> the store's table of that name.

  Its columns: row, second (from intime), item, number, text (where a number
  alone does not say it). Rows up to `carry_in` hours before intime are kept
  for what may be carried in.

  Returns:
    Counts: "rows" of the cohort's stays; "odd" ones: of labs without
    hadm_id, of the chart with another stay's id; what is left out: "absurd"
    ones, whose time cannot be, and those "after" the death.
  """
  lab = table.name == "labevents"
  variables = rules.variables
  items = [i for v in variables for i in (v.labs if lab else v.items)]
  number = "e.valuenum"
  if rules.numbers == "value":
    number = "try_cast(e.value AS DOUBLE)"
  by_text = table_lib.CHARTED if rules.ties == "text" else ()
  words = [
    i for v in variables if v.classes or v.name in by_text for i in v.items
  ]
  carried = [i for v in variables if v.carry for i in v.items] or [-1]
  early = int(rules.carry_in * 3600)
  named = ""
  if lab and rules.lab_join == "admission":
    named = " AND e.hadm_id IN (SELECT hadm_id FROM eligible)"
  if not lab and rules.chart_join == "stay":
    named = " AND e.stay_id IN (SELECT stay_id FROM eligible)"
  in_list = ", ".join(str(i) for i in items)
  text = (
    f"CASE WHEN {number} IS NULL OR e.itemid IN"
    f" ({', '.join(map(str, words))}) OR contains(e.value, '/')"
    " THEN e.value END"
  )
  # Lab rows without an admission; chart rows that name another stay, which
  # time contradicts.
  odd = "e.hadm_id IS NULL" if lab else "e.stay_id != s.stay_id"
  wrong = plausible.absurd("e.charttime")
  after = death.hidden("e.charttime")
  store.scan(
    table,
    table.name,
    f"SELECT s.row, CASE WHEN NOT {wrong} AND NOT {after} THEN"
    f" CAST({death.seconds('e.charttime')} AS INTEGER) END AS second,"
    f" CAST(e.itemid AS INTEGER) AS item, {number} AS number, {text} AS text,"
    f" coalesce({odd}, false) AS odd, {after} AND NOT {wrong} AS after"
    f" FROM {tables.scan(table)} e JOIN stays s"
    " ON e.subject_id = s.subject_id"
    f" WHERE e.itemid IN ({in_list}) AND ({wrong} OR"
    f" {death.seconds('e.charttime')} <= s.planned"
    f" AND {death.seconds('e.charttime')} >="
    f" CASE WHEN e.itemid IN ({', '.join(map(str, carried))})"
    f" THEN -{early} ELSE 0 END){named}"
    " ORDER BY s.row",
  )
  total, rows, odd, after = store.one(
    "SELECT count(*), count(second), count(*) FILTER (odd AND second IS NOT"
    f" NULL), count(*) FILTER (after) FROM {table.name}"
  )
  absurd = total - rows - after
  plausible.check_times(table, "charttime", absurd, total)
  store.empty(table, rows + after)
  if not lab and rows and odd > 0.5 * rows:
    raise InputError(
      f"{table.path}: {odd:,} of {rows:,} rows of the cohort's subjects name"
      " another stay_id than the one they were charted in; is it of the same"
      " release as icustays?"
    )
  return {"rows": rows, "odd": odd, "absurd": absurd, "after": after}


def films(store, table, hourly=False):
  """The last AP film of each stay's window -> table `films`.

  With `hourly` the last one before each hour that may be labelled. Columns: row, hour (from intime), subject_id, study_id, dicom_id, line
  (of the metadata file).

  Returns:
    How many films of the windows were taken after the death.
  """
  # A time read as a number by some tool has lost its leading zeros.
  clock = "lpad(split_part(StudyTime, '.', 1), 6, '0')"
  part = (
    "coalesce(try_cast('0.' || split_part(StudyTime, '.', 2) AS DOUBLE), 0)"
  )
  day = "split_part(StudyDate, '.', 1)"
  time = f"try_strptime({day} || {clock}, '%Y%m%d%H%M%S')"
  store.scan(
    table,
    "all_films",
    "SELECT dicom_id, subject_id, study_id, ViewPosition AS view,"
    f" row_number() OVER () + 1 AS line, {time} AS time, {part} AS part"
    f" FROM {tables.scan(table)}",
  )
  named = "regexp_full_match(dicom_id, '[0-9A-Za-z-]+')"
  odd = store.execute(
    "SELECT line FROM all_films WHERE time IS NULL OR dicom_id IS NULL OR"
    f" subject_id IS NULL OR study_id IS NULL OR NOT {named} OR"
    f" {plausible.absurd('time')} ORDER BY line"
  ).fetchall()
  _odd(table, [line for (line,) in odd], "StudyDate and StudyTime, or an id")
  hour = f"({death.seconds('f.time')} + f.part) / 3600"
  seen = f", greatest(ceil({hour}), {hourly_lib.FIRST})" if hourly else ""
  store.derive(
    "films",
    f"SELECT s.row, {hour} AS hour, f.subject_id, f.study_id, f.dicom_id, f.line"
    " FROM all_films f JOIN stays s ON f.subject_id = s.subject_id"
    f" WHERE f.view = 'AP' AND {named} AND f.study_id IS NOT NULL"
    f" AND {death.seconds('f.time')} + f.part BETWEEN 0 AND s.seconds"
    f" QUALIFY row_number() OVER (PARTITION BY s.row{seen} ORDER BY"
    " f.time DESC, f.part DESC, f.study_id DESC, f.dicom_id DESC) = 1"
    " ORDER BY s.row, hour",
  )
  store.empty(
    table,
    store.one(
      "SELECT count(*) FROM all_films f SEMI JOIN stays s USING (subject_id)"
    )[0],
  )
  return store.one(
    "SELECT count(*) FROM all_films f JOIN stays s USING (subject_id) WHERE"
    f" f.view = 'AP' AND {death.hidden('f.time')} AND"
    f" {death.seconds('f.time')} <= s.planned"
  )[0]


def _odd(table, lines, what):
  """Counts rows whose content DuckDB could read but we cannot."""
  table.bad = sorted(table.bad + lines)[:100]
  table.bad_count += len(lines)
  if table.bad_count > max(1, 0.01 * table.rows):
    raise InputError(
      f"{table.path}: {table.bad_count:,} of {table.rows:,} rows cannot be"
      f" read, at most 1 % may; the first is line {table.bad[0]}: column"
      f" {what} is not as wanted (YYYYMMDD, HHMMSS, {plausible.SPAN})."
    )


def film_path(root, subject, study, dicom):
  """Where MIMIC-CXR-JPG keeps an image."""
  name = f"p{subject}"
  folder = pathlib.Path(root) / "files" / name[:3] / name / f"s{study}"
  assert _DICOM.match(dicom), "a dicom_id that is no file name"
  return folder / f"{dicom}.jpg"


def reports(store, table, rules, task):
  """Radiology reports of each stay's window -> table `radiology`.

  A report of the stay is one of a study made in it (charttime). Where
  `rules.report_time` is "store" it is shown from its storetime, if that lies
  in the stay; without one, from its charttime.

  Its columns: row, hour it is shown from, seq, kind, text; the text of an empty
  report, or of one that is not shown, is null.

  Returns:
    Counts of reports that were charted in the window and before the death:
    "charted"; "unstored", without a storetime; "later", stored in a later hour
    than charted; "gone", stored after the window; "stays" that have one and
    "stays_without" one by storetime; and those charted "after" the death.
  """
  charted = death.seconds("n.charttime")
  stored = "try_cast(n.storetime AS TIMESTAMP)"
  stored = f"CASE WHEN NOT {plausible.absurd(stored)} THEN {stored} END"
  late = death.seconds(f"greatest(n.charttime, {stored})")
  within = f"{charted} BETWEEN 0 AND s.planned"
  until = "s.seconds"
  if rules.radiology_window == "admission" and task == "phenotyping":
    within, until = "n.hadm_id = s.hadm_id", "coalesce(s.ends, 1e18)"
  hour = late if rules.report_time == "store" else charted
  _notes(
    store,
    table,
    "radiology",
    "n.subject_id = s.subject_id",
    within,
    hour=hour,
    shown=f"{hour} <= {until}",
    more=f", ceil({late} / 3600) > ceil({charted} / 3600) AS later,"
    f" {late} > {until} AS gone, ({stored}) IS NULL AS unstored",
  )
  counts = store.one(
    "SELECT count(*), count(*) FILTER (unstored), count(*) FILTER (later),"
    " count(*) FILTER (gone), count(DISTINCT row), count(DISTINCT row) -"
    " count(DISTINCT row) FILTER (NOT gone) FROM radiology WHERE due"
  )
  names = "charted unstored later gone stays stays_without".split()
  return dict(zip(names, counts)) | {"after": _after(store, "radiology")}


def discharge_notes(store, table):
  """The admission's last discharge note and its addenda -> `discharge`.

  Returns:
    How many notes were written after the death, and are not shown.
  """
  _notes(store, table, "all_discharge", "n.hadm_id = s.hadm_id", "true")
  store.derive(
    "discharge",
    "SELECT n.* FROM all_discharge n JOIN (SELECT row, max(seq) AS seq FROM"
    " all_discharge WHERE kind = 'DS' AND text IS NOT NULL GROUP BY row) l"
    " ON n.row = l.row WHERE n.text IS NOT NULL AND (n.seq = l.seq AND"
    " n.kind = 'DS' OR n.seq >= l.seq AND n.kind = 'AD') ORDER BY n.row",
    store_lib.TEXTS,
  )
  return _after(store, "all_discharge")


def _after(store, name):
  return store.one(f"SELECT count(*) FROM {name} WHERE after")[0]


def _notes(
  store, table, name, condition, within, hour=None, shown="true", more=""
):
  """Reads notes that join the stays by `condition`.

  Of each it is kept whether it is `due`: no blank one, `within` the window and
  not `after` the death. The text is that of those due that are `shown`.
  """
  wrong = plausible.absurd("n.charttime")
  hour = hour or death.seconds("n.charttime")
  filled = f"{cell.text_sql('n.text')} IS NOT NULL AND NOT {wrong} AND {within}"
  after = death.hidden("n.charttime")
  store.scan(
    table,
    name,
    f"SELECT s.row, CASE WHEN NOT {wrong} THEN ({hour}) / 3600 END AS hour,"
    " n.note_seq AS seq, n.note_type AS kind,"
    f" CASE WHEN {filled} AND NOT {after} AND {shown} THEN n.text END AS text,"
    f" {wrong} AS absurd, coalesce({filled} AND NOT {after}, false) AS due,"
    f" coalesce({filled} AND {after}, false) AS after{more}"
    f" FROM {tables.scan(table)} n JOIN stays s ON {condition}"
    " ORDER BY s.row",
    store_lib.TEXTS,
  )
  total, wrong = store.one(
    f"SELECT count(*), count(*) FILTER (absurd) FROM {name}"
  )
  store.empty(table, total)
  plausible.check_times(table, "charttime", wrong, total)
