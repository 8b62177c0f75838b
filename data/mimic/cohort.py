"""Who is in the dataset: MIMIC.md section 2, each filter counted.

Dims: S stays, C labels.
"""

import dataclasses

import numpy as np

from data import splits
from data.errors import InputError
from data.mimic import death, plausible, tables
from medpatch_jax import schema

MORTALITY = "in_hospital_mortality"
PHENOTYPING = "phenotyping"
DECOMPENSATION = "decompensation"
RADIOLOGY = "radiology"
WINDOW = 48 * 3600

_GROUPS = {
  "WHITE": "White",
  "BLACK": "Black",
  "HISPANIC": "Hispanic",
  "ASIAN": "Asian",
}
_UNKNOWN = ("", "UNKNOWN", "UNABLE", "PATIENT", "DECLINED", "NULL")


@dataclasses.dataclass
class Cohort:
  """Stays in record order: by split, then by a hash of stay_id.

  Attributes:
    stay_id, subject_id: i64[S].
    split: i64[S], index into `splits.SPLITS`.
    end: f64[S], length of the series in hours.
    labels: C names.
    label: f32[S C].
    age: f32[S] in years.
    gender: list of S words, as charted.
    ethnicity: list of S groups.
    filters: (sentence, stays left) of each rule, in order.
    lost: patients of the stays that each rule leaves out.
    remarks: sentences for the report.
    facts: further counts for the report.
    deaths: counts [2][2], by hospital_expire_flag and by the dates of death,
      of the stays that pass the rules of either task.
    codes: (ICD version, code, patients) of each code without a category.
    lived: f64[S], hours from intime to death in hospital; infinite if none.
    ends: f64[S], hours from intime to what `death.until` says ends the stay,
      before or after its outtime; infinite if nothing.
    reports: counts of `sources.reports`; None without any.
    listed: splits are those of lists.
    unlike: stays whose labels may not be the published ones; None where that
      does not matter.
  """

  stay_id: np.ndarray
  subject_id: np.ndarray
  split: np.ndarray
  end: np.ndarray
  labels: tuple
  label: np.ndarray
  age: np.ndarray
  gender: list
  ethnicity: list
  filters: list
  remarks: list
  facts: dict
  deaths: list
  codes: list = dataclasses.field(default_factory=list)
  lived: np.ndarray | None = None
  ends: np.ndarray | None = None
  reports: dict | None = None
  unlike: int | None = None
  listed: bool = False
  lost: list = dataclasses.field(default_factory=list)


def ethnic_group(text):
  """First word of `race` or `ethnicity` -> one of six groups."""
  words = (text or "").upper().replace("/", " ").replace("-", " ").split()
  first = words[0] if words else ""
  if first in _UNKNOWN:
    return "unknown"
  return _GROUPS.get(first, "other")


def _load_small(connection, table, order, quiet):
  """A table of admissions or patients, with data-row numbers."""
  tables.load(
    connection,
    table,
    f"CREATE TABLE {table.name} AS SELECT *, row_number() OVER () AS row_no"
    f" FROM {tables.scan(table)}",
    quiet=quiet,
  )
  twice = connection.execute(
    f"SELECT min(row_no) FROM (SELECT row_no, row_number() OVER"
    f" (PARTITION BY {order} ORDER BY row_no) AS n FROM {table.name}"
    f" WHERE {order} IS NOT NULL) WHERE n = 2"
  ).fetchone()[0]
  if twice is not None:
    raise InputError(
      f"{table.path}: row {twice} has a {order} that an earlier row has;"
      " wanted each once."
    )
  plausible.check(connection, table)


