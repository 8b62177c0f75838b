"""A few stays in MIMIC's format, written by hand, for the builder's tests.

Everything is invented. Subject 1 is worked out by hand in test_mimic.py; the
others each show one rule.
"""

import csv
import functools
import gzip
import io
import re

import numpy as np
from PIL import Image

from data import build as build_lib
from data import errors
from medpatch_jax import schema

HEADERS = {
  "mimiciv/hosp/patients": "subject_id,gender,anchor_age,anchor_year,"
  "anchor_year_group,dod",
  "mimiciv/hosp/admissions": "subject_id,hadm_id,admittime,dischtime,deathtime,"
  "race,hospital_expire_flag",
  "mimiciv/icu/icustays": "subject_id,hadm_id,stay_id,first_careunit,"
  "last_careunit,intime,outtime,los",
  "mimiciv/icu/chartevents": "subject_id,hadm_id,stay_id,caregiver_id,"
  "charttime,storetime,itemid,value,valuenum,valueuom,warning",
  "mimiciv/hosp/labevents": "labevent_id,subject_id,hadm_id,itemid,charttime,"
  "value,valuenum,valueuom",
  "mimiciv/hosp/diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,"
  "icd_version",
  "mimic-cxr-jpg/mimic-cxr-2.0.0-metadata": "dicom_id,subject_id,study_id,"
  "ViewPosition,StudyDate,StudyTime",
  "mimic-cxr-jpg/mimic-cxr-2.0.0-chexpert": "subject_id,study_id,"
  + ",".join(schema.FINDINGS),
  "mimic-iv-note/note/radiology": "note_id,subject_id,hadm_id,note_type,"
  "note_seq,charttime,storetime,text",
  "mimic-iv-note/note/discharge": "note_id,subject_id,hadm_id,note_type,"
  "note_seq,charttime,storetime,text",
}

# subject, gender, age, race, stays: (first unit, last unit, intime, outtime)
_PEOPLE = (
  (1, "F", 60, "WHITE - RUSSIAN", [("A", "A", "01 10:00", "03 22:00")]),
  (2, "M", 50, "BLACK/AFRICAN AMERICAN", [("A", "B", "01 10:00", "04 10:00")]),
  (
    3,
    "M",
    50,
    "ASIAN - CHINESE",
    [("A", "A", "01 10:00", "02 10:00"), ("A", "A", "03 10:00", "04 10:00")],
  ),
  (4, "F", 17, "UNKNOWN", [("A", "A", "01 10:00", "04 10:00")]),
  (5, "M", 70, "HISPANIC OR LATINO", [("A", "A", "01 10:00", "02 16:00")]),
  (6, "F", 18, "PORTUGUESE", [("A", "A", "05 00:00", "07 00:00")]),
  (7, "M", 80, "", [("A", "A", "01 10:00", "04 10:00")]),
)
DIED = (1,)

