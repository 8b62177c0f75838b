"""Damaged input: one line that says where and what to do, nothing left behind.

Every table meets every kind of damage it can have; then what is special.
"""

import csv
import gzip
import io
import os

import pytest

from data import build as build_lib
from data.mimic import tables as tables_lib
from medpatch_jax import schema
from tests import mimic_raw

CHART = "mimiciv/icu/chartevents"
FINDINGS = "mimic-cxr-jpg/mimic-cxr-2.0.0-chexpert"
META = "mimic-cxr-jpg/mimic-cxr-2.0.0-metadata"
ICU = "mimiciv/icu/icustays"
ADMISSIONS = "mimiciv/hosp/admissions"
PATIENTS = "mimiciv/hosp/patients"
CODES = "mimiciv/hosp/diagnoses_icd"
TABLES = tuple(mimic_raw.HEADERS)
SECRET = mimic_raw.SECRET


def _name(table):
  """What a table is called in errors: the end of its path."""
  return table.rsplit("/", 1)[1] + ".csv.gz"


def _known(table):
  """Columns of a table that are read -> their types."""
  name = table.rsplit("/", 1)[1].rsplit("-", 1)[-1]
  wanted = dict(tables_lib.COLUMNS[name])
  for finding in schema.FINDINGS[1:]:  # All alike.
    wanted.pop(finding, None)
  return {(c[0] if isinstance(c, tuple) else c): t for c, t in wanted.items()}


def _columns(*types):
  return [
    (table, column)
    for table in TABLES
    for column, kind in _known(table).items()
    if kind in types
  ]


def _several(table, column, value, count=None):
  """Damage: the first rows (all by default) of one column replaced."""

  def damage(tables):
    rows = tables[table]
    for row in range(len(rows) if count is None else count):
      mimic_raw.cell(table, row, column, value)(tables)

  return damage


def _task(table):
  """A task that reads the table."""
  return "radiology" if table == FINDINGS else "phenotyping"


def _refused(tmp_path, wanted, rows=None, file=None, task="phenotyping"):
  """Builds from damaged rows or a damaged file."""
  tables = mimic_raw.rows()
  if rows:
    rows(tables)
  root = mimic_raw.write(tmp_path / "raw", tables)
  if file:
    file(root)
  mimic_raw.assert_refused(root, tmp_path / "out", wanted, task=task)


def _rewrite(table, change):
  """Damage: the text of a table's file changed."""

  def damage(root):
    path = root / f"{table}.csv.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

  return damage


# Every table and every column of it.


@pytest.mark.parametrize(
  "table, column", _columns(*{t for v in TABLES for t in _known(v).values()})
)
def test_missing_column(table, column, tmp_path):
  wanted = "race or ethnicity" if column == "race" else column

  def drop(text):
    rows = list(csv.reader(io.StringIO(text.decode())))
    i = rows[0].index(column)
    out = io.StringIO()
    csv.writer(out).writerows(r[:i] + r[i + 1 :] for r in rows)
    return out.getvalue().encode()

  _refused(
    tmp_path,
    rf"{_name(table)}: column {wanted} is missing; found \d+ columns",
    file=_rewrite(table, drop),
    task=_task(table),
  )


_WORDS = {
  "BIGINT": "no whole number",
  "DOUBLE": "no number",
  "TIMESTAMP": "no time",
}


# Joined by time and subject unless --radiology_window=admission.
_UNREAD = ("mimic-iv-note/note/radiology", "hadm_id")


@pytest.mark.parametrize(
  "table, column", [c for c in _columns(*_WORDS) if c != _UNREAD]
)
def test_wrong_type(table, column, tmp_path):
  kind = _known(table)[column]
  _refused(
    tmp_path,
    rf"{_name(table)}: .* rows cannot be read, at most 1 % may; the first is"
    rf" line [\d-]+, column {column}: {_WORDS[kind]}",
    _several(table, column, f"x{SECRET}"),
    task=_task(table),
  )


