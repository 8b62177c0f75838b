"""The 25 labels of phenotyping: the admission's ICD codes, by HCUP's CCS."""

import numpy as np

from data.errors import InputError
from data.mimic import ccs, tables
from data.mimic.store import Store
from medpatch_jax import schema


def label(store: Store, table, cohort):
  """Fills the labels of `cohort` from diagnoses_icd, in place.

  Adds to `cohort.facts` how many distinct codes found no category and how
  many stays have no code at all; to `cohort.codes` those without a category.
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
  found = [(code, v, n, ccs.category(code, v)) for code, v, n in stays]
  _check(table, cohort, found)
  column = {number: i for i, (number, _, _) in enumerate(schema.PHENOTYPES)}
  store.execute(
    "CREATE TABLE category (icd_code VARCHAR, icd_version BIGINT, label INT)"
  )
  labelled = [(c, v, column[n]) for c, v, _, n in found if n in column]
  if labelled:
    store.connection.executemany(
      "INSERT INTO category VALUES (?, ?, ?)", labelled
    )
  pairs = store.execute(
    "SELECT DISTINCT row, label FROM codes JOIN category"
    " USING (icd_code, icd_version)"
  ).fetchnumpy()
  cohort.label[np.asarray(pairs["row"]), np.asarray(pairs["label"])] = 1.0
  for version in (9, 10):
    mine = [n for _, v, _, n in found if v == version]
    cohort.facts[f"distinct_icd{version}_codes"] = len(mine)
    cohort.facts[f"distinct_icd{version}_codes_without_category"] = mine.count(
      None
    )
  coded = store.one("SELECT count(DISTINCT row) FROM codes")[0]
  cohort.facts["stays_without_a_code"] = len(cohort.stay_id) - coded
  cohort.codes = [(v, c, n) for c, v, n, ccs_n in found if ccs_n is None]


def _check(table, cohort, found):
  if len(cohort.stay_id) and not found:
    raise InputError(
      f"{table.path}: none of its {table.rows:,} rows names an admission of"
      " the cohort; is it of the same release?"
    )
  versions = sum(v not in (9, 10) for _, v, _, _ in found)
  if versions > max(1, 0.01 * len(found)):
    raise InputError(
      f"{table.path}: column icd_version of {versions:,} of {len(found):,}"
      " distinct codes is neither 9 nor 10."
    )
  lost = sum(n is None for *_, n in found)
  if lost > max(1, 0.5 * len(found)):
    raise InputError(
      f"{table.path}: column icd_code: {lost:,} of {len(found):,} distinct"
      " codes are in no category; wanted ICD codes without a dot, with their"
      " leading zeros."
    )
