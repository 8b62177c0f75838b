"""Damaged input: one line that says where, and nothing left behind."""

import gzip

import pytest

from tests import mimic_raw

CHART = "mimiciv/icu/chartevents"
META = "mimic-cxr-jpg/mimic-cxr-2.0.0-metadata"


def _several(table, column, value, count=3):
  def damage(tables):
    for row in range(count):
      mimic_raw.cell(table, row, column, value)(tables)

  return damage


def _file(name, change):
  """Damage to a file of the written folders."""

  def damage(root):
    path = root / f"{name}.csv.gz"
    change(path)

  return damage


def _rename(old, new):
  def change(path):
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace(old, new, 1).encode()))

  return change


def _cut(path):
  path.write_bytes(path.read_bytes()[:-12])


def _cut_in_header(path):
  path.write_bytes(path.read_bytes()[:15])


def _latin(path):
  text = gzip.decompress(path.read_bytes())
  lines = text.split(b"\n")
  for i in (1, 2, 3):
    cells = lines[i].split(b",")
    cells[7] = b"caf\xe9\xff"
    lines[i] = b",".join(cells)
  path.write_bytes(gzip.compress(b"\n".join(lines)))


ROWS = {
  "time": (
    _several(CHART, "charttime", f"2150-01-{mimic_raw.SECRET}"),
    r"chartevents.csv.gz: 3 of 28 rows .* line 2, column charttime: no time",
  ),
  "number": (
    _several(CHART, "valuenum", f"x{mimic_raw.SECRET}"),
    r"chartevents.csv.gz: .* line 2, column valuenum: no number",
  ),
  "stay_id": (
    mimic_raw.cell("mimiciv/icu/icustays", 4, "stay_id", 1010),
    r"icustays.csv.gz: row 5 has a stay_id that an earlier row has",
  ),
  "patient": (
    mimic_raw.cell("mimiciv/hosp/patients", 3, "subject_id", 1),
    r"patients.csv.gz: row 4 has a subject_id that an earlier row has",
  ),
  "admission": (
    _several("mimiciv/hosp/admissions", "hadm_id", "", 0),
    None,
  ),
  "unknown admission": (
    _several("mimiciv/icu/icustays", "hadm_id", mimic_raw.SECRET),
    r"icustays.csv.gz: 3 of 8 rows name a hadm_id that is not in .*"
    r"admissions.csv.gz; the first is row 1",
  ),
  "outcomes of nobody": (
    _several("mimiciv/hosp/diagnoses_icd", "hadm_id", mimic_raw.SECRET, 6),
    r"diagnoses_icd.csv.gz: none of its 6 rows names an admission",
  ),
  "events of nobody": (
    _several(CHART, "subject_id", mimic_raw.SECRET, 28),
    r"chartevents.csv.gz: none of its 28 rows is of a subject of the cohort",
  ),
  "films of nobody": (
    _several(META, "subject_id", mimic_raw.SECRET, 8),
    r"metadata.csv.gz: none of its 8 rows is of a subject of the cohort",
  ),
  "stays of another release": (
    _several(CHART, "stay_id", mimic_raw.SECRET, 28),
    r"chartevents.csv.gz: .* rows of the cohort's subjects name another stay_id",
  ),
  "study time": (
    _several(META, "StudyTime", f"{mimic_raw.SECRET}:0"),
    r"metadata.csv.gz: 3 of 8 rows .* line 2: column StudyDate and StudyTime",
  ),
  "path outside": (
    _several(META, "dicom_id", "../../secret"),
    r"metadata.csv.gz: 3 of 8 rows .* line 2: column .* an id",
  ),
}
FILES = {
  "renamed column": (
    _file(CHART, _rename("charttime", "chart_time")),
    r"chartevents.csv.gz: column charttime is missing; found 11 columns."
    r" Did you mean 'chart_time'\?",
  ),
  "missing column": (
    _file(META, _rename(",ViewPosition", ",")),
    r"metadata.csv.gz: column ViewPosition is missing",
  ),
  "cut gzip": (
    _file(CHART, _cut),
    r"chartevents.csv.gz: the gzip stream ends early or is damaged",
  ),
  "cut in the header": (
    _file("mimic-iv-note/note/radiology", _cut_in_header),
    r"radiology.csv.gz: cannot be read .* cut off, or not gzip",
  ),
  "no gzip": (
    _file(CHART, lambda p: p.write_bytes(b"subject_id," * 9)),
    r"chartevents.csv.gz: cannot be read .* not gzip",
  ),
  "empty": (
    _file(CHART, lambda p: p.write_bytes(gzip.compress(b""))),
    r"chartevents.csv.gz: is empty",
  ),
  "encoding": (
    _file(CHART, _latin),
    r"chartevents.csv.gz: 3 of .* line 2.* no UTF-8 text",
  ),
  "missing table": (
    _file(CHART, lambda p: p.unlink()),
    r"table chartevents is missing; wanted .*chartevents.csv\[.gz\]",
  ),
  "missing notes": (
    _file("mimic-iv-note/note/discharge", lambda p: p.unlink()),
    r"table discharge is missing",
  ),
}


@pytest.mark.parametrize("name", ROWS)
def test_damaged_rows(name, tmp_path):
  damage, wanted = ROWS[name]
  rows = mimic_raw.rows()
  damage(rows)
  root = mimic_raw.write(tmp_path / "raw", rows)
  if wanted is None:
    mimic_raw.build(root, tmp_path / "out")
  else:
    mimic_raw.assert_refused(root, tmp_path / "out", wanted)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name, tmp_path):
  damage, wanted = FILES[name]
  root = mimic_raw.write(tmp_path / "raw")
  damage(root)
  mimic_raw.assert_refused(root, tmp_path / "out", wanted)


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
