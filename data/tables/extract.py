"""A folder of tables -> records, metadata and report. Reads top to bottom.

Every table is checked before a record is written, and every problem told at
once. Out of core: DuckDB reads every file once into a database file; records
are then assembled a few stays at a time.
"""

import collections
import concurrent.futures
import dataclasses
import json
import math
import pathlib

from data import records
from data.errors import InputError
from data.mimic import report
from data.mimic.tally import Tally
from data.progress import Progress
from data.splits import SPLITS
from data.tables import assemble, layout, problems, sources
from data.tables import stays as stays_lib
from medpatch_jax.input import variables as table

ABOUT = records.About(
  description="""\
Hospital stays with any of: an hourly series, an image, kinds of notes, each of
which may be absent. Built from tables by medpatch-jax; docs/own_data.md
describes the tables, docs/data.md every field.""",
  citation="",
  licence="That of the tables it was built from.",
)


@dataclasses.dataclass
class Source:
  """What the tables are, beyond what stands in them.

  Attributes:
    name: kept as `source_version`.
    sentence: for the report.
    about: for TFDS.
    id_name: what a stay's id is called where predictions are written.
    remarks: sentences for the report.
  """

  name: str = "tables"
  sentence: str = "tables"
  about: records.About = ABOUT
  id_name: str = "stay_id"
  remarks: tuple = ()


def extract(
  out, work, *, folder, task, threads, memory, source=None, quiet=False
):
  """Writes one dataset into the new folder `out`.

  Args:
    out: folder to create.
    work: an existing folder for the database and what it spills.
    folder: holds the tables.
    task: name of the dataset.
    threads: for reading and for decoding images.
    memory: limit of DuckDB, as "2GB".
    source: `Source`.
    quiet: no progress on stderr.

  Raises:
    InputError: lists every problem of the tables.
  """
  source = source or Source()
  work, out = pathlib.Path(work), pathlib.Path(out)
  found = problems.Problems(folder)
  opened = layout.open_all(folder, found)
  connection = layout.connect(
    work / "tables.duckdb", threads=threads, memory=memory, temporary=work
  )
  try:
    stays, variables, kinds = _read(connection, opened, folder, found, quiet)
    assembler = assemble.Assembler(
      connection, stays, kinds, variables, pathlib.Path(folder)
    )
    out.mkdir()
    groups = stays.kinds_of_groups()
    features = records.features(
      len(stays.label_names),
      len(table.columns(variables)),
      kinds,
      groups,
      single=(),
    )
    writer = records.Writer(out, task, features, source.about)
    counted = [n for n, k in groups.items() if k == "word" or n == "age"]
    tally = Tally(variables, len(stays.label_names), kinds, tuple(counted))
    _write(writer, tally, assembler, opened, threads, quiet)
    _count(connection, opened, variables, stays, tally)
    _finish(writer, out, task, opened, assembler, tally, source)
  finally:
    connection.close()


def _read(connection, opened, folder, found, quiet):
  """Every table, once. -> (Stays, variables, modality -> kind)."""
  stays = stays_lib.load(connection, opened.get("stays"), found, quiet)
  variables, kinds = (), {}
  whole = {n for n, t in opened.items() if _complete(t)}
  if "variables" in whole:
    variables = sources.variables(connection, opened["variables"], found, quiet)
  if {"variables", "events"} <= whole:
    sources.events(connection, opened["events"], variables, found, quiet)
    kinds[sources.SERIES] = "series"
  if "images" in whole:
    sources.images(connection, opened["images"], folder, found, quiet)
    kinds[sources.IMAGE] = "image"
  if "notes" in whole:
    texts = sources.notes(connection, opened["notes"], found, quiet)
    kinds |= dict.fromkeys(texts, "text")
  if stays is not None:
    _check_groups(opened["stays"], stays, kinds, found)
  found.stop()
  if sources.SERIES in kinds:
    variables = sources.normals(connection, variables, stays.split)
  return stays, variables, kinds


def _complete(opened):
  must, _ = layout.COLUMNS[opened.name]
  return set(must) <= set(opened.header)


def _check_groups(opened, stays, kinds, found):
  """A subgroup's name is a field of the record beside the modalities'."""
  fields = records.features(1, 1, kinds, {}, single=())
  for name in stays.groups:
    if not name.isidentifier() or name in fields:
      found.add(
        opened.file,
        "wanted letters, digits and _ after group_, and no name of a field or"
        " kind of note",
        stays_lib.GROUP + name,
      )