@pytest.mark.parametrize(
  "table, column", [c for c in _columns("BIGINT") if c != _UNREAD]
)
def test_half_an_id_is_not_rounded_to_another(table, column, tmp_path):
  """Even in one row: it would be another patient's."""
  index = mimic_raw.HEADERS[table].split(",").index(column)
  value = mimic_raw.rows()[table][0][index]
  odd = {"stay_id": 2**53 + 2, "itemid": "inf"}.get(column, f"{value}.7")
  _refused(
    tmp_path,
    rf"{_name(table)}: column {column} holds an id that is no whole",
    mimic_raw.cell(table, 0, column, odd),
    task=_task(table),
  )


# Each table as a file.


def _cut(root, table):
  path = root / f"{table}.csv.gz"
  path.write_bytes(path.read_bytes()[:-12])


def _latin(root, table):
  """Bytes that are no UTF-8 in every row of a column of text that is read."""
  known = _known(table)
  column = [
    c for c, kind in known.items() if kind == "VARCHAR" or table == FINDINGS
  ][-1]
  rows = mimic_raw.rows()
  _several(table, column, "caf#e9")(rows)
  text = mimic_raw.write(root, rows)
  _rewrite(table, lambda text: text.replace(b"#e9", b"\xe9\xff"))(text)