# subject, time, item, value, number (by default the value)
_CHART = (
  (1, "2149-12-31 09:00", 226512, "80", None),  # 25 hours before: too early.
  (1, "2149-12-31 17:00", 226531, "200", None),  # lb, 17 hours before.
  (1, "2150-01-01 09:00", 226707, "70", None),  # inch, an hour before.
  (1, "2150-01-01 09:30", 220045, "60", None),  # Heart rate is not carried.
  (1, "2150-01-01 10:30", 220050, "120/80", ""),
  (1, "2150-01-01 10:30", 220051, "120/80", ""),
  (1, "2150-01-01 10:30", 223761, "98.6", None),  # Fahrenheit by item.
  (1, "2150-01-01 10:30", 223835, "50", None),  # Percent.
  (1, "2150-01-01 10:30", 220277, "0.97", None),  # A fraction.
  (1, "2150-01-01 11:00", 220045, "88", None),  # On the hour: the first bin.
  (1, "2150-01-01 11:30", 223762, "100.4", None),  # Fahrenheit by value.
  (1, "2150-01-01 12:30", 220739, "To Speech", "3"),
  (1, "2150-01-01 12:30", 223901, "Localizes Pain", "5"),
  (1, "2150-01-01 12:30", 223900, "No Response-ETT", "1"),
  (1, "2150-01-01 12:45", 220739, "4  spontaneously", ""),  # No total: alone.
  (1, "2150-01-01 13:30", 224690, "25", None),
  (1, "2150-01-01 13:30", 220210, "20", None),  # Preferred at one time.
  (1, "2150-01-01 13:40", 220045, "380", None),  # Clamped.
  (1, "2150-01-01 13:50", 220045, "500", None),  # Outside: missing.
  (1, "2150-01-01 13:30", 223951, "Delayed", ""),
  (1, "2150-01-03 10:00", 220045, "90", None),  # At 48 hours: the last bin.
  (1, "2150-01-03 10:01", 220045, "99", None),  # Too late for mortality.
  (2, "2150-01-01 12:00", 220045, "70", None),
  (3, "2150-01-01 12:00", 220045, "70", None),
  (4, "2150-01-01 12:00", 220045, "70", None),
  (5, "2150-01-01 12:00", 220045, "75", None),
  (6, "2150-01-05 12:00", 220045, "77", None),
  (7, "2150-01-01 12:00", 999999, "1", None),  # No item of ours: no event.
)
# subject, admission given, time, item, value, number
_LABS = (
  (1, True, "2150-01-01 14:20", 50931, "140", "140"),
  (1, False, "2150-01-01 14:30", 50931, "150", "150"),
  (1, True, "2150-01-01 15:30", 50931, "ERROR", ""),
  (1, True, "2150-01-01 15:30", 51478, "1000", "1000"),  # Urine.
)
_CODES = (
  (1, "5849", 9),  # Acute renal failure.
  (1, "4019", 9),  # Essential hypertension.
  (5, "N179", 10),  # Acute renal failure.
  (5, "ZZZZ", 10),  # No code at all.
  (6, "A419", 10),  # Septicemia.
  (7, "4019", 9),
)
# subject, study, view, date, time
FILMS = (
  (1, 11, "AP", "21500101", "95900.0"),  # A minute before intime.
  (1, 12, "AP", "21500101", "100000.0"),
  (1, 13, "PA", "21500102", "120000"),
  (1, 14, "AP", "21500103", "100000.000"),  # At 48 hours.
  (1, 15, "AP", "21500103", "100100.000"),  # A minute later.
  (5, 51, "AP", "21500101", "95959"),  # A second before intime.
  (6, 61, "AP", "21500105", "0"),  # At intime, midnight.
  (6, 62, "AP", "21500107", "1"),  # A second after outtime.
)
# subject, study, findings of CheXpert that are given
_FINDINGS = (
  (1, 14, {"Edema": "1.0"}),
  (1, 15, {"Edema": "0.0", "Fracture": "1.0", "Pneumonia": "-1.0"}),
  (6, 61, {"No Finding": "1.0"}),
)
# subject, kind, sequence, time, text
_REPORTS = (
  (1, "RR", 1, "2150-01-01 09:59", "Before."),
  (1, "RR", 4, "2150-01-01 12:00", "Later report."),
  (1, "RR", 2, "2150-01-01 11:00", 'Heart "large",\nlungs, clear.'),
  (1, "AR", 3, "2150-01-01 11:00", "Addendum."),
  (1, "RR", 5, "2150-01-03 10:01", "After 48 hours."),
  (5, "RR", 1, "2150-01-01 12:00", "\u00a0\u200b \x0c"),  # Blank: no note.
  (6, "RR", 1, "2150-01-05 00:00", "\ufeffAt intime.\u00a0"),
)
_DISCHARGE = (
  (1, "DS", 1, "2150-01-02 00:00", "Draft."),
  (1, "DS", 2, "2150-01-04 00:00", "Final."),
  (1, "AD", 3, "2150-01-05 00:00", "And more."),
  (6, "AD", 1, "2150-01-09 00:00", "An addendum to nothing."),
)


