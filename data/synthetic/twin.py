"""Writes the synthetic twin: raw files in MIMIC's layout, truth.csv and places."""

import dataclasses
import os
import pathlib
import shutil

import numpy as np

from data.errors import InputError
from data.synthetic import (
  charts,
  films,
  hospital,
  model,
  notes,
  people,
  places,
  series,
  tables,
  truth,
  vitals,
)
from data.synthetic import (
  world as worlds,
)
from medpatch_jax import files

CHUNK_ROWS = 1_500_000  # chart rows held in memory at a time, about
MAX_CHUNK = 400  # subjects


@files.private()
def write(
  out,
  *,
  subjects=2000,
  seed=0,
  layout="v2.2",
  density=0.05,
  gzip=True,
  film_size=128,
  presence=None,
  world=None,
  progress=None,
):
  """Writes the raw files of `subjects` subjects below `out`.

  Whole or not at all: everything is written to a temporary sibling, which is
  renamed at the end. The same arguments give the same bytes. Layouts of one
  seed hold the same people, events, films and notes.

  Args:
    out: folder to create; may exist if empty.
    subjects: number of subjects; about 1.06 stays of each pass the cohort's
      rules.
    seed: int.
    layout: "v1.0", "v2.2" or "v3.1".
    density: share of MIMIC's event density; 1 is 4,300 chart rows a stay.
      Evidence is charted whatever the density.
    gzip: whether tables are .csv.gz or .csv.
    film_size: short side of the films in pixels.
    presence: model.Presence; the published rates if None.
    world: world.World; independent items if None.
    progress: called with (subjects done, subjects); None for silence.

  Raises:
    InputError: a bad argument, or `out` exists and is not empty.
  """
  _check(out, subjects, layout, density, film_size)
  name = os.path.basename(os.path.abspath(out))
  place = pathlib.Path(out).absolute().with_name(f".{name}.partial")
  lock = files.hold(place)
  if lock is None:
    raise InputError(f"{out}: another process is writing it; wait for it.")
  work = place / "raw"
  shutil.rmtree(work, ignore_errors=True)
  try:
    work.mkdir()
    with tables.Folder(work, layout, gzip) as folder:
      _write_all(
        folder,
        subjects,
        seed,
        density,
        film_size,
        presence or model.Presence(),
        world or worlds.World(),
        progress or (lambda done, total: None),
      )
    if os.path.isdir(out):
      os.rmdir(out)
    os.rename(work, out)
  finally:
    shutil.rmtree(place, ignore_errors=True)
    lock.close()


def _check(out, subjects, layout, density, film_size):
  if layout not in tables.LAYOUTS:
    raise InputError(
      f"layout {layout!r}: wanted one of {', '.join(tables.LAYOUTS)}."
    )
  for name, value, low, high in (
    ("subjects", subjects, 1, 1_500_000),
    ("density", density, 0, 10),
    ("film_size", film_size, 64, 2048),
  ):
    if not low <= value <= high:
      raise InputError(f"{name} {value}: wanted {low} to {high}.")
  if os.path.exists(out) and (not os.path.isdir(out) or os.listdir(out)):
    raise InputError(f"{out}: exists and is not empty; wanted a new folder.")


def _write_all(
  folder, subjects, seed, density, film_size, presence, world, progress
):
  """All tables, subject chunk by subject chunk."""
  folder.write_json(tables.WORLD, dataclasses.asdict(world))
  per_subject = vitals.ROWS_PER_STAY * density * 1.2 + 100
  size = int(np.clip(CHUNK_ROWS / per_subject, 16, MAX_CHUNK))
  hospital.write_dictionaries(folder)
  lab_id = 1
  for first in range(0, subjects, size):
    count = min(size, subjects - first)
    rng = np.random.default_rng([seed, first])
    lab_id = write_chunk(
      folder,
      rng,
      (first, count, subjects),
      density,
      film_size,
      presence,
      world,
      lab_id,
    )
    progress(first + count, subjects)


def write_chunk(
  folder, rng, chunk, density, film_size, presence, world, lab_id
):
  """Draws and writes one chunk of subjects; returns the next labevent_id."""
  # One stream each, so that a change in one leaves the others as they are.
  streams = rng.spawn(8)
  folk = people.draw(streams[0], *chunk)
  hospital.write(folder, streams[1], folk)

  evidence = worlds.Evidence(world, streams[7])
  vital = series.items_of(streams[2], folk, evidence)
  rows = series.draw(streams[2], folk, vital, density)
  folder.write(
    "chartevents", charts.chartevents(streams[3], folk, rows, density)
  )
  labs = charts.labevents(streams[4], folk, rows, density, lab_id)
  folder.write("labevents", labs)
  folder.write("outputevents", charts.outputevents(streams[3], folk, density))

  film = films.draw(streams[5], folk, presence, evidence)
  hospital.write_films(folder, streams[5], folk, film, film_size)
  radiology, discharge = notes.draw(streams[6], folk, presence, evidence)
  hospital.write_notes(folder, folk, radiology, discharge)
  truth.write(folder, folk, evidence)
  folder.write_parquet(
    places.NAME,
    places.table(folk, evidence, vital, film, (radiology, discharge)),
  )
  return lab_id + len(labs)
