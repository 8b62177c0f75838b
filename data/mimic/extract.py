"""Raw files of MIMIC -> records, metadata and report. Reads top to bottom.

Out of core: DuckDB reads every csv file once and keeps what belongs to the
cohort in a database file; records are then assembled a few stays at a time.
"""

import concurrent.futures
import json
import pathlib
import sys
import time

from data import records
from data.errors import InputError
from data.mimic import assemble, cohort, release, report, sources, tables, tally
from data.progress import Progress
from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.input import variables as table


def extract(
  out, work, *, task, roots, rules, lists, threads, memory, twin, quiet=False
):
  """Writes one task's dataset into the new folder `out`.

  Args:
    out: folder to create.
    work: an existing folder for the database and what it spills.
    task: a name of `schema.TASKS`.
    roots: folders of MIMIC-IV, MIMIC-CXR-JPG and MIMIC-IV-Note; the last two
      may be None.
    rules: `rules.Rules`.
    lists: (validation list, test list) paths or None.
    threads: for reading and for decoding films.
    memory: limit of DuckDB, as "2GB".
    twin: the files are the synthetic twin's (said in the report).
    quiet: no progress on stderr.

  Raises:
    InputError: a file is missing or damaged.
  """
  work, out = pathlib.Path(work), pathlib.Path(out)
  opened, cxr_root = _open(task, roots)
  connection = tables.connect(
    work / "events.duckdb", threads=threads, memory=memory, temporary=work
  )
  try:
    people = cohort.load(
      connection, opened, task=task, rules=rules, lists=lists, quiet=quiet
    )
    start = time.monotonic()
    notes = _read(connection, opened, people, task, rules, quiet)
    assembler = assemble.Assembler(connection, people, rules, cxr_root, notes)
    out.mkdir()
    writer = records.Writer(
      out,
      task,
      records.features(
        len(schema.TASKS[task].labels), len(table.columns(rules.variables))
      ),
    )
    counts = _write(writer, assembler, people, rules, threads, quiet)
    if not quiet:
      _speed(opened, time.monotonic() - start)
    _finish(
      connection,
      writer,
      out,
      task,
      opened,
      cxr_root,
      people,
      counts,
      rules,
      twin,
    )
  finally:
    connection.close()


def _open(task, roots):
  """Finds every table before anything is read."""
  iv, cxr, note = roots
  iv = tables.folder(iv, "mimic_iv")
  core = ("core", "hosp")
  opened = {
    "patients": tables.find(iv, "patients", core),
    "admissions": tables.find(iv, "admissions", core),
    "icustays": tables.find(iv, "icustays", ("icu",)),
    "chartevents": tables.find(iv, "chartevents", ("icu",)),
    "labevents": tables.find(iv, "labevents", ("hosp",)),
  }
  if task == cohort.PHENOTYPING:
    opened["diagnoses_icd"] = tables.find(iv, "diagnoses_icd", ("hosp",))
  if cxr is not None:
    cxr = tables.folder(cxr, "mimic_cxr")
    opened["metadata"] = tables.find(
      cxr, "metadata", (".",), stem="mimic-cxr-2.0.0-metadata"
    )
    if not (cxr / "files").is_dir():
      raise InputError(f"{cxr}: folder files/ with the images is missing.")
  if note is not None:
    note = tables.folder(note, "mimic_note")
    opened["radiology"] = tables.find(note, "radiology", ("note", "."))
    if "dn" in schema.TASKS[task].modalities:
      opened["discharge"] = tables.find(note, "discharge", ("note", "."))
  return opened, cxr


def _read(connection, opened, people, task, rules, quiet):
  """Every remaining table, once. -> names of the note tables there are."""
  if task == cohort.PHENOTYPING:
    cohort.phenotypes(connection, opened["diagnoses_icd"], people, quiet)
  chart = sources.events(connection, opened["chartevents"], rules, quiet)
  labs = sources.events(connection, opened["labevents"], rules, quiet)
  people.facts.update(
    chart_rows_of_the_cohort=chart["rows"],
    chart_rows_with_the_id_of_another_stay=chart["odd"],
    lab_rows_of_the_cohort=labs["rows"],
    lab_rows_regained_without_hadm_id=labs["odd"],
  )
  if "metadata" in opened:
    sources.films(connection, opened["metadata"], quiet)
  if "radiology" in opened:
    sources.reports(connection, opened["radiology"], rules, task, quiet)
  if "discharge" in opened:
    sources.discharge_notes(connection, opened["discharge"], quiet)
  return tuple(n for n in ("radiology", "discharge") if n in opened)


