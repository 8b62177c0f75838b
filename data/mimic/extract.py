"""Raw files of MIMIC -> records, metadata and report. Reads top to bottom.

Out of core: DuckDB reads every csv file once and keeps what belongs to the
cohort; records are then assembled a few stays at a time, by several processes.
"""

import pathlib
import shutil

from data import page, records, report, resume, shards
from data.errors import InputError
from data.mimic import (
  assemble,
  cohort,
  definitions,
  disk,
  embedded,
  phenotypes,
  published,
  quality,
  radiology,
  release,
  sources,
  store,
  tables,
)
from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.evaluate import disclosure
from medpatch_jax.input import variables as table

# The last rule, of tasks with one label a stay and of hourly ones.
_LAST = (
  "with an event of the 17 variables in the window",
  "with an hour to predict at",
)
# Tables that are counted where no record needs them, to tell the release.
_COUNTED = {"outputevents": "icu", "diagnoses_icd": "hosp"}


def extract(
  out,
  work,
  *,
  task,
  roots,
  rules,
  lists,
  threads,
  memory,
  twin,
  phenotypes=None,
  embeddings=(),
  quiet=False,
):
  """Writes one task's dataset into the new folder `out`.

  Args:
    out: folder to create, on the disk of `work`.
    work: an existing folder for what is read and written on the way. What an
      earlier call of the same arguments finished there is not done again.
    task: a name of `schema.TASKS`.
    roots: folders of MIMIC-IV, MIMIC-CXR-JPG and MIMIC-IV-Note; the last two
      may be None.
    rules: `rules.Rules`.
    lists: (validation list, test list) paths or None.
    threads: cores for reading and writing.
    memory: limit of DuckDB, as "2GB".
    twin: the files are the synthetic twin's (said in the report).
    phenotypes: file of definitions, or None for HCUP's categories.
    embeddings: of `embedded.parse`.
    quiet: no progress on stderr.

  Raises:
    InputError: a file is missing or damaged.
  """
  work, out = pathlib.Path(work), pathlib.Path(out)
  for folder in (out, work / "spill"):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
  opened, cxr_root = _open(task, roots)
  defined = definitions.read(phenotypes) if phenotypes else None
  if rules.uncoded == "drop" and "diagnoses_icd" not in opened:
    tables.find(roots[0], "diagnoses_icd", ("hosp",))
  connection = tables.connect(
    threads=threads, memory=memory, temporary=work / "spill"
  )
  try:
    people = cohort.load(
      connection,
      opened,
      task=task,
      rules=rules,
      lists=lists,
      labels=defined and defined.names,
      quiet=quiet,
    )
    disk.check(work, opened, people, schema.TASKS[task].hourly, quiet)
    kept = store.Store(connection, work, quiet)
    views = _read(kept, opened, people, task, rules, defined)
    made = tuple((f, embedded.place(kept, f, views)) for f in embeddings)
    linked = kept.one("SELECT count(*) FROM films")[0] if cxr_root else 0
    job = assemble.Job(
      work,
      people.split,
      people.end,
      linked,
      task=task,
      cohort=people,
      rules=rules,
      cxr_root=cxr_root,
      views=views,
      embedded=made,
    )
    files, counts = shards.write(
      job, threads=threads, memory=resume.bytes_of(memory), quiet=quiet
    )
    last = _LAST[schema.TASKS[task].hourly]
    report.written(people, counts, last, job.known())
    writer = records.Writer(out, task, job.features())
    for split, path, met in files:
      writer.adopt(split, path, met)
    _finish(kept, writer, out, job, opened, roots, counts, twin)
  finally:
    connection.close()


def inputs(task, roots):
  """Paths of every table that the task is built from."""
  return [t.path for t in _open(task, roots)[0].values()]


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
  if task == cohort.RADIOLOGY and cxr is None:
    raise InputError(
      "--task=radiology needs --mimic_cxr=DIR: films and labels."
    )
  for name, place in _COUNTED.items():
    if name not in opened:
      try:
        opened[name] = tables.find(iv, name, (place,))
      except InputError:
        continue  # Nothing is taken from it.
  if cxr is not None:
    cxr = tables.folder(cxr, "mimic_cxr")
    opened["metadata"] = tables.find(
      cxr, "metadata", (".",), stem="mimic-cxr-2.0.0-metadata"
    )
    if not (cxr / "files").is_dir():
      raise InputError(f"{cxr}: folder files/ with the images is missing.")
    if task == cohort.RADIOLOGY:
      opened["chexpert"] = tables.find(
        cxr, "chexpert", (".",), stem=radiology.STEM
      )
  if note is not None:
    note = tables.folder(note, "mimic_note")
    seen = schema.TASKS[task].modalities
    if "rr" in seen:
      opened["radiology"] = tables.find(note, "radiology", ("note", "."))
    if "dn" in seen:
      opened["discharge"] = tables.find(note, "discharge", ("note", "."))
  return opened, cxr


