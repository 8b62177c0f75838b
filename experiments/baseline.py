"""Stage 3 of the baselines (METHOD.md section 9), on stage 1's encoders.

Dims: B stays, M modalities, T tokens, D token width, E joint width, C labels.
"""

import functools

import numpy as np

from experiments import flags, models
from experiments.fusion import Fusion, raw_loader, thinned
from medpatch_jax import schema
from medpatch_jax.input import examples, loader
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
  """(split, learn) -> batches `schema.Batch` of the cached encodings."""
  run, names = stages.run, stages.config.modalities

  def batches(split: str, learn: bool) -> loader.Loader:
    rows = run.rows(split)
    cached = {m: stages.encodings(m, split) for m in names}
    place = {}
    for m in names:
      place[m] = np.full(run.data.size(split), -1)
      encoded = run.pooled_rows(split, m)
      place[m][encoded] = np.arange(len(encoded))
    lengths = run.data.lengths(split, names[0])
    return loader.Loader(
      rows=rows,
      batch_size=run.config.batch_size,
      fetch=lambda row, rng: row,
      collate=functools.partial(_collate, run, split, cached, place),
      seed=run.config.settings.seed if learn else None,
      lengths=None if lengths is None else lengths[rows],
      share=run.parallel.share,
    )

  return batches


def _collate(run, split, cached, place, rows, size) -> schema.Batch:
  """Rows of a split, padded to `size` of them and to a bucket of tokens."""
  inputs = {}
  for m, fields in cached.items():
    at = place[m][rows]
    here = np.flatnonzero(at >= 0)
    found = {name: array[at[here]] for name, array in fields.items()}
    if run.config.kinds[m] == "series" and "mask" in found:
      found |= _cut(run, found)
    inputs[m] = {}
    for name, values in found.items():
      inputs[m][name] = np.zeros((size, *values.shape[1:]), values.dtype)
      inputs[m][name][here] = values
  pad = ((0, size - len(rows)), (0, 0))
  return schema.Batch(
    inputs,
    np.pad(run.present(split)[rows], pad),
    np.pad(run.label(split)[rows], pad),
    (np.arange(size) < len(rows)).astype(np.float32),
  )


def _cut(run, found) -> dict:
  """Tokens and mask of a series as long as they would be from raw input.

  So that dropout draws the same.
  """
  own = int(run.config.ehr == "transformer")  # Its class token.
  hours = int(found["mask"].sum(axis=1).max(initial=1 + own)) - own
  length = examples.bucket(hours, run.shapes.hour_buckets) + own
  more = max(length - found["mask"].shape[1], 0)
  return {
    k: np.pad(
      found[k][:, :length], [(0, 0), (0, more)] + [(0, 0)] * (found[k].ndim - 2)
    )
    for k in ("tokens", "mask")
  }
