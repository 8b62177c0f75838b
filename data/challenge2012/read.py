"""PhysioNet Challenge 2012 -> the four tables of docs/own_data.md.

Source: Silva et al., Computing in Cardiology 2012; the files' own
description. Outcomes other than In-hospital_death are never read.
"""

import array
import dataclasses
import pathlib
import re

import numpy as np

from data.challenge2012 import files
from data.errors import InputError
from medpatch_jax.input import cell

LABEL = "In-hospital death"
SETS = ("a", "b", "c")
HOURS = 48
_TIME = re.compile(r"([0-9]{2}):([0-5][0-9])\Z")
_LINE_END = re.compile("\r\n|\r|\n")
_ICU = {
  1: "Coronary care",
  2: "Cardiac surgery recovery",
  3: "Medical",
  4: "Surgical",
}
# Name, lowest and highest valid value, unit. Pressures of 0 and temperatures
# under 10 are errors of the charts, as are heights of 1.8 or 460 cm and a pH
# of 735.
NUMBERS = (
  ("Age", 15, 120, "years"),
  ("Height", 100, 230, "cm"),
  ("Albumin", 0, 10, "g/dL"),
  ("ALP", 0, 10000, "IU/L"),
  ("ALT", 0, 30000, "IU/L"),
  ("AST", 0, 50000, "IU/L"),
  ("Bilirubin", 0, 100, "mg/dL"),
  ("BUN", 0, 300, "mg/dL"),
  ("Cholesterol", 0, 1000, "mg/dL"),
  ("Creatinine", 0, 50, "mg/dL"),
  ("DiasABP", 1, 300, "mmHg"),
  ("FiO2", 0.2, 1, "fraction"),
  ("GCS", 3, 15, "score"),
  ("Glucose", 1, 2000, "mg/dL"),
  ("HCO3", 0, 100, "mmol/L"),
  ("HCT", 0, 80, "%"),
  ("HR", 1, 350, "/min"),
  ("K", 0, 30, "mmol/L"),
  ("Lactate", 0, 50, "mmol/L"),
  ("Mg", 0, 40, "mmol/L"),
  ("MAP", 1, 330, "mmHg"),
  ("Na", 50, 250, "mmol/L"),
  ("NIDiasABP", 1, 300, "mmHg"),
  ("NIMAP", 1, 330, "mmHg"),
  ("NISysABP", 1, 375, "mmHg"),
  ("PaCO2", 1, 200, "mmHg"),
  ("PaO2", 1, 800, "mmHg"),
  ("pH", 6.3, 8.4, ""),
  ("Platelets", 0, 5000, "/nL"),
  ("RespRate", 1, 150, "/min"),
  ("SaO2", 1, 100, "%"),
  ("SysABP", 1, 375, "mmHg"),
  ("Temp", 10, 45, "degC"),
  ("TroponinI", 0, 500, "ug/L"),
  ("TroponinT", 0, 500, "ug/L"),
  ("Urine", 0, 5000, "mL"),
  ("WBC", 0, 2000, "/nL"),
  ("Weight", 20, 300, "kg"),
)
# What stands where no stay of train has a measurement: of the 17 variables of
# the field's benchmark its normal value, of others the middle of the adult
# reference range, in the unit above.
USUAL = {
  "Age": 65, "Height": 170, "Albumin": 4.2, "ALP": 80, "ALT": 25, "AST": 25,
  "Bilirubin": 0.6, "BUN": 14, "Cholesterol": 170, "Creatinine": 0.9,
  "DiasABP": 59, "FiO2": 0.21, "GCS": 15, "Glucose": 128, "HCO3": 24,
  "HCT": 41, "HR": 86, "K": 4.2, "Lactate": 1, "Mg": 2, "MAP": 77, "Na": 140,
  "NIDiasABP": 59, "NIMAP": 77, "NISysABP": 118, "PaCO2": 40, "PaO2": 90,
  "pH": 7.4, "Platelets": 250, "RespRate": 19, "SaO2": 98, "SysABP": 118,
  "Temp": 36.6, "TroponinI": 0, "TroponinT": 0, "Urine": 60, "WBC": 7,
  "Weight": 81,
}  # fmt: skip
# Class -> value in the files; the first is the normal one.
CLASSES = {
  "Gender": {"female": 0, "male": 1},
  "ICUType": {word: number for number, word in _ICU.items()},
  "MechVent": {"0": 0, "1": 1},
}
NAMES = (*CLASSES, *(name for name, *_ in NUMBERS))


