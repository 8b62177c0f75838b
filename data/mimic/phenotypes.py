"""The labels of phenotyping, from the admission's ICD codes.

By default 25 of HCUP's CCS; others where a file defines them.
"""

import numpy as np

from data.errors import InputError
from data.mimic import ccs, tables
from data.mimic.store import Store
from medpatch_jax import schema


def label(store: Store, table, cohort, definitions=None):
  """Fills the labels of `cohort` from diagnoses_icd, in place.

  Adds to `cohort.facts` how many distinct codes found no category and how
  many stays have no code at all; to `cohort.codes` those without a category.

  Args:
    store: where what is read of the table is kept.
    table: diagnoses_icd.
    cohort: `cohort.Cohort`.
    definitions: `definitions.Definitions` in place of HCUP's categories.

  Returns:
    How many stays have an ICD-10 code.
  """
  store.scan(
    table,
    "codes",
    "SELECT DISTINCT s.row, d.icd_code, d.icd_version"
    f" FROM {tables.scan(table)} d JOIN stays s ON d.hadm_id = s.hadm_id",
  )
  stays = store.execute(
    "SELECT icd_code, icd_version, count(DISTINCT row) FROM codes GROUP BY ALL"
    " ORDER BY ALL"
  ).fetchall()
  _check(table, cohort, stays)
  if definitions:
    labelled = _defined(table, cohort, stays, definitions)
  else:
    labelled = _categories(table, cohort, stays)
  store.execute(
    "CREATE TABLE category (icd_code VARCHAR, icd_version BIGINT, label INT)"
  )
  if labelled:
    store.connection.executemany(
      "INSERT INTO category VALUES (?, ?, ?)", labelled
    )
  pairs = store.execute(
    "SELECT DISTINCT row, label FROM codes JOIN category"
    " USING (icd_code, icd_version)"
  ).fetchnumpy()
  cohort.label[np.asarray(pairs["row"]), np.asarray(pairs["label"])] = 1.0
  coded, new = store.one(
    "SELECT count(DISTINCT row), count(DISTINCT row) FILTER (icd_version = 10)"
    " FROM codes"
  )
  cohort.facts["stays_without_a_code"] = len(cohort.stay_id) - coded
  return new


def _defined(table, cohort, stays, definitions):
  """Returns (code, version, label) by the reader's own file."""
  labelled = [
    (code, v, i) for code, v, _ in stays for i in definitions.labels(code)
  ]
  met = {(code, v) for code, v, _ in labelled}
  if not met and stays:
    raise InputError(
      f"--phenotypes: none of the codes of {definitions.source} is among the"
      f" {len(stays):,} distinct codes of {table.path}."
    )
  cohort.facts["distinct_codes"] = len(stays)
  cohort.facts["distinct_codes_of_a_phenotype"] = len(met)
  cohort.remarks.append(
    f"Phenotypes: {len(definitions.names)} of {definitions.source}."
  )
  return labelled


def _categories(table, cohort, stays):
  """Returns (code, version, label) by HCUP's categories."""
  found = [(code, v, n, ccs.category(code, v)) for code, v, n in stays]
  _check_categories(table, found)
  for version in (9, 10):
    mine = [n for _, v, _, n in found if v == version]
    cohort.facts[f"distinct_icd{version}_codes"] = len(mine)
    cohort.facts[f"distinct_icd{version}_codes_without_category"] = mine.count(
      None
    )
  cohort.codes = [(v, c, n) for c, v, n, ccs_n in found if ccs_n is None]
  column = {number: i for i, (number, _, _) in enumerate(schema.PHENOTYPES)}
  return [(c, v, column[n]) for c, v, _, n in found if n in column]


def _check(table, cohort, stays):
  if len(cohort.stay_id) and not stays:
    raise InputError(
      f"{table.path}: none of its {table.rows:,} rows names an admission of"
      " the cohort; is it of the same release?"
    )
  versions = sum(v not in (9, 10) for _, v, _ in stays)
  if versions > max(1, 0.01 * len(stays)):
    raise InputError(
      f"{table.path}: column icd_version of {versions:,} of {len(stays):,}"
      " distinct codes is neither 9 nor 10."
    )


def _check_categories(table, found):
  lost = sum(n is None for *_, n in found)
  if lost > max(1, 0.5 * len(found)):
    raise InputError(
      f"{table.path}: column icd_code: {lost:,} of {len(found):,} distinct"
      " codes are in no category; wanted ICD codes without a dot, with their"
      " leading zeros."
    )
