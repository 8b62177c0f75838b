"""Weights of the late module, fitted on unseen stays (--late_pooling=stacked).

Before stage 3, of what the encoders say, so that it starts from there; after
it, of what it made of them. In between each epoch is judged by weights that
were fitted on other patients than those it is judged on.

No encoder learned from validation. With --cross_fit=K there are more such
stays: K encoders more are trained for each modality, each without one part of
the patients of train, and say of these what they do not know by heart.

Dims: N stays, S sources of which the first M are modalities, C labels.
"""

import dataclasses

import numpy as np

from experiments.training import cache
from medpatch_jax import stacking
from medpatch_jax.train import store
from medpatch_jax.train.log import logger


def before(stages, last) -> dict:
  """Stage 3's initial parameters, weighed."""
  if not _stacked(stages):
    return last.params

  def fit():
    stays = _joined(stages, _validation(stages, last, last.params))
    return stacking.fit(stays, pairs=stacking.pay(stays))

  return _weighed(stages, last, last.params, "before", fit)


def after(stages, last, start: dict, trained: dict) -> dict:
  """Stage 3's best parameters, weighed; `start` is what `before` returned."""
  if not _stacked(stages):
    return trained

  def fit():
    stays = _validation(stages, last, trained)
    return stacking.fit(stays, **_known(stages, start))

  return _weighed(stages, last, trained, "after", fit)


def unseen(stages, start: dict):
  """Outputs of validation -> late, its weights fitted on other patients."""
  if not _stacked(stages):
    return dict
  known = _known(stages, start)

  def read(outputs):
    return {"late": stacking.unseen(_stays(stages, outputs), **known)}

  return read


def cross_fit(stages) -> int:
  """Encoders beside each one (--cross_fit); 0 for none.

  By default there are some where validation has too few cases to tell what a
  source is worth, since late weights of noise make a weak source spoil the
  strong ones.
  """
  run, config = stages.run, stages.config
  if config.cross_fit is not None:
    return config.cross_fit
  if not _stacked(stages) or config.held_out:
    return 0
  label = run.label("validation")[run.rows("validation")]
  cases = np.minimum(label.sum(axis=0), (1 - label).sum(axis=0)).sum()
  patients = np.unique(run.data.subject("train")[run.rows("train")])
  few = cases < stacking.FEW and len(patients) >= stacking.FOLDS
  return stacking.FOLDS if few else 0


def _stacked(stages) -> bool:
  config = stages.config
  stacked = config.model == "medpatch" and config.late_pooling == "stacked"
  return stacked and len(stages.run.rows("validation")) > 0


def _known(stages, start: dict) -> dict:
  """What the weights of before stage 3 tell, as arguments of `stacking.fit`.

  Whether products pay and, where more stays than validation's made them, the
  weights themselves.
  """
  late = _medpatch(stages, start)["late"]
  before = late if cross_fit(stages) else None
  return {"before": before, "pairs": bool(np.any(late.get("pair", 0)))}


def _medpatch(stages, params: dict) -> dict:
  """MedPatch's own of stage 3's parameters; a copy of the encoders may be there."""
  return params["medpatch"] if stages.config.finetune_encoders else params


def _weighed(stages, last, params: dict, when: str, fit) -> dict:
  """`params` with the late weights of `fit()`, computed once."""

  def write(writer):
    found = fit()
    names = stages.architecture.medpatch().sources
    mean = zip(names, found["weight"].mean(axis=1), strict=True)
    logger.info(
      "late weights, mean over labels: %s",
      ", ".join(f"{name} {w:.2f}" for name, w in mean),
    )
    for name, value in found.items():
      writer.allocate(name, value.shape, value.dtype)[...] = value

  key = {"params": store.digest(params), "frozen": store.digest(last.frozen)}
  key |= {"records": stages.run.data.fingerprint, "config": stages.config.given}
  folder = stages.workdir / "late_weights" / when
  found = cache.stored(stages, folder, key, write)
  late = {name: np.array(value) for name, value in found.items()}
  weighed = _medpatch(stages, params) | {"late": late}
  if stages.config.finetune_encoders:
    return params | {"medpatch": weighed}
  return weighed


def _validation(stages, last, params) -> stacking.Stays:
  """What stage 3 says of validation."""
  batches = last.loader("validation", learn=False)
  outputs = stages.outputs(last.forward, params, batches, frozen=last.frozen)
  return _stays(stages, outputs)


def _stays(stages, outputs) -> stacking.Stays:
  """MedPatch's outputs of all rows of validation, as `stacking` reads them."""
  sources = stages.architecture.medpatch().sources
  logits = np.stack([outputs[s] for s in sources], axis=1)
  return _of(stages, "validation", logits)


def _of(stages, split: str, logits, others: bool = True) -> stacking.Stays:
  """Logits f32[N S C] of a split's rows, with what belongs to them.

  Args:
    stages: of the run.
    split: its name.
    logits: f32[N S C].
    others: whether sources that are no modality say something.
  """
  run, config = stages.run, stages.config
  rows = run.rows(split)
  M = 0 if "unimodal" in config.without else len(config.modalities)
  present = np.full(logits.shape[:2], others)
  present[:, :M] = run.present(split)[rows][:, :M]
  return stacking.Stays(
    logits=logits,
    present=present,
    label=run.label(split)[rows],
    subject=run.data.subject(split)[rows],
    prior=run.base_rate(),
    modalities=M,
    classes=bool(run.data.description.classes),
  )


def _joined(stages, validation: stacking.Stays) -> stacking.Stays:
  """Stays of validation and, with --cross_fit, of train.

  Of these only the modalities say something: the joint module learned from
  them, too.
  """
  run, config = stages.run, stages.config
  if not cross_fit(stages) or not validation.modalities:
    return validation
  rows = run.rows("train")
  shape = (len(rows), *validation.logits.shape[1:])
  logits = np.zeros(shape, np.float32)
  for i, m in enumerate(config.modalities):
    at = np.searchsorted(rows, run.rows("train", m))
    logits[at, i] = stages.out_of_fold(m)
  train = _of(stages, "train", logits, others=False)
  joined = {
    name: np.concatenate([getattr(train, name), getattr(validation, name)])
    for name in ("logits", "present", "label")
  }
  # A patient is in one split; numbers start anew in each.
  subject = np.concatenate([train.subject, -1 - validation.subject])
  return dataclasses.replace(train, **joined, subject=subject)