def rows():
  """Every table: path without suffix -> list of rows."""
  tables = {name: [] for name in HEADERS}
  for subject, gender, age, race, stays in _PEOPLE:
    hadm, died = 100 + subject, int(subject in DIED)
    # Subject 6 was 17 in the anchor year, the year before.
    year = 2149 if subject == 6 else 2150
    age = 17 if subject == 6 else age
    tables["mimiciv/hosp/patients"].append(
      [subject, gender, age, year, "2008 - 2010", ""]
    )
    leave = "2150-01-08 12:00:00"
    tables["mimiciv/hosp/admissions"].append(
      [subject, hadm, "2150-01-01 08:00:00", leave]
      + [leave if died else "", race, died]
    )
    for n, (first, last, start, end) in enumerate(stays):
      tables["mimiciv/icu/icustays"].append(
        [subject, hadm, 1000 + 10 * subject + n, first, last]
        + [f"2150-01-{start}:00", f"2150-01-{end}:00", ""]
      )
  for subject, time, item, value, number in _CHART:
    number = value if number is None else number
    tables["mimiciv/icu/chartevents"].append(
      [subject, 100 + subject, 1000 + 10 * subject, "", f"{time}:00", ""]
      + [item, value, number, "", ""]
    )
  for n, (subject, known, time, item, value, number) in enumerate(_LABS):
    tables["mimiciv/hosp/labevents"].append(
      [n, subject, 100 + subject if known else "", item, f"{time}:00"]
      + [value, number, "mg/dL"]
    )
  for n, (subject, code, version) in enumerate(_CODES):
    tables["mimiciv/hosp/diagnoses_icd"].append(
      [subject, 100 + subject, n, code, version]
    )
  for subject, study, view, date, time in FILMS:
    tables["mimic-cxr-jpg/mimic-cxr-2.0.0-metadata"].append(
      [f"d{study}", subject, study, view, date, time]
    )
  for subject, study, given in _FINDINGS:
    tables["mimic-cxr-jpg/mimic-cxr-2.0.0-chexpert"].append(
      [subject, study, *(given.get(name, "") for name in schema.FINDINGS)]
    )
  for name, notes in (("radiology", _REPORTS), ("discharge", _DISCHARGE)):
    for subject, kind, seq, time, text in notes:
      tables[f"mimic-iv-note/note/{name}"].append(
        [f"n{seq}", subject, 100 + subject, kind, seq, f"{time}:00", "", text]
      )
  return tables


def write(root, tables=None, zipped=True):
  """Writes the folders of the three databases below `root`."""
  for name, body in (tables or rows()).items():
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADERS[name].split(","))
    writer.writerows(body)
    path = root / f"{name}.csv{'.gz' if zipped else ''}"
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
  for subject, study, *_ in FILMS:
    path = film(root, subject, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_film(study))
  return root


@functools.cache
def _film(grey):
  """JPEG of one grey level."""
  out = io.BytesIO()
  Image.fromarray(np.full((600, 520), grey, np.uint8)).save(out, "JPEG")
  return out.getvalue()


def film(root, subject, study):
  """Path of one film."""
  name = f"p{subject}"
  folder = root / "mimic-cxr-jpg" / "files" / name[:3] / name / f"s{study}"
  return folder / f"d{study}.jpg"


def folders(root):
  """Arguments of `data.build.build` that name the three databases."""
  return {
    "mimic_iv": root / "mimiciv",
    "mimic_cxr": root / "mimic-cxr-jpg",
    "mimic_note": root / "mimic-iv-note",
  }


# Stands in damaged rows for what must never appear in a message.
SECRET = "31415926"


def build(root, out, task="phenotyping", **options):
  """Builds from the folders below `root`; two threads unless told."""
  return build_lib.build(
    task=task,
    data_dir=out,
    quiet=True,
    **{"threads": 2} | folders(root) | options,
  )


def assert_refused(root, out, wanted, **options):
  """A build that must end with one line matching `wanted`, leaving nothing."""
  try:
    build(root, out, **options)
  except errors.InputError as error:
    message = str(error)
  else:
    raise AssertionError("the build did not fail")
  assert re.search(wanted, message), message
  assert "\n" not in message and SECRET not in message
  assert not out.exists(), "something was left behind"


def cell(table, row, column, value):
  """Damage: one value of one table replaced."""

  def damage(tables):
    index = HEADERS[table].split(",").index(column)
    tables[table][row][index] = value

  return damage