def _read(kept, opened, people, task, rules, defined):
  """Every remaining table, once. -> names of those that records come from."""
  if task == cohort.PHENOTYPING:
    new = phenotypes.label(kept, opened["diagnoses_icd"], people, defined)
    if rules.items == "published" and not defined:
      people.unlike = new
  chart = sources.events(kept, opened["chartevents"], rules)
  labs = sources.events(kept, opened["labevents"], rules)
  people.facts.update(
    chart_rows_of_the_cohort=chart["rows"],
    chart_rows_with_the_id_of_another_stay=chart["odd"],
    chart_rows_of_no_possible_time=chart["absurd"],
    lab_rows_of_the_cohort=labs["rows"],
    lab_rows_regained_without_hadm_id=labs["odd"],
    lab_rows_of_no_possible_time=labs["absurd"],
    chart_rows_after_the_death=chart["after"],
    lab_rows_after_the_death=labs["after"],
  )
  views = ["chartevents", "labevents"]
  if "metadata" in opened:
    people.facts["films_after_the_death"] = sources.films(
      kept, opened["metadata"], schema.TASKS[task].hourly
    )
    views.append("films")
  if task == cohort.RADIOLOGY:
    radiology.label(kept, opened["chexpert"], people, rules)
  if "radiology" in opened:
    people.reports = sources.reports(kept, opened["radiology"], rules, task)
    people.facts["reports_after_the_death"] = people.reports["after"]
    views.append("radiology")
  if "discharge" in opened:
    people.facts["discharge_notes_after_the_death"] = sources.discharge_notes(
      kept, opened["discharge"]
    )
    views.append("discharge")
  for name in _COUNTED:
    if name in opened and opened[name].rows is None:
      try:
        kept.scan(
          opened[name],
          name,
          f"SELECT count(hadm_id) AS n FROM {tables.scan(opened[name])}",
        )
      except InputError as error:
        del opened[name]
        people.remarks.append(f"Not counted: {error}")
  return tuple(views)


def _release(kept, opened, roots, twin):
  """-> (what was read, in words; remarks; open licence or None)."""
  groups = kept.execute("SELECT DISTINCT anchor_year_group FROM patients")
  layout = release.by_layout(
    opened["patients"].path.parent.name == "core",
    {name: t.columns() for name, t in opened.items()},
    [g or "" for (g,) in groups.fetchall()],
  )
  if twin:
    return f"{layout} (synthetic twin)", ["No real patients."], None
  rows = {name: t.rows for name, t in opened.items()}
  found, remarks = release.detect(layout, rows, roots[0])
  names, more = release.others(*roots[1:], rows)
  licence = release.licence(rows, *roots[1:])
  return ", ".join([found, *names]), remarks + more, licence


def _finish(kept, writer, out, job, opened, roots, counts, twin):
  """Metadata and report, from what was counted."""
  task, people, rules = job.task, job.cohort, job.rules
  more = {folder.kind: kind.to_json() for folder, kind in job.embedded}
  found, remarks, licence = _release(kept, opened, roots, twin)
  # No patient is behind the twin, and none is hidden of open data.
  shared = twin or licence is not None
  rule = disclosure.Rule(shared)
  remarks = remarks + published.REMARKS.get(task, [])
  if people.unlike is not None:
    unlike = rule.part(people.unlike, len(people.stay_id))
    remarks = remarks + [
      f"Labels of {unlike} stays with ICD-10 codes may differ from the published"
      " ones, which follow a list that comes with the published code; give your"
      " copy of it with --phenotypes=FILE."
    ]
  people.facts["heights_and_weights_carried_in"] = counts.counts[
    "carried", "in"
  ]
  result = report.make(
    task=task,
    release=found,
    published=[
      published.of(task, people.labels, i) for i in range(len(SPLITS))
    ],
    remarks=remarks,
    cxr_given=roots[1] is not None,
    opened=opened,
    cohort=people,
    tally=counts,
    rules=rules,
    labels=people.labels,
    codes=quality.codes(people, rule),
    license=licence,
    open=shared,
  )
  found_in = quality.collect(
    task=task,
    release=found,
    cohort=people,
    tally=counts,
    rules=rules,
    open=shared,
  )
  mean, std = counts.normaliser()
  writer.finish(
    {
      "task": task,
      "label_names": list(people.labels),
      "columns": table.columns(rules.variables),
      "modalities": list(job.kinds),
      "kinds": job.kinds,
      "inputs": [*schema.TASKS[task].modalities, *more],
      "hours": cohort.WINDOW // 3600 if task == cohort.MORTALITY else None,
      "hourly": schema.TASKS[task].hourly,
      "classes": schema.TASKS[task].classes,
      "bucket_hours": counts.bucket_hours(),
      "continuous": table.continuous(rules.variables).tolist(),
      "mean": mean,
      "std": std,
      "source_version": found,
      "open": shared,
      "license": licence,
      "rules": result["rules"],
      "cohort": {"filters": result["filters"], "facts": result["facts"]},
      "index": counts.index(),
    }
    | ({"embeddings": more} if more else {})
  )
  report.write(out, result)
  page.write(out, found_in)
