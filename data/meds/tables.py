"""A MEDS folder -> a folder of own tables (docs/own_data.md)."""

import csv
import pathlib

from data.errors import InputError
from data.meds import events as events_lib
from data.meds import folder as folder_lib
from data.meds import labels as labels_lib
from data.meds import rows
from data.tables.extract import Source
from medpatch_jax.input.tables import file
from medpatch_jax.input.tables.stays import GROUP, LABEL

_COLUMNS = ("name", "kind", "categories", "normal", "low", "high", "unit")


def write(out, connection, root, given, labels, progress, censored="refuse"):
  """Writes the tables into an existing folder.

  Args:
    out: theirs.
    connection: DuckDB's, on a file: it holds the rows that are mapped.
    root: folder of MEDS.
    given: `mapping.Mapping`.
    labels: paths of the label files.
    progress: (title) -> a context manager.
    censored: of `series.CENSORED`, for variables that the map defines.

  Returns:
    `data.tables.extract.Source`.

  Raises:
    InputError: names file, row and field.
  """
  out = pathlib.Path(out)
  folder = folder_lib.read(connection, root, progress)
  meds = rows.Meds(connection, folder, given, labels[0])
  names = labels_lib.read(connection, labels)
  rows.codes(meds)
  rows.windows(meds, progress)
  rows.seen(meds, progress)
  with progress("cleaning"):
    events_lib.events(meds, censored)
  _stays(meds, out, names)
  _inputs(meds, out)
  return Source(
    name=given.name,
    sentence=f"MEDS {folder_lib.VERSION}, {folder.name}, by {given.source}",
    remarks=tuple(meds.remarks),
    facts=meds.facts,
    place=f"--meds={root}, as tables",
  )


def _copy(meds, query, path):
  """Writes a query's rows; returns how many there are."""
  return meds.run(
    f"COPY ({query}) TO {file.quote(path)} (FORMAT parquet)"
  ).fetchone()[0]


def _stays(meds, out, names):
  """stays.parquet: windows, labels, splits and subgroups."""
  columns = ["p.stay_id", "p.subject_id", "p.hours"]
  columns += [f"p.{file.name(n)} AS {file.name(LABEL + n)}" for n in names]
  source = "placed p"
  if folder_lib.splits(meds.connection, meds.folder):
    labels_lib.refuse(
      meds.connection, meds.labels, "(FROM placed ANTI JOIN splits USING"
      " (subject_id))", "true", "subject_id",
      "the subject is in no split of metadata/subject_splits.parquet",
    )  # fmt: skip
    columns.append("split")
    source += " JOIN splits USING (subject_id)"
  else:
    meds.remarks.append(
      "No metadata/subject_splits.parquet: splits are by a hash of subject_id."
    )
  for i, entry in enumerate(meds.map.entries):
    if entry.use == "word":
      said = "coalesce(value, nullif(part, ''), text, CAST(given AS VARCHAR))"
      when = "coalesce(time, '-infinity'::TIMESTAMP), shard, seen.row_no"
      said = f"last({said} ORDER BY {when})"
    elif entry.use == "years_since":
      said = "date_sub('year', min(time), any_value(start))"
    else:
      continue
    source += (
      f" LEFT JOIN (SELECT row, {said} AS said FROM seen JOIN placed USING (row)"
      f" WHERE entry = {i} GROUP BY row) g{i} ON p.row = g{i}.row"
    )
    columns.append(f"g{i}.said AS {file.name(GROUP + entry.name)}")
  _copy(
    meds,
    f"SELECT {', '.join(columns)} FROM {source} ORDER BY p.row",
    out / "stays.parquet",
  )


def _inputs(meds, out):
  """Events with their variables and every other input that there is."""
  hour = f"us / {rows.HOUR} AS hour"
  known = " JOIN placed p USING (row)"
  written = _copy(
    meds,
    f"SELECT stay_id, {hour}, name AS variable, word AS value FROM events{known}"
    " ORDER BY row, us, part, place",
    out / "events.parquet",
  )
  if written:
    _variables(meds, out / "variables.csv")
  else:
    (out / "events.parquet").unlink()
  any_row = written
  for use, columns in (
    ("note", "e.name AS kind, {hour}, text"),
    ("image", "{hour}, text AS path"),
    ("embedding", "e.name AS kind, {hour}, e.model, text AS path"),
  ):
    meds.run(
      "CREATE OR REPLACE TABLE entries (entry INTEGER, name VARCHAR, model"
      " VARCHAR)"
    )
    mine = [
      (i, e.name, e.fields.get("model"))
      for i, e in enumerate(meds.map.entries)
      if e.use == use
    ]
    if not mine:
      continue
    meds.insert("entries", mine)
    path = out / f"{use}s.parquet"
    count = _copy(
      meds,
      f"SELECT stay_id, {columns.format(hour=hour)} FROM seen JOIN entries e"
      f" USING (entry){known} WHERE text IS NOT NULL ORDER BY row, us, shard,"
      " seen.row_no",
      path,
    )
    any_row += count
    if not count:
      path.unlink()
  if not any_row:
    raise InputError(
      f"{meds.map.source}: no row of its codes lies in the window of any sample"
      f" of {meds.labels}."
    )


def _variables(meds, path):
  """variables.csv: MIMIC's, then those that the map defines."""
  table = []
  for v in meds.rules.variables if meds.map.of("item") else ():
    low, high = v.limits[1:3] if v.limits else ("", "")
    words = "|".join(v.classes)
    table.append((v.name, "", words, v.normal, low, high, v.unit))
  for entry in meds.map.of("variable"):
    cells = [entry.fields.get(c, "") for c in _COLUMNS[1:]]
    table.append((entry.name, *cells))
  with open(path, "w", newline="", encoding="utf-8") as out:
    csv.writer(out).writerows([_COLUMNS, *table])