@dataclasses.dataclass
class Charts:
  """Every row of some records, missing values left out.

  Attributes:
    record: i64[R], ids, ascending.
    letter: str[R], the set of each.
    death: f64[R], 0 or 1, NaN where the outcome is not known.
    row: i64[N], record of each measurement, ascending.
    hour: f64[N].
    variable: i64[N], index into `NAMES`.
    value: f64[N].
    nameless: rows left out because they name no parameter.
  """

  record: np.ndarray
  letter: np.ndarray
  death: np.ndarray
  row: np.ndarray
  hour: np.ndarray
  variable: np.ndarray
  value: np.ndarray
  nameless: int = 0


def read(root, progress=None) -> Charts:
  """Reads the sets that lie in a folder.

  Args:
    root: holds set-a, set-b, set-c as folders, .tar.gz or .zip, and
      Outcomes-a.txt and so on; any may be absent.
    progress: called with the fraction done.

  Raises:
    InputError: no set is there, or a file is not as it must be.
  """
  root = pathlib.Path(root)
  if not root.is_dir():
    raise InputError(f"--challenge={root}: wanted a folder.")
  found = {s: path for s in SETS if (path := files.find(root, s))}
  if not found:
    raise InputError(
      f"--challenge={root}: holds none of set-a, set-b, set-c, as a folder,"
      " .tar.gz or .zip."
    )
  parts = []
  for i, (letter, path) in enumerate(found.items()):

    def say(fraction, i=i):
      if progress:
        progress((i + fraction) / len(found))

    parts.append(_set(root, letter, path, say))
  return _join(parts)


def known(charts) -> Charts:
  """Only the records whose outcome is known."""
  keep = ~np.isnan(charts.death)
  place = np.cumsum(keep) - 1
  rows = keep[charts.row]
  return Charts(
    record=charts.record[keep],
    letter=charts.letter[keep],
    death=charts.death[keep],
    row=place[charts.row[rows]],
    hour=charts.hour[rows],
    variable=charts.variable[rows],
    value=charts.value[rows],
    nameless=charts.nameless,
  )


def _set(root, letter, path, progress):
  """-> Charts of one set."""
  record, row, variable = (array.array("q") for _ in range(3))
  hour, value = array.array("d"), array.array("d")
  nameless = 0
  for number, text in files.records(path):
    nameless += _record(
      f"{path}: {number}.txt",
      number,
      text,
      len(record),
      (row, hour, variable, value),
    )
    record.append(number)
    progress(min(1.0, len(record) / 4000))
  found = Charts(
    record=np.array(record),
    letter=np.full(len(record), letter),
    death=_outcomes(root, letter, record),
    row=np.array(row, np.int64),
    hour=np.array(hour),
    variable=np.array(variable, np.int64),
    value=np.array(value),
    nameless=nameless,
  )
  return found


