"""The best that any model could predict of the synthetic twin's test stays."""

import numpy as np

from data.synthetic import bayes, model


def logits(run_, rows, present, truth) -> dict[str, np.ndarray]:
  """Best possible logits from everything present, and from each modality."""
  if run_.config.task not in model.EVIDENCE:
    raise ValueError(
      f"--truth: no bound is known of {run_.config.task}, only of"
      f" {', '.join(model.EVIDENCE)}; leave it out."
    )
  source = run_.data.source("test", ("stay_id",))
  stays = np.array([int(source[int(row)]["stay_id"]) for row in rows])
  modalities = run_.config.modalities
  columns = [run_.data.modalities.index(m) for m in modalities]

  def seen(keep):
    whole = np.zeros((len(rows), len(run_.data.modalities)), bool)
    whole[:, columns] = present & keep[None]
    return bayes.break_ties(bayes.logits(truth, run_.config.task, stays, whole))

  alone = np.eye(len(modalities), dtype=bool)
  each = {m: seen(alone[i]) for i, m in enumerate(modalities)}
  return each | {"all": seen(np.ones(len(modalities), bool))}
