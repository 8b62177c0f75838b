"""Stage 3 of the baselines (METHOD.md section 9), on stage 1's encoders.

Dims: B stays, M modalities, T tokens, D token width, E joint width, C labels.
"""

import numpy as np

from experiments import flags, models
from experiments.fusion import (
  Fusion,
  kept_loader,
  of_run,
  raw_loader,
  thinned,
)
from medpatch_jax import schema
from medpatch_jax.input import examples
from medpatch_jax.train import freeze


def build(stages) -> Fusion:
  """What a baseline trains.

  Encoders stay as they are, but in `joint` and with --finetune_encoders.
  """
  name = stages.config.model
  learns = name == "joint" or stages.config.finetune_encoders
  if learns or name in (*models.WHOLE, flags.RAW):
    return from_input(stages, learns)
  return from_encodings(stages)


def from_input(stages, learns: bool) -> Fusion:
  """Encoders within the model, learning or, where nothing does, as they are."""
  run, config = stages.run, stages.config
  names, name = config.modalities, config.model
  raw, whole = name == flags.RAW, name in models.WHOLE
  model = models.baseline(run)
  stage1 = {} if raw else {m: stages.encoder(m) for m in names}
  params = models.start_baseline(run, model, stage1)

  def still(path):
    if raw or not path[0].startswith("encoders_"):
      return whole
    m = path[0].removeprefix("encoders_")
    return not learns or models.frozen(run, m)(("encoder", *path[1:]))

  learn, frozen = freeze.split(params, still)

  def forward(params, frozen, batch, key):
    return _loss(stages, model, freeze.join(params, frozen), batch, key)

  return Fusion(forward, learn, frozen, raw_loader(stages))


def from_encodings(stages) -> Fusion:
  """Encoders are frozen, so each stay is encoded once and that read back.

  Frozen means neither dropout nor augmentation. Without room (--cache_gb)
  encodings are made anew for each batch.
  """
  run, names = stages.run, stages.config.modalities
  model = models.baseline(run, encoded=True)
  stage1 = {m: stages.encoder(m) for m in names}
  params = models.start_baseline(run, model, stage1)
  if stages.cached:

    def forward(params, frozen, batch, key):
      return _loss(stages, model, params, batch, key)

    return Fusion(forward, params, {}, _encoding_loader(stages))

  units = {m: stages.architecture.unimodal(m) for m in names}

  def forward_anew(params, frozen, batch, key):
    inputs = {}
    for m in names:
      _, out = units[m].apply({"params": frozen[m]}, batch)
      inputs[m] = vars(out["encoded"])
    batch = batch.replace(inputs=inputs)
    return _loss(stages, model, params, batch, key)

  batches = raw_loader(stages, augment=False)
  return Fusion(forward_anew, params, stage1, batches)


def _loss(stages, model, params, batch, key):
  batch = thinned(batch, stages.config.modality_dropout, key)
  rngs = None if key is None else {"dropout": key}
  outputs, out = model.apply(
    {"params": params}, batch, train=key is not None, rngs=rngs
  )
  (logits,) = outputs.values()
  total, count = stages.run.loss(logits, batch.label, batch.weight)
  for term in out.get("losses", {}).values():
    total += (batch.weight * term).sum()
  return total, count, {stages.config.model: logits}


def _encoding_loader(stages):
  """(split, learn) -> batches `schema.Batch` of the kept encodings."""
  run, names = stages.run, stages.config.modalities

  def batches(split: str, learn: bool):
    rows = run.rows(split, of="fusion")
    kept = {m: stages.encodings(m, split) for m in names}

    def read(m, at, here, size):
      series = run.config.kinds[m] == "series"
      return _padded(kept[m], at, here, size, _length(run) if series else None)

    return kept_loader(
      read,
      schema.Batch,
      {m: run.pooled_rows(split, m) for m in names},
      **of_run(run, split, rows, learn, by=names[0]),
    )

  return batches


def _padded(kept, at, here, size, length) -> dict[str, np.ndarray]:
  """Rows `at` of what is kept, at places `here` of `size`, zeros elsewhere.

  Args:
    kept: field of `schema.Encoded` -> array[n ...].
    at, here: i64[b].
    size: rows.
    length: most real tokens -> tokens that are given; None gives all.
  """
  rows = {"summary": kept["summary"][at]}
  if "tokens" in kept:
    mask = kept["mask"][at]
    T = mask.shape[1]
    if length:
      T = length(int(mask.sum(axis=1).max(initial=1)))
    # Of a long array only what is needed is read.
    rows |= {"tokens": kept["tokens"][at, :T], "mask": mask[:, :T]}
  values = {}
  for name, found in rows.items():
    shape = found.shape[1:]
    if name != "summary":
      shape = (T, *shape[1:])
    values[name] = np.zeros((size, *shape), found.dtype)
    values[name][here, : found.shape[1]] = found
  return values


def _length(run):
  """Most real tokens of a batch of series -> as many as raw input has.

  So that dropout draws the same.
  """
  own = int(run.config.ehr == "transformer")  # Its class token.
  return lambda most: (
    examples.bucket(max(most - own, 1), run.shapes.hour_buckets) + own
  )