def _write(writer, tally, assembler, opened, threads, quiet):
  """Assembles chunks in parallel and writes them in order."""
  size = len(assembler.stays.stay_id)
  split = assembler.stays.split
  edges = [int((split < i).sum()) for i in range(len(SPLITS))] + [size]
  chunks = [
    (SPLITS[i], first, min(first + assemble.CHUNK, edges[i + 1]))
    for i in range(len(SPLITS))
    for first in range(edges[i], edges[i + 1], assemble.CHUNK)
  ]
  linked = 0
  if "images" in opened:
    count = "SELECT count(*) FROM images"
    linked = assembler.connection.execute(count).fetchone()[0]
  pool = concurrent.futures.ThreadPoolExecutor(threads)
  with Progress("writing records", quiet=quiet) as progress, pool:
    waiting, pending = iter(chunks), collections.deque()
    try:
      for done in range(len(chunks)):
        while len(pending) <= threads and (chunk := next(waiting, None)):
          pending.append((chunk[0], pool.submit(assembler.part, *chunk[1:])))
        name, future = pending.popleft()
        _add(writer, tally, name, future.result(), linked, opened)
        progress.at((done + 1) / len(chunks))
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise


def _add(writer, tally, split, part, linked, opened):
  """Writes one part and counts it."""
  for example in part.examples:
    writer.write(split, example)
    tally.add(split, example)
  tally.films += part.films
  tally.bad_films = sorted(tally.bad_films + part.bad)
  if len(tally.bad_films) > max(1, 0.01 * linked):
    raise InputError(
      f"{opened['images'].path}: {len(tally.bad_films):,} or more of"
      f" {linked:,} images that are used are damaged or no image, at most 1 %"
      f" may be; the first is of row {tally.bad_films[0]}."
    )


_STATES = {
  sources.WINDOW: "events_outside_the_hours_of_the_stay",
  sources.EMPTY: "events_without_a_value",
}


def _count(connection, opened, variables, stays, tally):
  """Adds to tally and stays what was read and not used."""
  if "events" in opened:
    for i, state, count in connection.execute(
      "SELECT variable, state, count(*) FROM events GROUP BY variable, state"
    ).fetchall():
      name, what = variables[i].name, _STATES.get(state)
      tally.counts[name, "rows"] += count
      if state == sources.RANGE:
        tally.counts[name, "outside"] += count
      if what:
        stays.facts[what] = stays.facts.get(what, 0) + count
  if "notes" in opened:
    outside, blank = connection.execute(
      "SELECT count(*) FILTER (NOT inside), count(*) FILTER (inside AND text IS"
      " NULL) FROM notes"
    ).fetchone()
    stays.facts["notes_outside_the_hours_of_the_stay"] = outside
    stays.facts["notes_of_blanks"] = blank
  written = sum(map(tally.stays, SPLITS))
  stays.filters.append(("with an event, an image or a note", written))


def _finish(writer, out, task, opened, assembler, tally, source):
  """Metadata and report, from what was counted."""
  stays, variables = assembler.stays, assembler.variables
  stays.remarks += source.remarks
  result = report.make(
    task=task,
    release=source.name,
    source=source.sentence,
    remarks=[],
    cxr_given="images" in opened,
    opened=opened,
    cohort=stays,
    tally=tally,
    rules=None,
    labels=stays.label_names,
  )
  mean, std = tally.normaliser()
  hours = {h for s in SPLITS for h in tally.hours[s] if h}
  writer.finish(
    {
      "task": task,
      "label_names": stays.label_names,
      "columns": table.columns(variables),
      "modalities": list(assembler.kinds),
      "kinds": assembler.kinds,
      "inputs": list(assembler.kinds),
      "hours": hours.pop() if len(hours) == 1 else None,
      "groups": stays.kinds_of_groups(),
      "id_name": source.id_name,
      "variables": [_plain(v) for v in variables],
      "continuous": table.continuous(variables).tolist(),
      "mean": mean,
      "std": std,
      "source_version": source.name,
      "rules": {},
      "cohort": {"filters": result["filters"], "facts": result["facts"]},
      "index": tally.index(),
    }
  )
  (out / "report.json").write_text(json.dumps(result, indent=1), "utf-8")
  (out / "report.txt").write_text(report.text(result), "utf-8")


def _plain(variable):
  """A variable as docs/own_data.md has it, limits not given as null."""
  low, _, _, high = variable.limits or (math.inf,) * 4
  return {
    "name": variable.name,
    "unit": variable.unit,
    "categories": list(variable.classes),
    "normal": variable.normal,
    "low": low if math.isfinite(low) else None,
    "high": high if math.isfinite(high) else None,
  }
