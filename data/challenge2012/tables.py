"""The challenge's charts -> a folder in the format of docs/own_data.md.

Train on sets a and b, a tenth of them validation by a stable hash; set c is
test. Without set c a fifth of the others is.
"""

import csv
import pathlib

import numpy as np

from data import records, splits
from data.challenge2012 import read
from data.tables.extract import Source

ABOUT = records.About(
  description="""\
12,000 stays in intensive care, their first 48 hours, and death in hospital:
PhysioNet/Computing in Cardiology Challenge 2012, by medpatch-jax;
docs/own_data.md describes the columns.""",
  citation="""\
@inproceedings{silva2012challenge, title={Predicting in-hospital mortality of
ICU patients: The PhysioNet/Computing in Cardiology Challenge 2012},
author={Silva, Ikaro and Moody, George and Scott, Daniel J and Celi, Leo A and
Mark, Roger G}, booktitle={Computing in Cardiology}, year={2012}}""",
  licence="ODC-BY 1.0, as the files it was built from.",
)
LICENSE = "Open Data Commons Attribution License v1.0"
VALIDATION = 0.1


def source(charts) -> Source:
  """How the dataset is named, described and cited."""
  remarks = [
    f"{charts.nameless:,} rows that name no parameter were left out."
  ] * bool(charts.nameless)
  unknown = np.unique(charts.letter[np.isnan(charts.death)])
  remarks += [
    f"Set {s} has no outcomes: its stays are test, and can be predicted only."
    for s in unknown
  ]
  return Source(
    name="challenge2012",
    sentence="PhysioNet Challenge 2012, sets "
    + ", ".join(np.unique(charts.letter)),
    about=ABOUT,
    id_name="RecordID",
    remarks=tuple(remarks),
    usual=read.USUAL,
    license=LICENSE,
  )


def apart(charts):
  """Which records are never learned from, bool[R]: set c, and no outcome."""
  return (charts.letter == "c") | np.isnan(charts.death)


def split(charts):
  """Split of each record, str[R]."""
  late = apart(charts)
  place = np.array([splits.fraction(r, "split") for r in charts.record])
  edges = (1 - VALIDATION, 1.0) if late.any() else (0.7, 0.8)
  early = np.select(
    [place < edges[0], place < edges[1]], ["train", "validation"], "test"
  )
  return np.where(late, "test", early)


def write(folder, charts, where=None):
  """Writes stays, variables and events into an existing folder.

  Args:
    folder: theirs.
    charts: `read.Charts`.
    where: split of each record, that of `split` by default.
  """
  import pyarrow as pa
  from pyarrow import parquet

  folder = pathlib.Path(folder)
  death = pa.array(charts.death, from_pandas=True)
  first = _first(charts)
  stays = {
    "stay_id": charts.record,
    "subject_id": charts.record,  # The challenge does not say who is who.
    "hours": np.full(len(charts.record), read.HOURS),
    f"label_{read.LABEL}": death,
    "split": split(charts) if where is None else where,
    "group_age": pa.array(first["Age"], from_pandas=True),
    "group_gender": _words(first, "Gender"),
    "group_icu": _words(first, "ICUType"),
  }
  parquet.write_table(pa.table(stays), folder / "stays.parquet")
  events = {
    "stay_id": charts.record[charts.row],
    "hour": charts.hour,
    "variable": pa.DictionaryArray.from_arrays(
      charts.variable.astype(np.int32), list(read.NAMES)
    ),
    "value": _values(charts),
  }
  parquet.write_table(pa.table(events), folder / "events.parquet")
  with open(
    folder / "variables.csv", "w", newline="", encoding="utf-8"
  ) as file:
    rows = csv.writer(file)
    rows.writerow(("name", "categories", "normal", "low", "high", "unit"))
    for name, words in read.CLASSES.items():
      rows.writerow((name, "|".join(words), _NORMAL.get(name, ""), "", "", ""))
    for name, low, high, unit in read.NUMBERS:
      rows.writerow((name, "", "", low, high, unit))


# Nobody is ventilated who is not said to be.
_NORMAL = {"MechVent": "0"}


def _first(charts):
  """Age, Gender and ICUType of each record, f64[R], NaN if missing."""
  out = {}
  for name in ("Age", "Gender", "ICUType"):
    rows = charts.variable == read.NAMES.index(name)
    out[name] = np.full(len(charts.record), np.nan)
    out[name][charts.row[rows]] = charts.value[rows]
  return out


def _words(first, name):
  """Numbers of a category as words, None where missing or of no category."""
  words = {number: word for word, number in read.CLASSES[name].items()}
  return [words.get(v) for v in first[name].tolist()]


def _values(charts):
  """Values as text: numbers, and the words of categories."""
  text = charts.value.astype(str).astype(object)
  for name, words in read.CLASSES.items():
    rows = charts.variable == read.NAMES.index(name)
    back = {float(number): word for word, number in words.items()}
    text[rows] = [back.get(v) for v in charts.value[rows].tolist()]
  return list(text)
