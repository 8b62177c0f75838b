"""Builds a dataset from raw files; `python -m data.build --help`.

From MIMIC's own files, a synthetic twin in their format, tables of your own
(docs/own_data.md), MEDS (docs/meds.md) or the PhysioNet Challenge 2012, to
sharded records with presence flags, their metadata and a report.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import shutil

from absl import flags

from data import errors, resume
from data.errors import InputError, nearest
from data.mimic import rules as rules_lib
from data.progress import Progress
from data.synthetic import world as world_lib
from medpatch_jax import files, schema
from medpatch_jax.input import places, series

_LAYOUTS = ("v1.0", "v2.2", "v3.1")
MIMIC = ("mimic", "synthetic")
SOURCES = (*MIMIC, "tables", "meds", "challenge2012")
LICENSED = "tables", "meds"


@files.private()
def build(
  *,
  task=None,
  data_dir,
  source="mimic",
  mimic_iv=None,
  mimic_cxr=None,
  mimic_note=None,
  tables=None,
  open_license=None,
  meds=None,
  labels=None,
  map="mimic",
  images=None,
  challenge=None,
  censored="refuse",
  raw_dir=None,
  subjects=2000,
  seed=0,
  layout="v2.2",
  density=0.05,
  world=None,
  rules=None,
  validation_list=None,
  test_list=None,
  phenotypes=None,
  embeddings=None,
  threads=None,
  memory="2GB",
  overwrite=False,
  quiet=False,
):
  """Builds `data_dir/<task>/1.0.0`, whole or not at all.

  Args:
    task: a name of `schema.TASKS`; of other sources than MIMIC's the name
      that the dataset is to have, by default that of the source.
    data_dir: where datasets lie; created.
    source: "mimic", "tables", "meds", "challenge2012", or "synthetic": write a
      twin's raw files, or take those of `raw_dir`, and build from them.
    mimic_iv, mimic_cxr, mimic_note: folders as downloaded. Without the second
      no stay has a film, without the third none has notes.
    tables: folder of tables, see docs/own_data.md.
    censored: of own tables, see `series.CENSORED`.
    open_license: name of the open licence of tables or MEDS, as "CC BY 4.0":
      everything may then be shown. Without it no small count is.
    meds: folder of MEDS, see docs/meds.md.
    labels: its label files, by commas.
    map: file of what codes become, or "mimic".
    images: folder that the paths of MEDS's images start from; by default
      `meds`.
    challenge: folder of the Challenge 2012's sets and outcomes.
    raw_dir: where the synthetic twin's raw files are, or are to be written;
      by default a folder of `data_dir` named after the next four.
    subjects, seed, layout, density: of the synthetic twin.
    world: `world.World` of the twin; independent items by default.
    rules: `rules.Rules`.
    validation_list, test_list: files of `subject_id,0|1`; who is in neither
      is in train. Without them a hash of subject_id gives 70/10/20.
    phenotypes: file of phenotypes and their ICD codes, in place of HCUP's 25
      categories.
    embeddings: KIND=FOLDER by commas, of MIMIC: see `data.mimic.embedded`.
    threads: as many as there are cores by default; changes no byte.
    memory: what DuckDB may hold, as "2GB"; it spills to disk beyond.
    overwrite: replaces a dataset that is already there.
    quiet: no progress on stderr.

  Returns:
    Path of the dataset's folder.

  Raises:
    InputError: something given is not as it must be.
  """
  given = open_license is not None
  if given and (source not in LICENSED or not open_license.strip()):
    raise InputError(
      f"--open_license={open_license}: wanted the name of the licence of"
      " --source=tables or meds, as CC BY 4.0; those of other sources are known."
    )
  rules = rules or rules_lib.Rules()
  task = task or (source if source not in MIMIC else None)
  check(source, task, memory, threads, censored)
  if phenotypes and (source not in MIMIC or task != "phenotyping"):
    raise InputError(
      f"--phenotypes={phenotypes}: only --task=phenotyping of MIMIC has"
      " phenotypes; leave the flag out."
    )
  if embeddings and (source not in MIMIC or schema.TASKS[task].hourly):
    raise InputError(
      f"--embeddings={embeddings}: is of MIMIC's tasks that predict once a stay;"
      " own tables have a table of embeddings."
    )
  final = pathlib.Path(data_dir) / task / "1.0.0"
  if final.exists() and not overwrite and not any(final.parent.glob(".part-*")):
    _refuse(final)
  places.a_folder("data_dir", data_dir)
  for name, file in (
    ("validation_list", validation_list),
    ("test_list", test_list),
  ):
    places.readable(name, file)
  if source == "synthetic":
    twin = {
      "subjects": subjects,
      "seed": seed,
      "layout": layout,
      "density": density,
    }
    world = world or world_lib.World()
    raw_dir = _twin(data_dir, raw_dir, twin, world, quiet)
    mimic_iv, mimic_cxr, mimic_note = (
      raw_dir / n for n in ("mimiciv", "mimic-cxr-jpg", "mimic-iv-note")
    )
  for name, value in (
    ("mimic", mimic_iv),
    ("tables", tables),
    ("meds", meds),
    ("meds", labels),
    ("challenge2012", challenge),
  ):
    if source == name and value is None:
      flag = {"mimic": "mimic_iv", "challenge2012": "challenge"}.get(name, name)
      if name == "meds" and meds is not None:
        raise InputError("--source=meds needs --labels=FILE.")
      raise InputError(f"--source={name} needs --{flag}=DIR.")
  common = {
    "task": task,
    "threads": threads or os.cpu_count(),
    "memory": memory,
    "quiet": quiet,
  }
  if source in MIMIC:
    roots = mimic_iv, mimic_cxr, mimic_note
    lists = validation_list, test_list
    given = lists, phenotypes, embeddings
    name, extract = _mimic(source, rules, roots, *given, common)
  elif source == "tables":
    name, extract = _tables(tables, censored, open_license, common)
  elif source == "meds":
    roots = meds, labels, map, images
    name, extract = _meds(roots, censored, open_license, common)
  else:
    name, extract = _challenge(challenge, common)
  # Then it was stopped after all was done, before it had cleaned up.
  done = resume.named(
    resume.place(final.parent, name), final, empty=not overwrite
  )
  if final.exists() and not overwrite and not done:
    _refuse(final)
  created = _make(final.parent)
  try:
    with resume.workplace(final.parent, name) as work:
      if not done:
        extract(work)
        resume.name(work, final)
  finally:
    for folder in created:
      if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
  return final


def _refuse(final):
  raise InputError(
    f"{final}: a dataset is already there; pass --overwrite to replace it."
  )


def _mimic(source, rules, roots, lists, phenotypes, embeddings, common):
  """Name of the working folder, and (that folder) -> its `dataset`."""
  from data.mimic import embedded, extract

  folders = embedded.parse(embeddings)
  files = extract.inputs(common["task"], roots)
  files += [f for f in (*lists, phenotypes) if f]
  given = [common["task"], dataclasses.asdict(rules), source]
  given += [embedded.quoted(folders)] if folders else []
  return resume.key(given, files), lambda work: extract.extract(
    work / "dataset",
    work,
    roots=roots,
    rules=rules,
    lists=lists,
    phenotypes=phenotypes,
    embeddings=folders,
    twin=source == "synthetic",
    **common,
  )


def _tables(folder, censored, license, common):
  """As `_mimic`; after a stop the tables are read anew, not what was written."""
  from data.tables import extract
  from medpatch_jax.input.tables import layout

  def made(work):
    _empty(work)
    extract.extract(
      work / "dataset",
      work,
      folder=folder,
      source=extract.Source().licensed(license),
      censored=censored,
      **common,
    )

  files = layout.files(folder)
  given = [common["task"], "tables", str(folder), censored, license]
  return resume.key(given, files), made


def _meds(roots, censored, license, common):
  """As `_tables`: a folder of MEDS as tables, and these as any others."""
  from data.meds import folder, labels, mapping, tables
  from data.tables import extract
  from medpatch_jax.input.tables import reader

  meds, given, codes, images = roots
  if images is not None and not pathlib.Path(images).is_dir():
    raise InputError(f"--images={images}: is no folder.")
  paths = labels.files(given)

  def made(work):
    _empty(work)
    (work / "tables").mkdir()
    connection = reader.connect(
      work / "meds.duckdb",
      threads=common["threads"],
      memory=common["memory"],
      temporary=work,
    )
    with contextlib.closing(connection):
      source = tables.write(
        work / "tables",
        connection,
        meds,
        mapping.read(codes),
        paths,
        lambda title: Progress(title, quiet=common["quiet"]),
        censored,
      )
    (work / "meds.duckdb").unlink()
    source.root = pathlib.Path(images or meds)
    extract.extract(
      work / "dataset",
      work,
      folder=work / "tables",
      source=source.licensed(license),
      censored=censored,
      **common,
    )

  files = [*folder.files(meds), *paths, mapping.path(codes)]
  given = [common["task"], "meds", *map(str, roots), censored, license]
  return resume.key(given, files), made


def _challenge(folder, common):
  """As `_tables`: the Challenge 2012 as tables, and these as any others."""
  from data.challenge2012 import read, tables
  from data.tables import extract

  def made(work):
    _empty(work)
    with Progress("reading the charts", quiet=common["quiet"]) as progress:
      charts = read.read(folder, progress.at)
    (work / "tables").mkdir()
    tables.write(work / "tables", charts)
    extract.extract(
      work / "dataset",
      work,
      folder=work / "tables",
      source=tables.source(charts),
      **common,
    )

  files = [p for p in pathlib.Path(folder).rglob("*") if p.is_file()]
  given = [common["task"], "challenge2012", str(folder)]
  return resume.key(given, files), made


def _empty(work):
  """Drops what a stopped build left, but for files of records and the lock."""
  for path in work.iterdir():
    if path.name == "records":
      continue
    if path.is_dir():
      shutil.rmtree(path)
    elif path.name != "lock":
      path.unlink()


def check(source, task, memory="2GB", threads=None, censored="refuse"):
  """Refuses arguments of `build` that it does not know (InputError)."""
  if source not in MIMIC and not re.fullmatch("[a-z][a-z0-9_]*", task or ""):
    raise InputError(
      f"--task={task}: wanted lower-case letters, digits and _, as"
      " in_hospital_mortality."
    )
  for name, value, choices in (
    ("source", source, SOURCES),
    ("task", task, tuple(schema.TASKS) if source in MIMIC else (task,)),
    ("censored", censored, series.CENSORED),
  ):
    if value not in choices:
      raise InputError(
        f"--{name}={value}: wanted one of {', '.join(choices)}."
        f"{nearest(value, choices)}"
      )
  if not re.fullmatch(r"\d+(\.\d+)?[MG]B", memory):
    raise InputError(f"--memory={memory}: wanted a size such as 2GB.")
  if threads is not None and threads < 1:
    raise InputError(f"--threads={threads}: wanted 1 or more.")


def _make(folder):
  """Creates a folder; returns those that were not there, inner first."""
  missing = [p for p in (folder, *folder.parents) if not p.exists()]
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f"--data_dir: {folder} cannot be created ({error.strerror})."
    ) from None
  return missing


def _twin(data_dir, raw_dir, twin, world, quiet):
  """Writes the synthetic twin's raw files unless they are there already."""
  strengths = dataclasses.asdict(world)
  given = twin | strengths
  name = "synthetic-{layout}-{subjects}-seed{seed}-density{density:g}"
  name = name.format(**twin)
  if any(strengths.values()):
    name += "".join(f"-{k}{v:g}" for k, v in strengths.items() if v)
  raw_dir = pathlib.Path(raw_dir or pathlib.Path(data_dir) / name)
  stamp = raw_dir / "arguments.json"
  if (raw_dir / "mimiciv").is_dir():
    redo = "delete it, if this folder is the twin of these flags"
    if stamp.is_file() and files.read_json(stamp, dict, redo) != given:
      raise InputError(
        f"--raw_dir={raw_dir}: holds a twin of other --subjects, --seed,"
        " --layout, --density or --world; give these, or another folder."
      )
    return raw_dir
  from data import synthetic

  with Progress("writing the synthetic twin", quiet=quiet) as progress:
    try:
      synthetic.write(
        raw_dir,
        **twin,
        world=world,
        gzip=True,
        progress=lambda done, total: progress.at(done / total),
      )
    except ValueError as error:
      raise InputError(str(error)) from None
  files.write_json(stamp, given)
  return raw_dir


