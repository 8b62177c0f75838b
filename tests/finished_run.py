"""A run that looks finished: scored, with drawn parameters of every stage."""

import dataclasses
import json
import types

from experiments import evaluate
from experiments.training.run import Run
from medpatch_jax import presets
from tests import small_run


class Finished(small_run.Untrained):
  """Stages of which every one counts as complete."""

  def check_complete(self, last="fuse"):
    del last

  def pools(self, m, split):
    fields = super().pools(m, split)
    return fields | {"logits": fields["mean_high"]}

  def fuse(self):
    return small_run.drawn(self.fusion().params)


def make(records, folder, *words):
  """Scores such a run.

  Returns:
    `stages`, `workdir` and `truth`, the twin's truth.csv.
  """
  tiny = dataclasses.replace(presets.PRESETS["tiny"], hour_buckets=(256,))
  before, presets.PRESETS["tiny"] = presets.PRESETS["tiny"], tiny
  try:
    stages = Finished(Run(small_run.configuration(records, folder, *words)))
  finally:
    presets.PRESETS["tiny"] = before
  (truth,) = records.glob("*/truth.csv")
  path = folder / "unimodal" / "ehr" / "metrics.jsonl"
  path.parent.mkdir(parents=True)
  lines = [{"epoch": e, "loss": 0.5, "auroc_ehr": 0.6} for e in range(2)]
  path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
  evaluate.evaluate(stages, truth)
  return types.SimpleNamespace(stages=stages, workdir=folder, truth=truth)
