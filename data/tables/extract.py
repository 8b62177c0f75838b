"""A folder of tables -> records, metadata and report. Reads top to bottom.

Every table is checked before a record is written, and every problem told at
once. Out of core: DuckDB reads every file once into a database file; records
are then assembled a few stays at a time, by several processes.
"""

import dataclasses
import math
import pathlib

import numpy as np

from data import page, quality, records, report, resume, shards
from data.progress import Progress
from data.splits import SPLITS
from data.tables import assemble, disk, normals
from data.tables import stays as stays_lib
from medpatch_jax.input import variables as table
from medpatch_jax.input.tables import embeddings, layout, problems, reader
from medpatch_jax.input.tables import rows as sources
from medpatch_jax.input.tables import variables as variables_lib
from medpatch_jax.input.tables.stays import GROUP

ABOUT = records.About(
  description="""\
Hospital stays with any of: an hourly series, an image, kinds of notes, each of
which may be absent. Built from tables by medpatch-jax; docs/own_data.md
describes the tables, docs/records.md every field.""",
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
    usual: variable -> value that stands where train measured none of it.
    license: name of the open licence of the data; None: they are not open.
    facts: counts for the report.
    place: what problems are said of; by default the folder.
    root: folder that paths of images start from; by default that of the tables.
  """

  name: str = "tables"
  sentence: str = "tables"
  about: records.About = ABOUT
  id_name: str = "stay_id"
  remarks: tuple = ()
  usual: dict = dataclasses.field(default_factory=dict)
  license: str | None = None
  facts: dict = dataclasses.field(default_factory=dict)
  place: str | None = None
  root: pathlib.Path | None = None

  def licensed(self, name):
    """Returns the same under an open licence; with None, itself."""
    if name is None:
      return self
    licence = f"{name}, as the tables it was built from."
    about = dataclasses.replace(self.about, licence=licence)
    return dataclasses.replace(self, license=name, about=about)


def extract(
  out,
  work,
  *,
  folder,
  task,
  threads,
  memory,
  source=None,
  censored="refuse",
  quiet=False,
):
  """Writes one dataset into the new folder `out`.

  Args:
    out: folder to create.
    work: an existing folder for the database and what it spills. Files of
      records that an earlier call of the same arguments finished are kept.
    folder: holds the tables.
    task: name of the dataset.
    threads: cores for reading and writing.
    memory: limit of DuckDB, as "2GB".
    source: `Source`.
    censored: of `series.CENSORED`, what is done with values beyond a limit of
      measurement.
    quiet: no progress on stderr.

  Raises:
    InputError: lists every problem of the tables.
  """
  source = source or Source()
  work, out = pathlib.Path(work), pathlib.Path(out)
  root = source.root or pathlib.Path(folder)
  found = problems.Problems(source.place or folder)
  opened = layout.open_all(folder, found)
  connection = reader.connect(
    work / "tables.duckdb", threads=threads, memory=memory, temporary=work
  )
  read = reader.Reader(
    connection,
    found,
    lambda title, poll: Progress(title, poll=poll, quiet=quiet),
  )
  try:
    stays, variables, kinds, unread, embedded = _read(
      read, opened, work, root, censored, source.usual, quiet
    )
    assemble.keep(connection, work, opened.keys() & assemble.KEPT.keys())
    job = assemble.Job(
      work,
      stays.split,
      stays.end,
      0,
      stays=stays,
      kinds=kinds,
      variables=variables,
      root=root,
      embedded=embedded,
    )
    files, tally = shards.write(
      job, threads=threads, memory=resume.bytes_of(memory), quiet=quiet
    )
    tally.films += len(unread)
    tally.bad_films = unread
    out.mkdir()
    writer = records.Writer(out, task, job.features(), source.about)
    for split, path, met in files:
      writer.adopt(split, path, met)
    _count(connection, opened, variables, stays, tally)
    _finish(writer, out, task, opened, job, tally, source, censored)
  finally:
    connection.close()


def _read(read, opened, work, root, censored, usual, quiet):
  """Every table, once.

  Returns:
    (Stays, variables, modality -> kind, rows of images left out, kind of
    embeddings -> `embeddings.Kind`).
  """
  stays = stays_lib.load(read, opened.get("stays"))
  variables, kinds, ranged, unread, embedded = (), {}, (), [], {}
  whole = {n for n, t in opened.items() if t.complete}
  if "variables" in whole:
    variables, ranged = variables_lib.load(read, opened["variables"])
  if stays is not None:
    disk.check(work, opened, stays.end, variables, quiet)
  if {"variables", "events"} <= whole:
    sources.events(read, opened["events"], variables, censored)
    kinds |= dict.fromkeys(table.series(variables), "series")
  if "images" in whole:
    unread = sources.images(read, opened["images"], root)
    kinds[sources.IMAGE] = "image"
  if "notes" in whole:
    texts, _ = sources.notes(read, opened["notes"])
    _add(read, kinds, opened["notes"], texts, "text")
  if "embeddings" in whole:
    embedded, _ = embeddings.load(read, opened["embeddings"], root)
    _add(read, kinds, opened["embeddings"], embedded, "embedding")
  if stays is not None:
    _check_groups(opened["stays"], stays, kinds, read.problems)
  read.problems.stop()
  if variables:
    variables = normals.normals(read.connection, variables, stays.split, usual)
  for v in variables:
    if v.name in ranged:
      low, *_, high = v.limits
      stays.remarks.append(
        f"{v.name} was given without low and high: {low:g} to {high:g}"
        f" {v.unit} are taken, beyond which no human's lies."
      )
  return stays, variables, kinds, unread, embedded


def _add(read, kinds, opened, names, kind):
  """Adds modalities of a table to those of others, of other names."""
  nouns = {"series": "variables", "text": "notes", "image": "images"}
  for m in sorted(set(names) & set(kinds)):
    what = f"{m} is a kind of {nouns[kinds[m]]}, too"
    read.problems.add(opened.file, what, "kind")
  kinds |= dict.fromkeys(names, kind)


def _check_groups(opened, stays, kinds, found):
  """A subgroup's name is a field of the record beside the modalities'."""
  columns, dtypes = dict.fromkeys(kinds, 1), dict.fromkeys(kinds, "float32")
  fields = records.features(1, columns, kinds, {}, (), dtypes=dtypes)
  for name in stays.groups:
    if not name.isidentifier() or name in fields:
      found.add(
        opened.file,
        "wanted letters, digits and _ after group_, and no name of a field or"
        " kind of note",
        GROUP + name,
      )


_STATES = {
  sources.WINDOW: "events_outside_the_hours_of_the_stay",
  sources.EMPTY: "events_without_a_value",
  sources.CENSORED: "events_beyond_a_limit_of_measurement_left_out",
  sources.BOUND: "events_beyond_a_limit_of_measurement_at_the_limit",
}
# Where the cleaning of each variable counts them.
_CLEANED = {
  sources.RANGE: "outside",
  sources.CENSORED: "text",
  sources.BOUND: "clamped",
}


def _count(connection, opened, variables, stays, tally):
  """Adds to tally and stays what was read and not used."""
  if "events" in opened:
    edges = np.cumsum([(stays.split == i).sum() for i in range(len(SPLITS))])
    for i, state, split, count in connection.execute(
      f"SELECT variable, state, (row >= {edges[0]})::INT + (row >= {edges[1]})"
      "::INT AS split, count(*) FROM events GROUP BY ALL"
    ).fetchall():
      name, what = variables[i].name, _STATES.get(state)
      cleaned = tally.cleaned[SPLITS[split]]
      cleaned[name, "rows"] += count
      if state in _CLEANED:
        cleaned[name, _CLEANED[state]] += count
      if what:
        stays.facts[what] = stays.facts.get(what, 0) + count
    for cleaned in tally.cleaned.values():
      tally.counts.update(cleaned)
  if "notes" in opened:
    outside, blank = connection.execute(
      "SELECT count(*) FILTER (NOT inside), count(*) FILTER (inside AND text IS"
      " NULL) FROM notes"
    ).fetchone()
    stays.facts["notes_outside_the_hours_of_the_stay"] = outside
    stays.facts["notes_of_blanks"] = blank
  if "embeddings" in opened:
    (outside,) = connection.execute(
      "SELECT count(*) FROM embeddings WHERE NOT inside"
    ).fetchone()
    stays.facts["embeddings_outside_the_hours_of_the_stay"] = outside
  last = "with an event, an image or a note"
  if "embeddings" in opened:
    last = "with an event, an image, a note or an embedding"
  report.written(stays, tally, last)


def _finish(writer, out, task, opened, job, tally, source, censored):
  """Metadata and reports, from what was counted."""
  stays, variables, kinds = job.stays, job.variables, job.kinds
  stays.remarks += source.remarks
  stays.facts |= source.facts
  shared = source.license is not None
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
    license=source.license,
    open=shared,
  )
  found = quality.collect(
    task=task,
    source=source.sentence[0].upper() + source.sentence[1:],
    tally=tally,
    checks=quality.check(tally, quality.RULES, open=shared),
    answers=_answers(opened),
    open=shared,
  )
  mean, std = tally.normaliser()
  hours = {h for s in SPLITS for h in tally.hours[s] if h}
  writer.finish(
    {
      "task": task,
      "label_names": stays.label_names,
      "columns": table.columns(variables),
      "modalities": list(kinds),
      "kinds": kinds,
      "inputs": list(kinds),
      "hours": hours.pop() if len(hours) == 1 else None,
      "groups": stays.kinds_of_groups(),
      "id_name": source.id_name,
      "variables": [_plain(v) for v in variables],
      "continuous": table.continuous(variables).tolist(),
      "mean": mean,
      "std": std,
      "source_version": source.name,
      "open": shared,
      "license": source.license,
      "rules": {},
      "censored": censored,
      "cohort": {"filters": result["filters"], "facts": result["facts"]},
      "index": tally.index(),
    }
    | (
      {"embeddings": {m: e.to_json() for m, e in job.embedded.items()}}
      if job.embedded
      else {}
    )
  )
  report.write(out, result)
  page.write(out, found)


def _answers(opened):
  """Of `leakage.collect`."""
  given = "split" in opened["stays"].header
  split = "As the table stays says." if given else "By a hash of subject_id."
  return {
    "How were the subjects split?": split,
    "May a note have been written after the outcome?": (
      "That is for whoever gave the hours to know: all notes of a stay's hours are"
      " read. The words below are a place to look."
    ),
  }


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
    **variable.kind,
  }
