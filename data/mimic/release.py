"""Which release of MIMIC-IV a folder holds, from what lies there.

Counts and columns: MIMIC.md section 1.
"""

_TABLES = (
  "patients",
  "admissions",
  "icustays",
  "chartevents",
  "labevents",
  "diagnoses_icd",
)
# Data rows per table of each release, in the order of `_TABLES`.
ROWS = {
  "v1.0": (382278, 523740, 76540, 329499788, 122103667, 5280351),
  "v2.0 or v2.1": (315460, 454324, 76943, 329822285, 124342638, 5006884),
  "v2.2": (299712, 431231, 73181, 313645063, 118171367, 4756326),
  "v3.1": (364627, 546028, 94458, 432997491, 158374764, 6364488),
  "demo v2.2": (100, 275, 140, 668862, 107727, 4506),
}
TABLES = _TABLES


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
  return "v3.1" if any("2022" in g for g in year_groups) else "v2.2"


def detect(layout, rows):
  """Compares row counts with every release.

  Args:
    layout: what `by_layout` found.
    rows: table -> data rows counted, of the tables that were read.

  Returns:
    (release, remarks: list of sentences for the report).
  """
  counted = {t: rows[t] for t in _TABLES if rows.get(t) is not None}
  matches = {
    name: [t for t, n in zip(_TABLES, sizes) if counted.get(t) == n]
    for name, sizes in ROWS.items()
  }
  best = max(matches, key=lambda name: len(matches[name]))
  if len(matches[best]) == len(counted):
    return best, [
      f"Row counts of all {len(counted)} tables are those of {best}."
    ]
  if matches[best]:
    odd = [t for t in counted if t not in matches[best]]
    return best, [
      f"Row counts of {', '.join(odd)} are not those of {best}, though others"
      " are: was the download cut off?"
    ]
  return layout, [
    f"Row counts are those of no release; folders and columns are of {layout}."
    " With the real files, a truncated download is the usual cause."
  ]
