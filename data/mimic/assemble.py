"""What was joined to a few stays -> their examples, in record order.

Dims: N events, S stays of the call, V variables.
"""

import collections
import dataclasses
import os

import numpy as np

from data import images
from data.errors import InputError
from data.mimic import cohort as cohort_lib
from data.mimic import hourly, sources
from medpatch_jax import schema
from medpatch_jax.input import clean, discretise

# Stays assembled at once. Bounds memory, whatever the size of the cohort.
CHUNK = 64
# Between notes that are joined.
_BLANK = "\n\n"


@dataclasses.dataclass
class Part:
  """Examples of consecutive stays and what was counted on the way.

  Attributes:
    examples: dicts for `records.Writer`; left out are stays without an event,
      in radiology without a labelled film, in an hourly task without an hour.
    rows: i64[S'] row in the cohort of each example.
    counts: (variable, what) -> count, of `clean.clean`, and ("carried", "").
    bad_films: metadata lines of films that could not be read.
    films: how many films were opened.
  """

  examples: list
  rows: list
  counts: collections.Counter
  bad_films: list
  films: int


@dataclasses.dataclass
class Assembler:
  """Reads what `sources` left in the store and makes examples of it.

  Attributes:
    store: `store.Store`, with the tables chartevents, labevents and those of
      the modalities given.
    cohort: `cohort.Cohort`.
    rules: `rules.Rules`.
    cxr_root: folder of MIMIC-CXR-JPG, None without films.
    notes: which of ("radiology", "discharge") exist.
    task: a name of `schema.TASKS`.
  """

  store: object
  cohort: object
  rules: object
  cxr_root: object = None
  notes: tuple = ()
  task: str = cohort_lib.PHENOTYPING

  def part(self, start, stop):
    """Examples of the cohort's rows [start, stop)."""
    grid, offset, begin, counts = self._series(start, stop)
    films, bad = self._films(start, stop)
    reports = self._texts("radiology", start, stop)
    notes = self._texts("discharge", start, stop)
    opened = sum(map(len, films.values())) + len(bad)
    part = Part([], [], counts, sorted(bad), opened)
    for i in np.flatnonzero(np.isfinite(begin)):
      row = start + int(i)
      if self.task == cohort_lib.RADIOLOGY and row not in films:
        continue
      series = grid[offset[i] : offset[i + 1]]
      example = self._example(row, series, films, reports, notes)
      if schema.TASKS[self.task].hourly:
        more = self._hours(row, begin[i], films, reports)
        if not len(more["label_hours"]):
          continue
        del example["cxr_hour"]
        example |= more
      part.rows.append(row)
      part.examples.append(example)
    return part

  def _series(self, start, stop):
    """-> (grid f32[T F], offset i64[S+1], first events f64[S], counts).

    Hours of the first events; infinite where a stay has none.
    """
    columns = {}
    for name in ("chartevents", "labevents"):
      found = self.store.execute(
        f"SELECT row - {start} AS stay, second, item, number, text FROM {name}"
        f" WHERE row >= {start} AND row < {stop} AND second IS NOT NULL"
      ).fetchnumpy()
      for key, values in found.items():
        columns.setdefault(key, []).append(_plain(values))
    raw = {k: np.concatenate(v) for k, v in columns.items()}
    variables = self.rules.variables
    events, counts = clean.clean(
      raw["stay"].astype(np.int64),
      raw["second"].astype(np.int64),
      raw["item"].astype(np.int64),
      raw["number"].astype(np.float64),
      raw["text"],
      variables=variables,
      outliers=self.rules.outliers,
    )
    inside = events.second >= 0
    begin = np.full(stop - start, np.inf)
    np.minimum.at(begin, events.stay[inside], events.second[inside] / 3600)
    events = clean.arrange(events, variables, self.rules.ties)
    if self.rules.items == "table":
      events = clean.total(events, variables)
    events, carried = clean.carry(events, self.rules.carry_in, variables)
    counts["carried", "in"] += carried
    grid, offset = discretise.discretise(
      events.stay,
      events.second / 3600,
      events.variable,
      events.value,
      self.cohort.end[start:stop],
      variables,
    )
    return grid, offset, begin, counts

  def _films(self, start, stop):
    """-> (row -> [(bytes, hour)] by hour, lines of unreadable films)."""
    if self.cxr_root is None:
      return {}, []
    films, bad = {}, []
    for row, hour, subject, study, dicom, line in self.store.execute(
      "SELECT row, hour, subject_id, study_id, dicom_id, line FROM films"
      f" WHERE row >= {start} AND row < {stop} ORDER BY row, hour"
    ).fetchall():
      path = sources.film_path(self.cxr_root, subject, study, dicom)
      _inside(self.cxr_root, path, line)
      try:
        films.setdefault(row, []).append((images.shrink(path), hour))
      except images.Unreadable:
        bad.append(line)
    return films, bad

  def _texts(self, name, start, stop):
    """-> row -> (texts joined by a blank line, hours and ends of each)."""
    if name not in self.notes:
      return {}
    # An addendum comes after its report; the text breaks the last tie.
    found = self.store.execute(
      f"SELECT row, hour, text FROM {name} WHERE row >= {start} AND"
      f" row < {stop} AND text IS NOT NULL ORDER BY row,"
      f" {'hour, ' * (name == 'radiology')}seq,"
      " kind IN ('AR', 'AD'), text"
    ).fetchall()
    grouped = {}
    for row, hour, text in found:
      texts, hours = grouped.setdefault(row, ([], []))
      texts.append(text.strip())
      hours.append(np.nan if hour is None else hour)
    return {
      r: (_BLANK.join(t), h, np.cumsum([len(x) + len(_BLANK) for x in t]))
      for r, (t, h) in grouped.items()
    }

  def _example(self, row, series, films, reports, notes):
    cohort = self.cohort
    film, film_hour = films.get(row, [(b"", np.nan)])[-1]
    report, report_hours, _ = reports.get(row, ("", [], []))
    note, note_hours, _ = notes.get(row, ("", [np.nan], []))
    return {
      "stay_id": int(cohort.stay_id[row]),
      "subject_id": int(cohort.subject_id[row]),
      "ehr": series,
      "cxr": film,
      "rr": report,
      "dn": note,
      "present": np.array([True, bool(film), bool(report), bool(note)]),
      "label": cohort.label[row],
      "age": np.float32(cohort.age[row]),
      "gender": cohort.gender[row],
      "ethnicity": cohort.ethnicity[row],
      "cxr_hour": np.float32(film_hour),
      "rr_hours": np.array(report_hours, np.float32),
      "dn_hour": np.float32(note_hours[0]),
    }

  def _hours(self, row, begin, films, reports):
    """Fields that an hourly task's record has in place of others."""
    stay = self.cohort
    hours, label = hourly.label(
      self.task, begin, stay.end[row], stay.lived[row]
    )
    shown = films.get(row, [])
    ends = np.asarray(reports.get(row, ("", [], []))[2], np.int64)
    ends -= len(_BLANK)
    return {
      "label_hours": hours,
      "label": label,
      "cxr": [film for film, _ in shown],
      "cxr_hours": np.array([hour for _, hour in shown], np.float32),
      "rr_ends": ends,
    }


def _inside(root, path, line):
  """Refuses a film that is a link to somewhere else."""
  files = os.path.realpath(os.path.join(root, "files"))
  if not os.path.realpath(path).startswith(files + os.sep):
    raise InputError(
      f"{root}: the film of line {line} of the metadata is a link that leads"
      " out of files/; put the film itself there."
    )


def _plain(values):
  """A column of DuckDB: masked numbers become NaN, masked text None."""
  if not isinstance(values, np.ma.MaskedArray):
    return values
  if values.dtype == object:
    return np.where(np.ma.getmaskarray(values), None, values.data)
  return values.astype(np.float64).filled(np.nan)