def load(
  connection,
  opened,
  *,
  task,
  rules,
  lists=(None, None),
  labels=None,
  quiet=False,
):
  """Reads patients, admissions and icustays and applies the filters.

  Leaves a DuckDB table `stays` (row, subject_id, hadm_id, intime, seconds,
  planned, ends, ...), one row per stay that is left, in record order, and a view
  `eligible` (hadm_id, stay_id) of the stays that any task may have.

  Args:
    connection: of `tables.connect`.
    opened: name -> `tables.Table`.
    task: a name of `schema.TASKS`.
    rules: `rules.Rules`.
    lists: (validation list, test list) paths or None.
    labels: names; the task's by default.
    quiet: no progress.

  Returns:
    Cohort, with `label` still zero but for mortality.
  """
  for name, key in (
    ("patients", "subject_id"),
    ("admissions", "hadm_id"),
    ("icustays", "stay_id"),
  ):
    _load_small(connection, opened[name], key, quiet)
  _check_joins(connection, opened)
  if rules.uncoded == "drop":
    _load_coded(connection, opened["diagnoses_icd"], quiet)
  filters, lost = _filter(connection, task, rules)
  emptied = next((rule for rule, left in filters if not left), None)
  if emptied:
    raise InputError(
      f"{opened['icustays'].path}: none of its stays is left by the rule:"
      f" {emptied}."
    )
  deaths, facts = _deaths(connection)
  facts |= death.facts(connection)
  ids = connection.execute(
    "SELECT stay_id, subject_id FROM chosen"
  ).fetchnumpy()
  stay, subject = (
    np.asarray(ids[k], np.int64) for k in ("stay_id", "subject_id")
  )
  groups = None
  if rules.split == "anchor_year_group":
    groups = dict(
      connection.execute(
        "SELECT subject_id, anchor_year_group FROM patients"
      ).fetchall()
    )
  split = _split(subject, lists, groups)
  position = np.array([splits.fraction(s, "order") for s in stay])
  order = np.lexsort((stay, position, split))
  stay, subject, split = stay[order], subject[order], split[order]
  _number(connection, stay)
  rest = connection.execute(
    "SELECT age, gender, race, death, seconds, lived, ends FROM stays ORDER BY"
    " row"
  ).fetchall()
  labels = labels or schema.TASKS[task].labels
  label = np.zeros((len(stay), len(labels)), np.float32)
  if task == MORTALITY:
    label[:, 0] = [r[3] for r in rest]
  return Cohort(
    stay_id=stay,
    subject_id=subject,
    split=split,
    end=np.array([r[4] / 3600 for r in rest], np.float64),
    labels=labels,
    label=label,
    age=np.array([r[0] for r in rest], np.float32),
    gender=[r[1] or "" for r in rest],
    ethnicity=[ethnic_group(r[2]) for r in rest],
    filters=filters,
    lost=lost,
    remarks=[],
    facts=facts,
    deaths=deaths,
    listed=any(lists),
    lived=_hours(r[5] for r in rest),
    ends=_hours(r[6] for r in rest),
  )


def _load_coded(connection, table, quiet):
  """Leaves the admissions with a diagnosis code in a table `coded`."""
  tables.load(
    connection,
    table,
    f"CREATE TABLE coded AS SELECT DISTINCT hadm_id FROM {tables.scan(table)}"
    " WHERE icd_code IS NOT NULL",
    quiet=quiet,
  )


def _hours(seconds):
  """Seconds -> hours f64[S], infinite where there are none."""
  return np.array([np.inf if s is None else s / 3600 for s in seconds])


def _check_joins(connection, opened):
  """icustays must name admissions and patients that exist."""
  for name, key in (("admissions", "hadm_id"), ("patients", "subject_id")):
    lost, first, total = connection.execute(
      f"SELECT count(*) FILTER (o.{key} IS NULL),"
      f" min(s.row_no) FILTER (o.{key} IS NULL), count(*)"
      f" FROM icustays s LEFT JOIN {name} o USING ({key})"
    ).fetchone()
    if lost > max(1, 0.01 * total):
      raise InputError(
        f"{opened['icustays'].path}: {lost:,} of {total:,} rows name a {key}"
        f" that is not in {opened[name].path}; the first is row {first}."
      )


