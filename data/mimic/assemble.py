"""What was joined to a few stays -> their examples, in record order.

Dims: N events, S stays of the call, V variables.
"""

import dataclasses
import os

import numpy as np

from data import leakage, records, shards
from data.errors import InputError
from data.mimic import cohort as cohort_lib
from data.mimic import embedded, hourly, sources, store, tables
from data.tally import Tally
from medpatch_jax import schema
from medpatch_jax.input import cell, clean, discretise, examples, images
from medpatch_jax.input import variables as table


@dataclasses.dataclass
class Job(shards.Job):
  """Records of one task of MIMIC.

  Attributes:
    task: a name of `schema.TASKS`.
    cohort: `cohort.Cohort`.
    rules: `rules.Rules`.
    cxr_root: folder of MIMIC-CXR-JPG, None without films.
    views: tables of the store.
    embedded: (`embedded.Folder`, its `Kind`) of each modality beside MIMIC's.
  """

  task: str
  cohort: object
  rules: object
  cxr_root: object
  views: tuple
  embedded: tuple = ()

  @property
  def kinds(self):
    """Modality -> its kind, MIMIC's first."""
    more = {folder.kind: "embedding" for folder, _ in self.embedded}
    return schema.KINDS | more

  def features(self):
    task = schema.TASKS[self.task]
    columns = {"ehr": len(table.columns(self.rules.variables))}
    columns |= {folder.kind: kind.width for folder, kind in self.embedded}
    return records.features(
      len(self.cohort.labels),
      columns,
      self.kinds,
      hourly=task.hourly,
      dtypes={folder.kind: kind.dtype for folder, kind in self.embedded},
    )

  def tally(self):
    task = schema.TASKS[self.task]
    labels = len(self.cohort.labels)
    words = leakage.words(self.cohort.labels)
    return Tally(
      self.rules.variables,
      labels,
      self.kinds,
      classes=task.classes,
      words=words,
    )

  def known(self):
    return ~np.isnan(self.cohort.label).any(axis=1)

  def unreadable(self, count, line):
    return InputError(
      f"--mimic_cxr: {count:,} or more of {self.linked:,} linked films are"
      " missing or unreadable, at most 1 % may be; the first is in line"
      f" {line} of mimic-cxr-2.0.0-metadata.csv."
    )

  def assembler(self):
    connection = tables.connect(
      threads=1,
      memory=f"{int(shards.EACH / 1e6)}MB",
      temporary=self.folder / "spill",
    )
    kept = store.Store(connection, self.folder)
    for name in (*self.views, *(f.view for f, _ in self.embedded)):
      kept.see(name)
    notes = tuple(n for n in ("radiology", "discharge") if n in self.views)
    return Assembler(
      kept,
      self.cohort,
      self.rules,
      self.cxr_root,
      notes,
      self.task,
      self.embedded,
    )


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
    embedded: as of `Job`.
  """

  store: object
  cohort: object
  rules: object
  cxr_root: object = None
  notes: tuple = ()
  task: str = cohort_lib.PHENOTYPING
  embedded: tuple = ()

  def part(self, start, stop):
    """`shards.Part` of the cohort's rows [start, stop).

    Left out are stays without an event, in radiology those without a labelled
    film, in an hourly task those without an hour to predict at.
    """
    grid, offset, begin, counts = self._series(start, stop)
    films, bad = self._films(start, stop)
    reports = self._texts("radiology", start, stop)
    notes = self._texts("discharge", start, stop)
    made = [
      embedded.of_rows(self.store, folder, start, stop)
      for folder, _ in self.embedded
    ]
    opened = sum(map(len, films.values())) + len(bad)
    part = shards.Part([], [], counts, sorted(bad), opened)
    for i in np.flatnonzero(np.isfinite(begin)):
      row = start + int(i)
      if self.task == cohort_lib.RADIOLOGY and row not in films:
        continue
      series = grid[offset[i] : offset[i + 1]]
      example = self._example(row, series, films, reports, notes)
      self._embed(example, row, made)
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
        columns.setdefault(key, []).append(store.unmasked(values))
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
      units=self.rules.units,
    )
    inside = events.second >= 0
    begin = np.full(stop - start, np.inf)
    np.minimum.at(begin, events.stay[inside], events.second[inside] / 3600)
    events, carried = clean.settle(
      events,
      variables,
      ties=self.rules.ties,
      totals=self.rules.items == "table",
      carry_in=self.rules.carry_in,
    )
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
        film = images.shrink(path)
        films.setdefault(row, []).append((film, hour))
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
      texts.append(cell.strip(text))
      hours.append(np.nan if hour is None else hour)
    return {
      r: (
        examples.join(t),
        h,
        np.cumsum([len(x) + len(examples.BLANK) for x in t]),
      )
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

  def _embed(self, example, row, made):
    """Adds the embeddings of a stay to its example."""
    for (folder, kind), found in zip(self.embedded, made):
      arrays, hours = found.get(row, ([], []))
      empty = np.zeros((0, kind.width), kind.dtype)
      array = np.concatenate([empty, *arrays]).astype(kind.dtype)
      example[folder.kind] = array
      example[f"{folder.kind}_hours"] = np.array(hours, np.float32)
      example["present"] = np.append(example["present"], bool(arrays))

  def _hours(self, row, begin, films, reports):
    """Fields that an hourly task's record has in place of others."""
    stay = self.cohort
    hours, label = hourly.label(
      self.task, begin, stay.end[row], stay.lived[row], stay.ends[row]
    )
    shown = films.get(row, [])
    ends = np.asarray(reports.get(row, ("", [], []))[2], np.int64)
    ends -= len(examples.BLANK)
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