def _flags():
  f = flags
  f.DEFINE_string("source", None, f"{', '.join(SOURCES)}.", required=True)
  f.DEFINE_string(
    "task",
    None,
    f"{', '.join(schema.TASKS)}; of other sources the dataset's name.",
  )
  f.DEFINE_string("data_dir", None, "Where datasets are kept.", required=True)
  f.DEFINE_string("mimic_iv", None, "MIMIC-IV's folder, as downloaded.")
  f.DEFINE_string("mimic_cxr", None, "MIMIC-CXR-JPG's folder; may be absent.")
  f.DEFINE_string("mimic_note", None, "MIMIC-IV-Note's folder; may be absent.")
  f.DEFINE_string("tables", None, "Folder of tables (docs/own_data.md).")
  f.DEFINE_enum(
    "censored",
    "refuse",
    series.CENSORED,
    "Values of --tables beyond a limit of measurement (<5, >100, -inf).",
  )
  f.DEFINE_string(
    "open_license",
    None,
    "Name of the open licence of --tables or --meds, as 'CC BY 4.0': reports show"
    " every number. Not for data that fall under a data use agreement.",
  )
  f.DEFINE_string("meds", None, "Folder of MEDS 0.4 (docs/meds.md).")
  f.DEFINE_string("labels", None, "Label files of --meds, by commas.")
  f.DEFINE_string(
    "map", "mimic", "YAML file of what codes of --meds become, or mimic."
  )
  f.DEFINE_string(
    "images", None, "Where paths of images of --meds start; by default --meds."
  )
  f.DEFINE_string("challenge", None, "The Challenge 2012's sets and outcomes.")
  f.DEFINE_string("raw_dir", None, "Raw files of the synthetic twin.")
  f.DEFINE_integer("subjects", 2000, "Subjects of the twin.", lower_bound=1)
  f.DEFINE_integer("seed", 0, "Seed of the twin.", lower_bound=0)
  f.DEFINE_enum("layout", "v2.2", _LAYOUTS, "Release the twin is laid out as.")
  f.DEFINE_float(
    "density", 0.05, "Events of the twin; 1 is as many as MIMIC's."
  )
  world_lib.define(f)
  f.DEFINE_string("carry_in", None, "Hours before intime, as 24h.")
  for name, choices in rules_lib.CHOICES.items():
    f.DEFINE_enum(name, None, choices, "See docs/data.md.")
  f.DEFINE_bool("as_published", False, "The published pipeline's choices.")
  f.DEFINE_string("validation_list", None, "File of subject_id,0|1.")
  f.DEFINE_string("test_list", None, "File of subject_id,0|1.")
  f.DEFINE_string("phenotypes", None, "File of phenotypes and their codes.")
  f.DEFINE_string(
    "embeddings", None, "KIND=FOLDER by commas, of MIMIC (docs/data.md)."
  )
  f.DEFINE_integer("threads", None, "Threads; all cores by default.")
  f.DEFINE_string("memory", "2GB", "Memory DuckDB may hold.")
  f.DEFINE_bool("overwrite", False, "Replaces a dataset that is there.")


def _rules(values):
  """`rules.Rules` of the flags: as published or ours, then each one given."""
  base = rules_lib.published() if values.as_published else rules_lib.Rules()
  given = {n: getattr(values, n) for n in rules_lib.CHOICES}
  if values.carry_in is not None:
    hours = re.fullmatch(r"(\d+(?:\.\d+)?)h?", values.carry_in)
    if not hours:
      raise InputError(f"--carry_in={values.carry_in}: wanted hours, as 24h.")
    given["carry_in"] = float(hours.group(1))
  given = {n: v for n, v in given.items() if v is not None}
  return dataclasses.replace(base, **given)


def main(_):
  v = flags.FLAGS
  names = (
    "source task data_dir mimic_iv mimic_cxr mimic_note tables challenge"
    " censored open_license meds labels map images"
    " raw_dir subjects seed layout density validation_list test_list"
    " phenotypes embeddings threads memory overwrite"
  ).split()
  path = build(
    rules=_rules(v),
    world=world_lib.of_flags(v),
    **{n: getattr(v, n) for n in names},
  )
  print((path / "report.txt").read_text("utf-8"))
  print(f"Dataset: {path}")


if __name__ == "__main__":
  _flags()
  errors.run(main)