def _filter(connection, task, rules):
  """Applies the rules one after another.

  Returns:
    ([(sentence, stays left)], patients of the stays that each leaves out).
  """
  admission_age = "p.anchor_age + year(a.admittime) - p.anchor_year"
  age = {"admission": admission_age, "anchor": "p.anchor_age"}[rules.age]
  dates = (
    "coalesce(p.dod BETWEEN a.admittime AND a.dischtime, false) OR"
    " coalesce(a.deathtime BETWEEN a.admittime AND a.dischtime, false)"
  )
  by_dates = f"CAST(({dates}) AS BIGINT)"
  died = {"flag": death.in_hospital(), "dates": by_dates}[rules.death]
  ends, lived = death.until(rules, died)
  death.find(connection)
  connection.execute(
    "CREATE TABLE joined AS SELECT s.stay_id, s.subject_id, s.hadm_id,"
    " s.intime, s.outtime, s.first_careunit = s.last_careunit AS same_unit,"
    f" {death.seconds('s.outtime')} AS length,"
    f" a.admittime, a.dischtime, {age} AS age, {admission_age} AS admission_age,"
    f" p.anchor_age AS anchor_age, p.gender, a.race, {died} AS death,"
    f" a.hospital_expire_flag AS death_flag, {by_dates} AS death_dates,"
    f" {ends} AS ends, {lived} AS lived, d.timed"
    " FROM icustays s LEFT JOIN admissions a ON s.hadm_id = a.hadm_id"
    " LEFT JOIN patients p ON s.subject_id = p.subject_id"
    " LEFT JOIN died d ON s.subject_id = d.subject_id"
  )
  rows = [
    ("ICU stays", "joined", "true"),
    ("first and last care unit the same", "unit", "same_unit"),
    (
      "one such stay in the admission",
      "single",
      "hadm_id IN (SELECT hadm_id FROM unit GROUP BY hadm_id HAVING"
      " count(*) = 1)",
    ),
    (
      "with admission, patient, intime and a later outtime",
      "complete",
      "admittime IS NOT NULL AND age IS NOT NULL AND length > 0",
    ),
  ]
  if rules.after_death == "hide":
    begun = "ends IS NULL OR ends > 0"
    rows.append(("begun before the patient's death", "begun", begun))
  rows.append(("aged 18 or more", "adult", "age >= 18"))
  if rules.uncoded == "drop":
    coded = "hadm_id IN (SELECT hadm_id FROM coded)"
    rows.append(("with a diagnosis code", "with_code", coded))
  if task == MORTALITY:
    rows.append(("at least 48 hours long", "long", f"length >= {WINDOW}"))
    if rules.after_death == "hide":
      alive = f"ends IS NULL OR ends > {WINDOW}"
      rows.append(("of a patient alive after 48 hours", "alive", alive))
  if task in (MORTALITY, DECOMPENSATION):
    known = "death = 0 OR death = 1"
    if task == DECOMPENSATION:
      known += " AND lived IS NOT NULL"
    rows.append(("with a known outcome", "known", known))
  counts, lost, previous = [], [], "joined"
  for sentence, name, condition in rows:
    if name != "joined":
      connection.execute(
        f"CREATE TABLE {name} AS SELECT * FROM {previous} WHERE {condition}"
      )
    left = connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
    counts.append((sentence, left))
    (patients,) = connection.execute(
      "SELECT count(DISTINCT coalesce(subject_id, -1)) FROM"
      f" {previous} WHERE ({condition}) IS NOT TRUE"
    ).fetchone()
    lost.append(patients)
    previous = name
    if name in ("adult", "with_code"):  # Whatever the task asks beyond it.
      connection.execute(
        f"CREATE OR REPLACE VIEW eligible AS SELECT hadm_id, stay_id FROM {name}"
      )
  planned = str(WINDOW) if task == MORTALITY else "length"
  connection.execute(
    f"CREATE TABLE chosen AS SELECT *, {planned} AS planned,"
    f" least({planned}, coalesce(ends, {planned})) AS seconds FROM {previous}"
  )
  return counts, lost


def _deaths(connection):
  """How far the two definitions of death, and of age, agree."""
  deaths = [
    [
      connection.execute(
        "SELECT count(*) FROM complete WHERE death_flag = ? AND"
        " death_dates = ?",
        [flag, dates],
      ).fetchone()[0]
      for dates in (0, 1)
    ]
    for flag in (0, 1)
  ]
  missing, adult = connection.execute(
    "SELECT count(*) FILTER (death_flag IS NULL),"
    " count(*) FILTER ((admission_age >= 18) != (anchor_age >= 18))"
    " FROM complete"
  ).fetchone()
  return deaths, {
    "stays_where_death_flag_and_dates_differ": deaths[0][1] + deaths[1][0],
    "stays_without_death_flag": missing,
    "stays_adult_by_one_definition_of_age_only": adult,
  }


def _split(subject, lists, groups=None):
  unique, inverse = np.unique(subject, return_inverse=True)
  if groups is not None:
    if any(lists):
      raise InputError(
        "--split=anchor_year_group and --validation_list or --test_list both say"
        " who is in which split: leave one out."
      )
    chosen = splits.by_group(unique, [groups[s] for s in unique.tolist()])
  elif any(lists):
    chosen = splits.by_lists(unique.tolist(), *lists)
  else:
    chosen = splits.by_hash(unique.tolist())
  split = chosen[inverse]
  for a in range(3):
    for b in range(a):
      shared = np.intersect1d(subject[split == a], subject[split == b])
      assert not len(shared), "a subject is in two splits"
  return split


def _number(connection, stay):
  """Numbers the chosen stays in record order."""
  connection.execute("CREATE TABLE numbered (stay_id BIGINT, row INTEGER)")
  for start in range(0, len(stay), 10_000):
    part = stay[start : start + 10_000]
    rows = ", ".join(f"({s}, {start + i})" for i, s in enumerate(part))
    connection.execute(f"INSERT INTO numbered VALUES {rows}")
  connection.execute(
    "CREATE TABLE stays AS SELECT n.row, c.* FROM chosen c JOIN numbered n"
    " USING (stay_id) ORDER BY n.row"
  )
