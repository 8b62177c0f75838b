"""The 14 labels of radiology: what CheXpert read in the linked film's report."""

import numpy as np

from data import report
from data.errors import InputError
from data.mimic import tables
from medpatch_jax import schema

STEM = "mimic-cxr-2.0.0-chexpert"


def label(store, table, cohort, rules):
  """Fills the labels of `cohort`, in place; NaN without a labelled film.

  1 is positive; 0 and an empty cell are negative, as is -1 (uncertain) unless
  `rules.uncertain` says otherwise. Films without labels are dropped.

  Args:
    store: `store.Store` with the table films.
    table: `tables.Table` of the findings.
    cohort: `cohort.Cohort`.
    rules: `rules.Rules`.
  """
  names = ", ".join(f'c."{name}"' for name in schema.FINDINGS)
  store.scan(
    table,
    "findings",
    f"SELECT f.row, {names} FROM {tables.scan(table)} c JOIN films f"
    " ON c.study_id = f.study_id AND c.subject_id = f.subject_id"
    " QUALIFY row_number() OVER (PARTITION BY f.row) = 1 ORDER BY f.row",
  )
  linked = store.one("SELECT count(*) FROM films")[0]
  found = store.execute("SELECT * FROM findings ORDER BY row").fetchall()
  if linked and not found:
    raise InputError(
      f"{table.path}: none of its {table.rows:,} rows is of a film of the"
      " cohort; is it of the same release?"
    )
  value = np.array([row[1:] for row in found], np.float64)
  value = value.reshape(-1, len(schema.FINDINGS))
  _check(table, value)
  positive = (1,) if rules.uncertain == "negative" else (1, -1)
  cohort.label[:] = np.nan
  cohort.label[[row[0] for row in found]] = np.isin(value, positive)
  cohort.filters += [
    ("with an AP film in the stay", linked),
    ("whose film CheXpert labelled", len(found)),
  ]
  subjects = cohort.subject_id
  films = [row for (row,) in store.execute("SELECT row FROM films").fetchall()]
  labelled = [row[0] for row in found]
  cohort.lost += [
    report.lost(subjects, subjects[films]),
    report.lost(subjects[films], subjects[labelled]),
  ]
  cohort.facts["stays_with_an_uncertain_finding"] = int(
    (value == -1).any(axis=1).sum()
  )
  store.derive(
    "films", "SELECT f.* FROM films f SEMI JOIN findings c USING (row)"
    " ORDER BY f.row",
  )  # fmt: skip


def _check(table, value):
  """Refuses values that no labeller writes."""
  odd = ~(np.isnan(value) | np.isin(value, (-1, 0, 1)))
  if odd.any():
    column = schema.FINDINGS[int(odd.any(axis=0).argmax())]
    raise InputError(
      f"{table.path}: column {column} of {int(odd.any(axis=1).sum()):,} of the"
      f" cohort's {len(value):,} films is none of 1, 0, -1 and empty."
    )
