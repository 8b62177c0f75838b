"""Weights of the late module, fitted on validation (--late_pooling=stacked).

Before stage 3, of what the encoders say, so that it starts from there; after
it, of what it made of them. In between each epoch is judged by weights that
were fitted on other patients than those it is judged on.

Dims: N stays, S sources, C labels.
"""

import numpy as np

from experiments import kept
from medpatch_jax import stacking
from medpatch_jax.train import store
from medpatch_jax.train.log import logger


def before(stages, last) -> dict:
  """Stage 3's initial parameters, weighed."""
  if not _stacked(stages) or not len(stages.run.rows("validation")):
    return last.params
  return _weighed(stages, last, last.params, "before")


def after(stages, last, trained: dict) -> dict:
  """Stage 3's best parameters, weighed."""
  if not _stacked(stages) or not len(stages.run.rows("validation")):
    return trained
  return _weighed(stages, last, trained, "after")


def unseen(stages):
  """Outputs of validation -> late, its weights fitted on other patients."""
  if not _stacked(stages):
    return dict
  rows = stages.run.rows("validation")
  subject = stages.run.data.subject("validation")[rows]

  def read(outputs):
    late = stacking.unseen(*_arguments(stages, outputs), subject)
    return {"late": late}

  return read


def _stacked(stages) -> bool:
  config = stages.config
  return config.model == "medpatch" and config.late_pooling == "stacked"


def _weighed(stages, last, params: dict, when: str) -> dict:
  """`params` with late weights fitted on validation; computed once."""

  def write(writer):
    batches = last.loader("validation", learn=False)
    outputs = stages.outputs(last.forward, params, batches, frozen=last.frozen)
    found = stacking.fit(*_arguments(stages, outputs))
    _say(stages, found)
    for name, value in found.items():
      writer.allocate(name, value.shape, value.dtype)[...] = value

  key = {"params": store.digest(params), "frozen": store.digest(last.frozen)}
  key |= {"records": stages.run.data.fingerprint, "config": stages.config.given}
  folder = stages.workdir / "late_weights" / when
  found = kept.stored(stages, folder, key, write)
  late = {name: np.array(value) for name, value in found.items()}
  if stages.config.finetune_encoders:
    medpatch = params["medpatch"] | {"late": late}
    return params | {"medpatch": medpatch}
  return params | {"late": late}


def _say(stages, late) -> None:
  names = stages.architecture.medpatch().sources
  mean = late["weight"].mean(axis=1)
  logger.info(
    "late weights, mean over labels: %s",
    ", ".join(f"{n} {w:.2f}" for n, w in zip(names, mean, strict=True)),
  )


def _arguments(stages, outputs) -> tuple:
  """Arguments of `stacking.fit` on validation, of MedPatch's outputs there."""
  run, config = stages.run, stages.config
  rows = run.rows("validation")
  sources = stages.architecture.medpatch().sources
  logits = np.stack([outputs[s] for s in sources], axis=1)
  M = 0 if "unimodal" in config.without else len(config.modalities)
  present = np.ones(logits.shape[:2], bool)
  present[:, :M] = run.present("validation")[rows][:, :M]
  return (
    logits,
    present,
    run.label("validation")[rows],
    run.base_rate(),
    M,
    bool(run.data.description.classes),
  )
