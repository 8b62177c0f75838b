"""Where in a stay's sources the evidence is planted, and where the noise.

places.parquet, beside truth.csv, says of every place (an hour, a part of the
radiograph, a sentence) that shows a label or is noise which it is, so that the
tokens of a trained run can be held against it. A row has stay_id, task,
modality and

* kind: "evidence", the label's item is shown here; "calm", it would be, and is
  not (of hours and radiographs; a note says nothing of what it does not show);
  "noise", what is shown here ignores every label;
* label, empty of noise;
* begin, end: hours of the series; eighths of the radiograph's width; characters
  of the text that a record holds; `end` is the first that is not of the place;
* top, bottom: eighths of the radiograph's height, empty of the rest.

Noise is noise where another row's place has it, too: a quarter of a radiograph
shows its labels in the parts that are not noise.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from data.errors import InputError
from data.synthetic import channels, films, model, people, sentences, vitals
from medpatch_jax import schema
from medpatch_jax.input import examples

NAME = "places.parquet"
KINDS = ("noise", "calm", "evidence")
SPAN = ("begin", "end", "top", "bottom")
_WORD = pa.dictionary(pa.int8(), pa.string())
SCHEMA = pa.schema(
  [("stay_id", pa.int64())]
  + [(name, _WORD) for name in ("task", "modality", "kind", "label")]
  + [(name, pa.int32()) for name in SPAN]
)
PHENO, DEATH = model.EVIDENCE
NONE = -1  # No label; no top and bottom.


def table(folk, evidence, shown, film, notes) -> pa.Table:
  """The rows of a chunk's stays, of the sources that truth.csv has.

  Args:
    folk: people.People.
    evidence: world.Evidence of all sources.
    shown: series.Items.
    film: films.Films.
    notes: (radiology, discharge) notes.Notes.
  """
  of_notes = _texts(folk, *notes)
  parts = []
  for task, who in model.cohort(folk).items():
    for modality in model.EVIDENCE[task]:
      source = evidence.sources[task, modality]
      stays = np.flatnonzero(who & source.exists)
      if modality == "ehr":
        rows = _hours(folk, source, shown, task, stays)
      elif modality == "cxr":
        rows = _parts(source, film, task, stays)
      else:
        rows = _sentences(of_notes[task, modality], task, stays)
      parts.append(_arrow(rows, folk.stay_id, task, modality))
  return pa.concat_tables(parts)


def _arrow(rows, stay_id, task, modality):
  """Table of rows (stay, kind, label, begin, end, top, bottom) i64[R 7]."""
  stay, kind, label, *span = rows.T
  names = pa.array(schema.TASKS[task].labels, pa.string())

  def word(index, words, none=None):
    index = pa.array(index.astype(np.int8), mask=none)
    return pa.DictionaryArray.from_arrays(index, words)

  zero = np.zeros(len(rows), np.int64)
  columns = [
    pa.array(stay_id[stay]),
    word(zero, pa.array([task])),
    word(zero, pa.array([modality])),
    word(kind, pa.array(KINDS)),
    word(np.maximum(label, 0), names, label == NONE),
    *(pa.array(x.astype(np.int32), mask=x == NONE) for x in span),
  ]
  return pa.Table.from_arrays(columns, schema=SCHEMA)


def _rows(stay, kind, label, *span):
  """i64[R 7] of columns or numbers; top and bottom may be left out."""
  span = (*span, NONE, NONE)[:4]
  columns = np.broadcast_arrays(stay, kind, label, *span)
  return np.stack([np.ravel(c) for c in columns], axis=1).astype(np.int64)


def _kind(source, stay, label, slot):
  """Kind i64[R] of items whose places are clear."""
  return KINDS.index("calm") + source.shown[stay, label, slot].astype(np.int64)


def _hours(folk, source, shown, task, stays):
  """Rows of the series."""
  bins = vitals.num_bins(folk)
  at, hour = np.nonzero(shown.noise[stays])
  if task == DEATH:
    within = hour < people.MORTALITY_HOURS
    at, hour = at[within], hour[within]
  noise = _rows(stays[at], KINDS.index("noise"), NONE, hour, hour + 1)
  at, label, slot = np.nonzero(source.clear[stays])
  stay = stays[at]
  if task == DEATH:
    hour = np.array(channels.DEATH_BINS)[slot]
  else:
    back = [
      channels.SLOT_BINS_FROM_END[c.slot] for c in channels.PHENOTYPE_CHANNELS
    ]
    hour = bins[stay] - np.array(back)[label]
  kind = _kind(source, stay, label, slot)
  return np.concatenate([noise, _rows(stay, kind, label, hour, hour + 1)])


def _parts(source, film, task, stays):
  """Rows of the radiograph that the task's record has."""
  used = (film.early if task == DEATH else film.last)[stays]
  at, row, column = np.nonzero(film.dark[used])
  noise = _rows(
    stays[at], KINDS.index("noise"), NONE, column, column + 1, row, row + 1
  )
  at, label, slot = np.nonzero(source.clear[stays])
  number = label + model.NUM_PHENOTYPES * (task == DEATH)
  row, column = films.region(number)
  down, across = films.GRID // films.ROWS, films.GRID // films.COLUMNS
  row, column = row * down, column * across
  kind = _kind(source, stays[at], label, slot)
  return np.concatenate([
    noise,
    _rows(stays[at], kind, label, column, column + across, row, row + down),
  ])  # fmt: skip


