"""What the sources of truth.csv show."""

import numpy as np

from data.synthetic import model
from medpatch_jax import schema


def write(folder, folk, evidence):
  """Appends a chunk's rows: stays by id, tasks, modalities, labels.

  Only stays that pass the task's cohort rules, and of them only modalities
  whose source lies in the task's window. `shown` and `clear` have a bit for
  each slot of the channel: whether its item is shown, and whether its place is
  no noise.

  Args:
    folder: tables.Folder.
    folk: people.People.
    evidence: world.Evidence of all sources.
  """
  for task, who in model.cohort(folk).items():
    for modality in model.EVIDENCE[task]:
      source = evidence.sources[task, modality]
      stays = np.flatnonzero(who & source.exists)
      bits = 1 << np.arange(source.shown.shape[-1])
      shown, clear = (x[stays] @ bits for x in (source.shown, source.clear))
      folder.write_quoted("truth", [
        (folk.stay_id[i], task, name, modality, *values)
        for i, *rows in zip(stays, shown.tolist(), clear.tolist())
        for name, *values in zip(schema.TASKS[task].labels, *rows)
      ])  # fmt: skip