def _write(writer, assembler, people, rules, threads, quiet):
  """Assembles chunks in parallel and writes them in order."""
  counts = tally.Tally(rules.variables, people.label.shape[1])
  chunks = []
  for index in range(len(SPLITS)):
    rows = (people.split == index).nonzero()[0]
    for i in range(0, len(rows), assemble.CHUNK):
      part = rows[i : i + assemble.CHUNK]
      chunks.append((SPLITS[index], int(part[0]), int(part[-1]) + 1))
  linked = _linked(assembler)
  pool = concurrent.futures.ThreadPoolExecutor(threads)
  with Progress("writing records", quiet=quiet) as progress, pool:
    waiting, pending = iter(chunks), []
    try:
      for done in range(len(chunks)):
        while len(pending) < threads + 1:
          chunk = next(waiting, None)
          if chunk is None:
            break
          pending.append(
            (chunk[0], pool.submit(assembler.part, chunk[1], chunk[2]))
          )
        split, future = pending.pop(0)
        _add(writer, counts, split, future.result(), linked, people)
        progress.at((done + 1) / len(chunks))
    except BaseException:
      pool.shutdown(cancel_futures=True)
      raise
  sentence = "with an event of the 17 variables in the window"
  people.filters.append((sentence, sum(map(counts.stays, SPLITS))))
  return counts


def _linked(assembler):
  if assembler.cxr_root is None:
    return 0
  return assembler.connection.execute("SELECT count(*) FROM films").fetchone()[
    0
  ]


def _add(writer, counts, split, part, linked, people):
  """Writes one part and counts it."""
  for example in part.examples:
    writer.write(split, example)
    counts.add(split, example)
  counts.counts.update(part.counts)
  counts.films += part.films
  counts.bad_films = sorted(counts.bad_films + part.bad_films)
  if len(counts.bad_films) > max(1, 0.01 * linked):
    raise InputError(
      f"--mimic_cxr: {len(counts.bad_films):,} or more of {linked:,} linked"
      " films are missing or unreadable, at most 1 % may be; the first is in"
      f" line {counts.bad_films[0]} of mimic-cxr-2.0.0-metadata.csv."
    )


def _finish(
  connection, writer, out, task, opened, cxr_root, people, counts, rules, twin
):
  """Metadata and report, from what was counted."""
  groups = connection.execute(
    "SELECT DISTINCT anchor_year_group FROM patients"
  ).fetchall()
  layout = release.by_layout(
    opened["patients"].path.parent.name == "core",
    {name: t.columns() for name, t in opened.items()},
    [g or "" for (g,) in groups],
  )
  found, remarks = release.detect(
    layout, {n: opened[n].rows for n in release.TABLES if n in opened}
  )
  if twin:
    found, remarks = f"{layout} (synthetic twin)", ["No real patients."]
  people.facts["heights_and_weights_carried_in"] = counts.counts[
    "carried", "in"
  ]
  result = report.make(
    task=task,
    release=found,
    remarks=remarks,
    cxr_given=cxr_root is not None,
    opened=opened,
    cohort=people,
    tally=counts,
    rules=rules,
  )
  mean, std = counts.normaliser()
  writer.finish(
    {
      "task": task,
      "label_names": list(schema.TASKS[task].labels),
      "columns": table.columns(rules.variables),
      "modalities": list(schema.MODALITIES),
      "kinds": schema.KINDS,
      "inputs": list(schema.TASKS[task].modalities),
      "hours": cohort.WINDOW // 3600 if task == cohort.MORTALITY else None,
      "continuous": table.continuous(rules.variables).tolist(),
      "mean": mean,
      "std": std,
      "source_version": found,
      "rules": result["rules"],
      "cohort": {"filters": result["filters"], "facts": result["facts"]},
      "index": counts.index(),
    }
  )
  (out / "report.json").write_text(json.dumps(result, indent=1), "utf-8")
  (out / "report.txt").write_text(report.text(result), "utf-8")


def _speed(opened, seconds):
  rows = opened["chartevents"].rows + opened["labevents"].rows
  print(
    f"{rows:,} chart and lab rows to records in {seconds:.1f} s"
    f" ({rows / seconds:,.0f} a second)",
    file=sys.stderr,
  )
