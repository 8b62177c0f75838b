"""Folders, columns and files of MIMIC's releases, and writing them.

Columns are those of MIMIC.md section 1; v1.0 keeps patients and admissions in
`core/`, has `ethnicity` for `race` and lacks the caregiver and provider ids.
"""

import csv
import gzip
import io
import json
import os

import pyarrow as pa
from pyarrow import csv as pa_csv
from pyarrow import parquet

from medpatch_jax import schema

LAYOUTS = ("v1.0", "v2.2", "v3.1")

ADMISSIONS = (
  "subject_id", "hadm_id", "admittime", "dischtime", "deathtime",
  "admission_type", "admit_provider_id", "admission_location",
  "discharge_location", "insurance", "language", "marital_status", "race",
  "edregtime", "edouttime", "hospital_expire_flag",
)  # fmt: skip
CHART = (
  "subject_id", "hadm_id", "stay_id", "caregiver_id", "charttime", "storetime",
  "itemid", "value", "valuenum", "valueuom", "warning",
)  # fmt: skip
LABS = (
  "labevent_id", "subject_id", "hadm_id", "specimen_id", "itemid",
  "order_provider_id", "charttime", "storetime", "value", "valuenum",
  "valueuom", "ref_range_lower", "ref_range_upper", "flag", "priority",
  "comments",
)  # fmt: skip
NOTE = (
  "note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime",
  "storetime", "text",
)  # fmt: skip

# Name -> (folder, file name, columns). "core" is "hosp" from v2.0 on.
TABLES = {
  "patients": ("mimiciv/core", "patients", (
    "subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group",
    "dod")),
  "admissions": ("mimiciv/core", "admissions", ADMISSIONS),
  "labevents": ("mimiciv/hosp", "labevents", LABS),
  "diagnoses_icd": ("mimiciv/hosp", "diagnoses_icd", (
    "subject_id", "hadm_id", "seq_num", "icd_code", "icd_version")),
  "d_labitems": ("mimiciv/hosp", "d_labitems", (
    "itemid", "label", "fluid", "category")),
  "icustays": ("mimiciv/icu", "icustays", (
    "subject_id", "hadm_id", "stay_id", "first_careunit", "last_careunit",
    "intime", "outtime", "los")),
  "chartevents": ("mimiciv/icu", "chartevents", CHART),
  "outputevents": ("mimiciv/icu", "outputevents", (
    "subject_id", "hadm_id", "stay_id", "caregiver_id", "charttime",
    "storetime", "itemid", "value", "valueuom")),
  "d_items": ("mimiciv/icu", "d_items", (
    "itemid", "label", "abbreviation", "linksto", "category", "unitname",
    "param_type", "lownormalvalue", "highnormalvalue")),
  "metadata": ("mimic-cxr-jpg", "mimic-cxr-2.0.0-metadata", (
    "dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription",
    "ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime",
    "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning")),
  "split": ("mimic-cxr-jpg", "mimic-cxr-2.0.0-split", (
    "dicom_id", "study_id", "subject_id", "split")),
  "chexpert": ("mimic-cxr-jpg", "mimic-cxr-2.0.0-chexpert", (
    "subject_id", "study_id", *schema.FINDINGS)),
  "negbio": ("mimic-cxr-jpg", "mimic-cxr-2.0.0-negbio", (
    "subject_id", "study_id", *schema.FINDINGS)),
  "radiology": ("mimic-iv-note/note", "radiology", NOTE),
  "discharge": ("mimic-iv-note/note", "discharge", NOTE),
}  # fmt: skip
FILMS = "mimic-cxr-jpg/files"
TRUTH = "truth.csv"  # beside the raw folders, never inside one
TRUTH_COLUMNS = ("stay_id", "task", "label", "modality", "shown", "clear")
WORLD = "world.json"  # beside it: how the items hang together
_NOT_IN_V1 = ("caregiver_id", "order_provider_id", "admit_provider_id")


def columns(name, layout):
  """Columns of table `name` as `layout` has them."""
  names = TABLES[name][2]
  if layout != "v1.0":
    return names
  names = [n for n in names if n not in _NOT_IN_V1]
  return tuple("ethnicity" if n == "race" else n for n in names)


def folder(name, layout):
  """Folder of table `name`, relative to the root."""
  path = TABLES[name][0]
  return (
    path if layout == "v1.0" else path.replace("mimiciv/core", "mimiciv/hosp")
  )


class Folder:
  """Writes the tables of one root in pieces.

  The bytes depend on the pieces alone: gzip files carry no time and no name.
  """

  def __init__(self, root, layout, compress):
    self.root = root
    self.layout = layout
    self.compress = compress
    self._files = {}

  def _open(self, path, names):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    raw = open(path, "wb")  # closed by __exit__
    file = raw
    if path.endswith(".gz"):
      # Level 2: a tenth larger than the default, three times as fast.
      file = gzip.GzipFile("", "wb", 2, raw, mtime=0)
    file.write((",".join(names) + "\n").encode())
    return file, raw

  def _file(self, name):
    if name not in self._files:
      if name == "truth":
        path, names = os.path.join(self.root, TRUTH), TRUTH_COLUMNS
      else:
        suffix = ".csv.gz" if self.compress else ".csv"
        path = os.path.join(
          self.root, folder(name, self.layout), TABLES[name][1] + suffix
        )
        names = columns(name, self.layout)
      self._files[name] = self._open(path, names)
    return self._files[name][0]

  def write(self, name, table):
    """Appends the pyarrow `table`; columns it has beyond the layout's drop."""
    file = self._file(name)
    if "race" in table.column_names and self.layout == "v1.0":
      table = table.drop_columns("race")
    elif "ethnicity" in table.column_names:
      table = table.drop_columns("ethnicity")
    if name != "truth":
      table = table.select(columns(name, self.layout))
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    out = io.BytesIO()
    pa_csv.write_csv(table, out, options)
    file.write(out.getbuffer())

  def write_quoted(self, name, rows):
    """Appends `rows` (iterables of str or int), quoted where they must be."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    self._file(name).write(out.getvalue().encode())

  def write_parquet(self, path, table):
    """Appends the pyarrow `table` to a file of Parquet below the root."""
    if path not in self._files:
      writer = parquet.ParquetWriter(
        os.path.join(self.root, path), table.schema
      )
      self._files[path] = writer, writer
    self._files[path][0].write_table(table)

  def write_json(self, path, value):
    """Writes one file of JSON at `path` below the root."""
    self.write_bytes(path, json.dumps(value, indent=1).encode())

  def write_bytes(self, path, content):
    """Writes one file of `content` at `path` below the root."""
    path = os.path.join(self.root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
      file.write(content)

  def __enter__(self):
    return self

  def __exit__(self, *error):
    for file, raw in self._files.values():
      file.close()
      raw.close()


def strings(values):
  """pyarrow string array of `values`; empty strings are null."""
  return pa.array([v or None for v in values], pa.string())