FILES = {
  "cut gzip": (
    _cut,
    "the gzip stream ends early or is damaged; download it again|cannot be"
    r" read \(.*; is it cut off, or not gzip",
  ),
  "no gzip": (
    lambda root, table: (root / f"{table}.csv.gz").write_bytes(b"a,b\n1,2\n"),
    "cannot be read .* not gzip",
  ),
  "encoding": (
    _latin,
    "rows cannot be read.*no (UTF-8 text|number)",
  ),
  "wide encoding": (
    lambda root, table: _rewrite(
      table, lambda text: text.decode().encode("utf-16")
    )(root),
    "line 1 is not UTF-8 text|line 1 holds zero bytes",
  ),
  "no header": (
    lambda root, table: _rewrite(table, lambda text: text.partition(b"\n")[2])(
      root
    ),
    "column .* is missing; found .* columns",
  ),
  "empty": (
    lambda root, table: _rewrite(table, lambda text: b"")(root),
    "is empty, wanted a header line and rows",
  ),
  "header alone": (
    lambda root, table: _rewrite(
      table, lambda text: text.split(b"\n")[0] + b"\n"
    )(root),
    "holds a header and no row; was the download cut off",
  ),
  "quote": (
    lambda root, table: _rewrite(
      table, lambda text: text[: text.rindex(b",") + 1] + b'"x' + text
    )(root),
    "a quote does not close|rows cannot be read|no whole|column .* is missing",
  ),
  "no table": (  # The message: table NAME is missing; wanted PATH.csv[.gz]
    lambda root, table: (root / f"{table}.csv.gz").unlink(),
    r"csv\[.gz\]",
  ),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", FILES)
def test_damaged_file(kind, table, tmp_path):
  damage, wanted = FILES[kind]
  name = table.rsplit("/", 1)[1]
  _refused(
    tmp_path,
    f"{name.rsplit('-')[-1]}.*({wanted})",
    file=lambda root: damage(root, table),
    task=_task(table),
  )


# Dates that cannot be, ids that join nothing.

_ABSURD = {
  (PATIENTS, "dod"): "9999-01-01",
  (PATIENTS, "anchor_year"): "20",
  (PATIENTS, "anchor_age"): "900",
  (META, "StudyDate"): "99990101",
} | {
  (table, column): f"{year}-01-01 00:00:00"
  for year, table, column in (
    (1, ADMISSIONS, "admittime"),
    (9999, ADMISSIONS, "dischtime"),
    (9999, ADMISSIONS, "deathtime"),
    (1, ICU, "intime"),
    (9999, ICU, "outtime"),
    (9999, CHART, "charttime"),
    (1, "mimiciv/hosp/labevents", "charttime"),
    (1, "mimic-iv-note/note/radiology", "charttime"),
    (9999, "mimic-iv-note/note/discharge", "charttime"),
  )
}


def test_every_time_is_among_the_absurd():
  times = set(_columns("TIMESTAMP")) | {(META, "StudyDate")}
  assert times <= set(_ABSURD)


@pytest.mark.parametrize("table, column", _ABSURD)
def test_absurd_date(table, column, tmp_path):
  value = _ABSURD[table, column]
  wanted = "StudyDate" if table == META else f"column {column} of"
  _refused(
    tmp_path, f"{_name(table)}: .*{wanted}", _several(table, column, value)
  )


def test_stays_that_end_before_they_begin(tmp_path):
  _refused(
    tmp_path,
    "icustays.csv.gz: column outtime .*wanted a time after intime",
    _several(ICU, "outtime", "2140-01-01 00:00:00"),
  )


_IDS = {
  (PATIENTS, "subject_id"): "patients|icustays",
  (ADMISSIONS, "hadm_id"): "admissions|icustays",
  (ICU, "subject_id"): "icustays.csv.gz: .* name a subject_id that is not in",
  (ICU, "hadm_id"): "icustays.csv.gz: .* name a hadm_id that is not in",
  (CHART, "subject_id"): "chartevents.csv.gz: none of its 28 rows",
  (CHART, "stay_id"): "chartevents.csv.gz: .* name another stay_id",
  ("mimiciv/hosp/labevents", "subject_id"): "labevents.csv.gz: none of its",
  (CODES, "hadm_id"): "diagnoses_icd.csv.gz: none of its 6 rows",
  (FINDINGS, "study_id"): "chexpert.csv.gz: none of its 3 rows",
  (META, "subject_id"): "metadata.csv.gz: none of its 8 rows",
  (
    "mimic-iv-note/note/radiology",
    "subject_id",
  ): "radiology.csv.gz: none of its",
  (
    "mimic-iv-note/note/discharge",
    "hadm_id",
  ): "discharge.csv.gz: none of its",
}


def test_every_table_is_among_the_ids():
  assert {table for table, _ in _IDS} == set(TABLES)


@pytest.mark.parametrize("table, column", _IDS)
def test_ids_that_join_nothing(table, column, tmp_path):
  _refused(
    tmp_path,
    _IDS[table, column],
    _several(table, column, SECRET),
    task=_task(table),
  )


# What is special.

ROWS = {
  "stay_id": (
    mimic_raw.cell(ICU, 4, "stay_id", 1010),
    r"icustays.csv.gz: row 5 has a stay_id that an earlier row has",
  ),
  "patient": (
    mimic_raw.cell(PATIENTS, 3, "subject_id", 1),
    r"patients.csv.gz: row 4 has a subject_id that an earlier row has",
  ),
  "admission": (
    mimic_raw.cell(ADMISSIONS, 1, "hadm_id", 101),
    r"admissions.csv.gz: row 2 has a hadm_id that an earlier row has",
  ),
  "outcome": (
    _several(ADMISSIONS, "hospital_expire_flag", 7),
    r"admissions.csv.gz: column hospital_expire_flag .*wanted 0 or 1",
  ),
  "version of codes": (
    _several(CODES, "icd_version", 11),
    r"diagnoses_icd.csv.gz: column icd_version of .* neither 9 nor 10",
  ),
  "codes with a dot": (
    _several(CODES, "icd_code", "584.9.x"),
    r"diagnoses_icd.csv.gz: column icd_code: .* without a dot",
  ),
  "study time": (
    _several(META, "StudyTime", f"{SECRET}:0", 3),
    r"metadata.csv.gz: 3 of 8 rows .* line 2: column StudyDate and StudyTime",
  ),
  "path outside": (
    _several(META, "dicom_id", "../../secret", 3),
    r"metadata.csv.gz: 3 of 8 rows .* line 2: column .* an id",
  ),
  "absolute path": (
    _several(META, "dicom_id", "/etc/secret", 3),
    r"metadata.csv.gz: 3 of 8 rows .* line 2: column .* an id",
  ),
  "nobody left": (
    _several(PATIENTS, "anchor_age", 9),
    r"icustays.csv.gz: none of its stays is left .* aged 18",
  ),
}


@pytest.mark.parametrize("name", ROWS)
def test_damaged_rows(name, tmp_path):
  damage, wanted = ROWS[name]
  _refused(tmp_path, wanted, damage)


def test_renamed_column_is_guessed(tmp_path):
  _refused(
    tmp_path,
    r"column charttime is missing; found 11 columns. Did you mean 'chart_time'",
    file=_rewrite(CHART, lambda t: t.replace(b"charttime", b"chart_time", 1)),
  )


def test_film_that_is_a_link_out_of_its_folder(tmp_path):
  secret = tmp_path / "secret.jpg"

  def link(root):
    film = mimic_raw.film(root, 1, 15)
    secret.write_bytes(film.read_bytes())
    film.unlink()
    film.symlink_to(secret)

  _refused(
    tmp_path,
    r"mimic-cxr-jpg: the film of line 6 of the metadata is a link that leads"
    " out of files/",
    file=link,
  )


def test_films_may_lie_on_another_disk(tmp_path):
  """The folder files/ itself may be a link; films are inside of it."""
  root = mimic_raw.write(tmp_path / "raw")
  files = root / "mimic-cxr-jpg" / "files"
  files.rename(tmp_path / "elsewhere")
  files.symlink_to(tmp_path / "elsewhere")
  mimic_raw.build(root, tmp_path / "out")


def test_lists_hold_ids_and_nothing_else(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  names = tmp_path / "test.csv"
  for text, wanted in (
    ("../../secret,1\n", "test.csv: row 1 is not `subject_id,0`"),
    ("1\n../x,1\n", "test.csv: row 1 is not"),
    ("", "test.csv: names no subject of the cohort"),
    ("²,1\n", "test.csv: row 1 is not"),
    # The 1 used to win without a word.
    ("1,0\n2,1\n1,1\n2,0\n", "test.csv: 2 subjects are marked both 1 and 0"),
  ):
    names.write_text(text)
    mimic_raw.assert_refused(root, tmp_path / "out", wanted, test_list=names)
  names.write_bytes(b"1,1\n\xff\xfe,1\n")
  mimic_raw.assert_refused(
    root, tmp_path / "out", "test.csv: cannot be read", test_list=names
  )
  mimic_raw.assert_refused(
    root, tmp_path / "out", "cannot be read", test_list=tmp_path / "no.csv"
  )
  # A header alone is no subject of the test split.
  names.write_text("subject_id,test\n")
  mimic_raw.assert_refused(
    root, tmp_path / "out", "names no subject", test_list=names
  )


def test_missing_folders(tmp_path):
  root = mimic_raw.write(tmp_path / "raw")
  out = tmp_path / "out"
  mimic_raw.assert_refused(
    root, out, "--mimic_iv=.*nothing, wanted", mimic_iv=root / "no"
  )
  mimic_raw.assert_refused(
    root, out, "--mimic_cxr=.*a file, wanted", mimic_cxr=__file__
  )
  mimic_raw.assert_refused(
    root, out, "table patients is missing", mimic_iv=root
  )
  mimic_raw.assert_refused(
    root, out, "--task=phenotypin: .* Did you mean", task="phenotypin"
  )
  mimic_raw.assert_refused(root, out, "--memory=lots: wanted", memory="lots")


def test_folder_that_cannot_be_written(tmp_path):
  if os.geteuid() == 0:
    target = tmp_path / "file"
    target.write_text("")
  else:
    target = tmp_path
    target.chmod(0o500)
  with pytest.raises(build_lib.InputError, match="--data_dir: .* created"):
    mimic_raw.build(mimic_raw.write(tmp_path / "raw"), target / "out")
