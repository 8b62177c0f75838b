"""The log likelihood ratios of truth.csv."""

import numpy as np

from data.synthetic import model
from medpatch_jax import schema


def write(folder, folk, shown, dying, film, linked):
  """Appends a chunk's rows: stays by id, tasks, modalities, labels.

  Only stays that pass the task's cohort rules, and of them only modalities
  whose source lies in the task's window.

  Args:
    folder: tables.Folder.
    folk: people.People.
    shown: bool[N 25], dying: bool[N K], items of the EHR.
    film: films.Films.
    linked: notes.Linked.
  """
  mortality = folk.cohort & folk.long & ~folk.late_events
  last, early = film.shown[film.last], film.shown[film.early]
  sources = {
    ("in_hospital_mortality", "ehr"): (mortality, dying.sum(1)[:, None]),
    ("in_hospital_mortality", "cxr"): (
      mortality & (film.early >= 0),
      early[:, -1:],
    ),
    ("in_hospital_mortality", "rr"): (
      mortality & linked.in_48h,
      linked.fatal[:, None],
    ),
    ("phenotyping", "ehr"): (folk.cohort, shown),
    ("phenotyping", "cxr"): (folk.cohort & (film.last >= 0), last[:, :-1]),
    ("phenotyping", "rr"): (folk.cohort & linked.in_stay, linked.report),
    ("phenotyping", "dn"): (folk.cohort & linked.has_discharge, linked.course),
  }
  for (task, modality), (exists, count) in sources.items():
    labels = schema.TASKS[task].labels
    stays = np.flatnonzero(exists)
    llr = model.EVIDENCE[task][modality].llr(count[stays]).round(6)
    folder.write_quoted("truth", [
      (folk.stay_id[i], task, name, modality, value)
      for i, row in zip(stays, llr.tolist())
      for name, value in zip(labels, row)
    ])  # fmt: skip