def _sentences(texts, task, stays):
  """Rows of the text {stay: text} that the task's record has."""
  first = model.NUM_PHENOTYPES * (task == DEATH)
  labels = range(first, first + len(schema.TASKS[task].labels))
  noise, evidence = KINDS.index("noise"), KINDS.index("evidence")
  rows = [
    (stay, noise if label is None else evidence)
    + (NONE if label is None else label - first, begin, end, NONE, NONE)
    for stay in stays.tolist()
    for label, begin, end in sentences.planted(texts[stay])
    if label is None or label in labels
  ]
  return np.array(rows, np.int64).reshape(-1, 3 + len(SPAN))


def _texts(folk, radiology, discharge):
  """(task, modality) -> {stay: the text that its record holds}."""
  reports = {}
  for subject, time, text in zip(
    radiology.subject.tolist(), radiology.time.tolist(), radiology.text
  ):
    if text:
      reports.setdefault(subject, []).append((time, text))
  courses = {}
  for admission, kind, text in zip(
    discharge.admission.tolist(), discharge.kind, discharge.text
  ):
    if text:  # The last one, and the addenda after it.
      before = courses.get(admission, []) if kind == "AD" else []
      courses[admission] = [*before, text]
  out = {(PHENO, "rr"): {}, (DEATH, "rr"): {}, (PHENO, "dn"): {}}
  windows = {PHENO: folk.outtime}
  windows[DEATH] = np.minimum(
    folk.outtime, folk.intime + people.MORTALITY_HOURS * people.HOUR
  )
  for i in range(len(folk.stay_id)):
    of = reports.get(folk.of_subject_n[i], ())
    for task, end in windows.items():
      texts = [text for time, text in of if folk.intime[i] <= time <= end[i]]
      out[task, "rr"][i] = examples.join(texts)
    out[PHENO, "dn"][i] = examples.join(courses.get(folk.of_admission[i], ()))
  return out


def read(path, task) -> dict[str, dict[int, list]]:
  """Reads a task's places: modality -> stay id -> [(kind, label, span)].

  Kind is a number of `KINDS`, label a number of the task's labels or NONE, span
  (begin, end) or (begin, end, top, bottom).

  Raises:
    InputError: the file is missing or not as wanted.
  """
  try:
    found = parquet.read_table(path, filters=pc.field("task") == task)
    found = found.select(SCHEMA.names).unify_dictionaries()
  except (OSError, pa.ArrowException) as error:
    raise InputError(
      f"{path}: found no table of places ({type(error).__name__}), wanted the"
      f" {NAME} that the twin writes beside truth.csv; write the twin again."
    ) from None
  columns = {name: found[name].to_pylist() for name in SCHEMA.names}
  number = {name: i for i, name in enumerate(schema.TASKS[task].labels)}
  out = {m: {} for m in schema.MODALITIES}
  for stay, m, kind, label, *span in zip(
    *(columns[n] for n in ("stay_id", "modality", "kind", "label", *SPAN))
  ):
    place = KINDS.index(kind), number.get(label, NONE), tuple(span)
    out[m].setdefault(stay, []).append(place)
  return out