def _record(where, number, text, index, out):
  """Appends a record's rows to (row, hour, variable, value).

  Returns:
    How many rows name no parameter.
  """
  row, hour, variable, value = out
  lines = _lines(text)
  if next(lines, (1, []))[1] != ["Time", "Parameter", "Value"]:
    raise InputError(f"{where}: line 1 is not Time,Parameter,Value.")
  named, nameless = None, 0
  for line, fields in lines:
    if len(fields) != 3:
      raise InputError(
        f"{where}: line {line} has {len(fields)} columns, wanted 3."
      )
    time, name, word = fields
    clock, found = _TIME.match(time), cell.number(word)
    at = int(clock[1]) + int(clock[2]) / 60 if clock else np.nan
    if not at <= HOURS:
      raise InputError(
        f"{where}: line {line}: column Time is no time from 00:00 to 48:00."
      )
    if not np.isfinite(found):
      raise InputError(f"{where}: line {line}: column Value is no number.")
    if name == "RecordID":
      named = cell.whole(word)
    elif not name:
      nameless += 1
    elif name not in _INDEX:
      raise InputError(f"{where}: line {line}: column Parameter is unknown.")
    elif found != -1:
      row.append(index)
      hour.append(at)
      variable.append(_INDEX[name])
      value.append(found)
  if named != number:
    raise InputError(f"{where}: its RecordID is not the file's name.")
  return nameless


_INDEX = {name: i for i, name in enumerate(NAMES)}


def _lines(text):
  """Yields (number of a line, its cells without blanks at their ends).

  Lines of blanks are passed over. What a text may look like is the rule of
  medpatch_jax/input/tables/file.py and cell.py.
  """
  for number, line in enumerate(_LINE_END.split(text), 1):
    if cell.strip(line):
      yield number, [cell.strip(word) for word in line.split(",")]


def _outcomes(root, letter, record):
  """Deaths of a set's records, f64[R]; NaN without an outcomes file."""
  path = root / f"Outcomes-{letter}.txt"
  if not path.is_file():
    return np.full(len(record), np.nan)
  try:
    lines = _lines(path.read_text("utf-8-sig"))
  except (OSError, UnicodeDecodeError):
    raise InputError(f"{path}: is no text.") from None
  _, header = next(lines, (1, []))
  for name in ("RecordID", "In-hospital_death"):
    if name not in header:
      raise InputError(f"{path}: column {name} is missing.")
    if header.count(name) > 1:
      raise InputError(f"{path}: column {name} is there twice.")
  known = {}
  for number, words in lines:
    if len(words) != len(header):
      raise InputError(
        f"{path}: line {number} has {len(words)} columns, wanted {len(header)}."
      )
    cells = dict(zip(header, words))
    record_id = cell.whole(cells["RecordID"])
    death = cell.number(cells["In-hospital_death"])
    if record_id is None or death not in (0, 1):
      raise InputError(
        f"{path}: line {number}: wanted a RecordID, and In-hospital_death 0 or"
        " 1."
      )
    if record_id in known:
      raise InputError(f"{path}: line {number} names a record named before.")
    known[record_id] = death
  missing = sum(r not in known for r in record)
  if missing or len(known) != len(record):
    raise InputError(
      f"{path}: has {len(known):,} records, set-{letter} has {len(record):,},"
      f" {missing:,} of them without an outcome; are both of one download?"
    )
  return np.array([known[r] for r in record])


def _join(parts) -> Charts:
  """Several sets -> one, records ascending."""
  joined = {
    f.name: np.concatenate([getattr(p, f.name) for p in parts])
    for f in dataclasses.fields(Charts)
    if f.name not in ("row", "nameless")
  }
  start = np.cumsum([0] + [len(p.record) for p in parts])
  row = np.concatenate([p.row + at for p, at in zip(parts, start)])
  order = np.argsort(joined["record"], kind="stable")
  record = joined["record"][order]
  twice = record[1:] == record[:-1]
  if twice.any():
    raise InputError(
      f"--challenge: {int(twice.sum()):,} records are in two sets; is one a"
      " copy of another?"
    )
  place = np.empty(len(order), np.int64)
  place[order] = np.arange(len(order))
  row = place[row]
  events = np.argsort(row, kind="stable")
  return Charts(
    record=record,
    letter=joined["letter"][order],
    death=joined["death"][order],
    row=row[events],
    hour=joined["hour"][events],
    variable=joined["variable"][events],
    value=joined["value"][events],
    nameless=sum(p.nameless for p in parts),
  )
