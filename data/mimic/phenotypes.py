"""The labels of phenotyping, from the admission's ICD codes.

By default 25 of HCUP's CCS; others where a file defines them.
"""

import dataclasses
import re

import numpy as np

from data.errors import InputError
from data.mimic import ccs, tables
from data.mimic.store import Store
from medpatch_jax import schema
from medpatch_jax.input import cell

# What may be listed: another value of the column could be anything.
_FORM = {
  9: r"\d{3,5}|V\d{2,4}|E\d{3,4}",
  10: r"[A-Z]\d[\dA-Z]{1,5}",
}


@dataclasses.dataclass(frozen=True)
class _Code:
  """A code of the cohort, as `ccs.plain` writes it; None where it is blank."""

  code: str | None
  version: int | None
  stays: int
  patients: int


def label(store: Store, table, cohort, definitions=None):
  """Fills the labels of `cohort` from diagnoses_icd, in place.

  Adds to `cohort.facts` how many codes there are, how many take the category
  of a prefix, how many have none; to `cohort.codes` those without a category.

  Args:
    store: where what is read of the table is kept.
    table: diagnoses_icd.
    cohort: `cohort.Cohort`.
    definitions: `definitions.Definitions` in place of HCUP's categories.

  Returns:
    How many stays have an ICD-10 code.
  """
  plain = f"upper(replace({cell.text_sql('d.icd_code')}, '.', ''))"
  store.scan(
    table,
    "codes",
    f"SELECT DISTINCT s.row, nullif({plain}, '') AS code, d.icd_version AS"
    f" version FROM {tables.scan(table)} d JOIN stays s ON d.hadm_id ="
    " s.hadm_id",
  )
  lines = store.execute(
    "SELECT code, version, count(*), count(DISTINCT subject_id) FROM codes JOIN"
    " stays USING (row) GROUP BY ALL ORDER BY ALL"
  ).fetchall()
  codes = [_Code(*line) for line in lines]
  _check(table, cohort, codes)
  if definitions:
    labelled = _defined(table, cohort, codes, definitions)
  else:
    labelled = _categories(table, cohort, codes)
  store.execute(
    "CREATE TABLE category (code VARCHAR, version BIGINT, label INT)"
  )
  if labelled:
    store.connection.executemany(
      "INSERT INTO category VALUES (?, ?, ?)", labelled
    )
  pairs = store.execute(
    "SELECT DISTINCT row, label FROM codes JOIN category USING (code, version)"
  ).fetchnumpy()
  cohort.label[np.asarray(pairs["row"]), np.asarray(pairs["label"])] = 1.0
  coded, new = store.one(
    "SELECT count(DISTINCT row), count(DISTINCT row) FILTER (version = 10)"
    " FROM codes"
  )
  cohort.facts["stays_without_a_code"] = len(cohort.stay_id) - coded
  cohort.facts["diagnoses_of_a_blank_code"] = sum(
    c.stays for c in codes if not c.code
  )
  return new


def _defined(table, cohort, codes, definitions):
  """Returns (code, version, label) by the reader's own file."""
  labelled = [
    (c.code, c.version, i) for c in codes for i in definitions.labels(c.code)
  ]
  met = {(code, version) for code, version, _ in labelled}
  if not met and codes:
    raise InputError(
      f"--phenotypes: none of the codes of {definitions.source} is among the"
      f" {len(codes):,} distinct codes of {table.path}."
    )
  cohort.facts["distinct_codes"] = len(codes)
  cohort.facts["distinct_codes_of_a_phenotype"] = len(met)
  cohort.remarks.append(
    f"Phenotypes: {len(definitions.names)} of {definitions.source}."
  )
  return labelled


def _categories(table, cohort, codes):
  """Returns (code, version, label) by HCUP's categories."""
  found = [(c, *ccs.lookup(c.code, c.version)) for c in codes]
  _check_categories(table, found)
  for version in (9, 10):
    mine = [f for f in found if f[0].code and f[0].version == version]
    lost = [c for c, number, _ in mine if number is None]
    name = f"distinct_icd{version}_codes"
    cohort.facts[name] = len(mine)
    cohort.facts[f"{name}_without_category"] = len(lost)
    if version == 10:
      newer = [c.stays for c, _, by_prefix in mine if by_prefix]
      cohort.facts[f"{name}_by_their_prefix"] = len(newer)
      cohort.facts["diagnoses_of_icd10_by_their_prefix"] = sum(newer)
    cohort.codes += [
      (version, c.code, c.patients)
      for c in lost
      if re.fullmatch(_FORM[version], c.code, re.ASCII)
    ]
  column = {number: i for i, (number, _, _) in enumerate(schema.PHENOTYPES)}
  return [(c.code, c.version, column[n]) for c, n, _ in found if n in column]


def _check(table, cohort, codes):
  if len(cohort.stay_id) and not codes:
    raise InputError(
      f"{table.path}: none of its {table.rows:,} rows names an admission of"
      " the cohort; is it of the same release?"
    )
  versions = sum(c.version not in (9, 10) for c in codes)
  if versions > max(1, 0.01 * len(codes)):
    raise InputError(
      f"{table.path}: column icd_version of {versions:,} of {len(codes):,}"
      " distinct codes is neither 9 nor 10."
    )


def _check_categories(table, found):
  lost = sum(number is None for _, number, _ in found)
  if lost > max(1, 0.5 * len(found)):
    raise InputError(
      f"{table.path}: column icd_code: {lost:,} of {len(found):,} distinct"
      " codes are in no category; wanted ICD codes without a dot, with their"
      " leading zeros."
    )
