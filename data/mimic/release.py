"""Which releases of MIMIC the folders hold, from what lies there.

Counts and columns: MIMIC.md section 1.
"""

import pathlib
import re

TABLES = (
  "patients",
  "admissions",
  "icustays",
  "chartevents",
  "labevents",
  "outputevents",
  "diagnoses_icd",
)
# Data rows per table of each release, in the order of `TABLES`.
ROWS = {
  "v1.0": (382278, 523740, 76540, 329499788, 122103667, 4457381, 5280351),
  "v2.0 or v2.1": (
    315460, 454324, 76943, 329822285, 124342638, 4450049, 5006884,
  ),
  "v2.2": (299712, 431231, 73181, 313645063, 118171367, 4234967, 4756326),
  "v3.1": (364627, 546028, 94458, 432997491, 158374764, 5359395, 6364488),
  "demo v2.2": (100, 275, 140, 668862, 107727, 9362, 4506),
}  # fmt: skip
DEMO, DEMO_LICENCE = "demo v2.2", "Open Data Commons Open Database License v1.0"
# The tables of the other two databases, the same in every release of them.
OTHERS = {"metadata": 377110, "radiology": 2321355, "discharge": 331793}
_CAUSE = "With the real files, a truncated download is the usual cause."


def by_layout(core, columns, year_groups):
  """Release as folders, columns and years of the data tell it.

  Args:
    core: patients lie in core/.
    columns: table name -> set of its columns.
    year_groups: values of anchor_year_group.
  """
  if core or "ethnicity" in columns["admissions"]:
    return "v1.0"
  if "caregiver_id" not in columns["chartevents"]:
    return "v2.0 or v2.1"
  # Only v3 has patients admitted after 2019.
  return "v3.0 or v3.1" if any("2022" in g for g in year_groups) else "v2.2"


def detect(layout, rows, root=""):
  """Compares row counts with every release.

  Args:
    layout: what `by_layout` found.
    rows: table -> data rows counted, of the tables that were read.
    root: the folder given; one downloaded as such names the release, which
      tells apart those that nothing else does.

  Returns:
    (release, remarks: list of sentences for the report).
  """
  counted = {t: rows[t] for t in TABLES if rows.get(t) is not None}
  matches = {
    name: [t for t, n in zip(TABLES, sizes) if counted.get(t) == n]
    for name, sizes in ROWS.items()
  }
  best = max(matches, key=lambda name: len(matches[name]))
  odd = [t for t in counted if t not in matches[best]]
  if not odd:
    return _named(best, root), [
      f"Row counts of all {len(counted)} tables are those of {best}."
    ]
  if matches[best]:
    return _named(best, root), [
      f"Row counts of {', '.join(odd)} are not those of {best}, though others"
      " are: was the download cut off?"
    ]
  layout = _named(layout, root)
  if layout.startswith("v3.0"):
    return layout, [
      "Row counts are not those of v3.1, and of v3.0 none are known here;"
      f" folders and columns are of {layout}. {_CAUSE}"
    ]
  return layout, [
    f"Row counts are those of no release; folders and columns are of {layout}."
    f" {_CAUSE}"
  ]


def licence(rows, cxr=None, note=None):
  """The open licence of what was read, None where it has none.

  Only the demo has one: a folder whose tables have its numbers of rows, each of
  them, and nothing of the other two databases.
  """
  demo = dict(zip(TABLES, ROWS[DEMO]))
  needed = ("patients", "admissions", "icustays", "chartevents", "labevents")
  same = all(rows[t] == n for t, n in demo.items() if rows.get(t) is not None)
  whole = all(rows.get(t) for t in needed)
  alone = cxr is None and note is None
  return DEMO_LICENCE if same and whole and alone else None


def others(cxr, note, rows):
  """Releases of MIMIC-CXR-JPG and MIMIC-IV-Note.

  Args:
    cxr, note: their folders, or None.
    rows: table -> data rows counted.

  Returns:
    (words that name them, remarks).
  """
  names, remarks = [], []
  if cxr is not None:
    new = any(pathlib.Path(cxr).glob("mimic-cxr-2.1.0-*"))
    names.append(
      "MIMIC-CXR-JPG "
      + ("2.1.0" if new else _named("2.0.0 or 2.1.0", cxr, r"(?<!\d)2\.\d\.0"))
    )
  if note is not None:
    names.append("MIMIC-IV-Note 2.2")
  for table, wanted in OTHERS.items():
    if rows.get(table) not in (None, wanted):
      remarks.append(
        f"{table} has {rows[table]:,} rows, {wanted:,} as published. {_CAUSE}"
      )
  return names, remarks


def _named(release, root, pattern=r"(?<![\d.])[123]\.\d(?![\d.])"):
  """The one of several releases that the folder's path names, if it does."""
  if " or " not in release:
    return release
  named = re.findall(pattern, "/".join(pathlib.Path(root).parts[-2:]))
  fitting = [r for r in release.split(" or ") if r.strip("v") in named]
  return fitting[-1] if fitting else release
