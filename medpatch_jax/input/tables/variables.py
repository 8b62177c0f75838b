"""The table of variables: name, categories, normal value, range and unit."""

import dataclasses
import re

import numpy as np

from medpatch_jax import schema
from medpatch_jax.input import cell
from medpatch_jax.input.tables import rows as rows_lib
from medpatch_jax.input.tables.reader import scan, text
from medpatch_jax.input.variables import Variable, series

_PRESSURE = ("mmHg", 1.0, 400.0)
# Name -> unit and range of what any human can have, newborns too: for
# variables of these names and units whose range is not given. A pressure of 0
# is a sensor that is not connected, a height of 1.75 cm one in metres.
POSSIBLE = {
  "Diastolic blood pressure": _PRESSURE,
  "Height": ("cm", 20.0, 280.0),
  "Mean blood pressure": _PRESSURE,
  "Systolic blood pressure": _PRESSURE,
  "Temperature": ("degC", 10.0, 47.0),
  "Weight": ("kg", 0.2, 700.0),
}


def load(read, table):
  """Reads the table -> (tuple of `Variable`, names of those given a range).

  Where no normal value is given it is NaN, or "" of categories. A number of
  `POSSIBLE` without a range takes that one: a weight of 0 kg cannot be.

  Args:
    read: `reader.Reader`.
    table: `layout.Table`.
  """
  optional = ("kind", "categories", "normal", "low", "high", "unit")
  given = [c for c in ("name", *optional) if c in table.header]
  columns = ", ".join(f'{text(c)} AS "{c}"' for c in given)
  query = f"SELECT row_no, {columns} FROM {scan(table)}"
  if not table.complete or not read.load(table, "raw_variables", query):
    return (), ()
  rows = read.connection.execute(
    "SELECT * FROM raw_variables ORDER BY row_no"
  ).fetchall()
  table.rows = len(rows)
  if not rows:
    read.problems.add(table.file, "has no rows")
  out, ranged = [], []
  for number, *cells in rows:
    cells = dict(zip(given, cells))
    found = _variable(table, number, cells, out, read.problems)
    if not found:
      continue
    if (possible := _possible(found)) is not None:
      ranged.append(found.name)
      found = possible
    out.append(found)
  modalities = series(out)
  if len(modalities) > rows_lib.MOST_KINDS:
    read.problems.add(
      table.file,
      f"has {len(modalities):,} kinds, at most {rows_lib.MOST_KINDS}",
      "kind",
    )
  # Those of one kind together: each is a series of its own.
  return sum(modalities.values(), ()), tuple(ranged)


def _kind(word):
  """Whether a series may be called so."""
  if word == rows_lib.SERIES:
    return True
  taken = (*rows_lib.RESERVED, *schema.MODALITIES)
  return (
    re.fullmatch(rows_lib.KIND, word) is not None
    and word not in taken
    and not word.endswith(rows_lib.SUFFIXES)
  )


def _possible(variable):
  """The variable with the range of any human, or None where none is known."""
  if variable.classes or np.isfinite(variable.limits).any():
    return None
  name, unit = variable.name.casefold(), variable.unit.casefold()
  for title, (their_unit, low, high) in POSSIBLE.items():
    if (title.casefold(), their_unit.casefold()) == (name, unit):
      if variable.normal < low or variable.normal > high:
        return None
      return dataclasses.replace(variable, limits=(low, low, high, high))
  return None


def _variable(table, row, cells, before, problems):
  """One row -> `Variable`, or None with the reasons in `problems`."""
  known = len(problems.lines)

  def wrong(what, column):
    problems.add(table.file, what, column, [row])

  title = cells["name"]
  if title is None or "->" in title or not title.isprintable():
    wrong("no name of printable characters without ->", "name")
  elif title in [v.name for v in before]:
    wrong("has been there before", "name")
  kind = cells.get("kind") or Variable.modality
  if not _kind(kind):
    wrong(
      "no lower-case word such as blood, or a name that is taken; empty is"
      f" {Variable.modality}",
      "kind",
    )
  words = cells.get("categories")
  classes = tuple(map(cell.strip, words.split("|"))) if words else ()
  if words and (len(set(classes)) < len(classes) or len(classes) < 2):
    wrong("wanted two or more different words, as low|high", "categories")
  if "" in classes:
    wrong("holds an empty word", "categories")
  number = {}
  for column in ("normal", "low", "high"):
    word = cells.get(column)
    number[column] = np.nan
    if word is None or (classes and column == "normal"):
      continue
    number[column] = cell.number(word)
    if np.isnan(number[column]):
      wrong("no number", column)
    elif classes:
      wrong("is given for a variable of categories", column)
  normal, low, high = number["normal"], number["low"], number["high"]
  if low >= high:
    wrong("is not below high", "low")
  if normal < low or normal > high:
    wrong("lies outside low and high", "normal")
  if classes:
    normal = cells.get("normal") or ""
    if normal and normal not in classes:
      wrong("is none of the categories", "normal")
  if len(problems.lines) > known:
    return None
  low, high = np.nan_to_num(low, nan=-np.inf), np.nan_to_num(high, nan=np.inf)
  return Variable(
    title,
    normal,
    (),
    unit=cells.get("unit") or "",
    classes=classes,
    scores=tuple(float(i) for i in range(len(classes))),
    limits=None
    if classes
    else (float(low), float(low), float(high), float(high)),
    modality=kind,
  )
