"""Stage 3: what is trained on top of the encoders, and on which batches.

Of MedPatch; baseline.py has the others.

Dims: B stays, M modalities, C labels.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training import from_authors, initial, models
from medpatch_jax import schema
from medpatch_jax.input import loader, missing
from medpatch_jax.train import freeze, losses


@dataclasses.dataclass(frozen=True)
class Fusion:
  """Stage 3 as values.

  Attributes:
    forward: objective of the loop (train/step.py), its outputs the heads.
    params: initial parameters that learn.
    frozen: parameters that do not.
    loader: (split, learn) -> batches of `run.rows(split, of="fusion")`.
  """

  forward: Callable
  params: Any
  frozen: Any
  loader: Callable[..., loader.Loader]


def build(stages) -> Fusion:
  """Stage 3 of MedPatch, from pools or raw input."""
  if stages.config.finetune_encoders:
    return from_input(stages)
  return from_pools(stages) if stages.cached else from_encoders(stages)


def from_pools(stages) -> Fusion:
  """Encoders are frozen, so pools are made once per stay and read back."""
  model, names = stages.architecture.medpatch(), stages.config.modalities

  def forward(params, frozen, batch, key):
    batch = thinned(batch, stages.config.modality_dropout, key, names)
    return _loss(stages, model, params, batch)

  return Fusion(forward, _start(stages), {}, _pool_loader(stages))


def from_encoders(stages) -> Fusion:
  """The same without room for pools: they are made anew for each batch."""
  names, made = stages.config.modalities, stages.architecture
  model = made.medpatch()

  def pool(m, frozen, batch):
    _, out = made.unimodal(m).apply({"params": frozen["encoder"][m]}, batch)
    encoded = out["encoded"]
    sureness = {k: frozen[k][m] for k in ("confidence", "temperature")}
    return made.pool(m, encoded, encoded.tokens, sureness)

  def forward(params, frozen, batch, key):
    inputs = {m: pool(m, frozen, batch) for m in names}
    pools = schema.Pools(inputs, batch.present, batch.label, batch.weight)
    pools = thinned(pools, stages.config.modality_dropout, key, names)
    return _loss(stages, model, params, pools)

  # The same stays in the same order as of pools.
  batches = raw_loader(stages, augment=False, by_length=False)
  return Fusion(forward, _start(stages), _frozen(stages), batches)


def _frozen(stages) -> dict:
  """What stages 1 and 2 left: encoders, confidence heads, temperatures."""
  names = stages.config.modalities
  return {
    "encoder": {m: stages.encoder(m) for m in names},
    "confidence": {m: stages.confidence(m) for m in names},
    "temperature": {m: vars(stages.temperature(m)) for m in names},
  }


def from_input(stages) -> Fusion:
  """A copy of the encoders learns, confidences come from the frozen ones.

  The figure of the paper; the released code aliases the two, so that it never
  happens there. What stage 1 keeps frozen (BERT) is one for both.
  """
  names = stages.config.modalities
  made = stages.architecture
  model = made.medpatch()
  encoders = {m: made.unimodal(m) for m in names}
  frozen = _frozen(stages)

  def pool(m, learn, frozen, batch, key):
    fixed = frozen["encoder"][m]
    copy = whole(stages, m, learn, fixed)
    rngs = None if key is None else {"dropout": key}
    _, out = encoders[m].apply(
      {"params": copy}, batch, train=key is not None, rngs=rngs
    )
    _, sure = encoders[m].apply({"params": fixed}, batch)
    sureness = {k: frozen[k][m] for k in ("confidence", "temperature")}
    return made.pool(m, out["encoded"], sure["encoded"].tokens, sureness)

  def forward(params, frozen, batch, key):
    batch = thinned(batch, stages.config.modality_dropout, key, names)
    inputs = {
      m: pool(m, params["encoder"][m], frozen, batch, key) for m in names
    }
    pools = schema.Pools(inputs, batch.present, batch.label, batch.weight)
    return _loss(stages, model, params["medpatch"], pools)

  params = {
    "medpatch": _start(stages),
    "encoder": {m: _parts(stages, m, frozen["encoder"][m])[0] for m in names},
  }
  return Fusion(forward, params, frozen, raw_loader(stages))


def whole(stages, m: str, learn, fixed) -> dict:
  """The copy of an encoder: what learns, with what is one for both."""
  return freeze.join(learn, _parts(stages, m, fixed)[1])


def _parts(stages, m: str, params):
  """An encoder's parameters that the copy has for itself, and the others."""
  still = initial.frozen(stages.run, m)
  return freeze.split(
    params, lambda path: path[0] == "classifier" or still(path)
  )


def thinned(batch, rate: float, key, modalities=None):
  """In training, `batch` with some of each stay's modalities hidden.

  Hidden is absent, for every model alike (`missing.hide`).

  Args:
    batch: with present bool[B M].
    rate: share to hide; one of those a stay has is always left.
    key: of the step; None in evaluation, which hides nothing.
    modalities: M names, the columns; by default those of the batch, in the
      order of `schema.MODALITIES`.
  """
  if key is None or not rate:
    return batch
  hide, leave = jax.random.split(jax.random.fold_in(key, 1))
  shape = batch.present.shape
  kept = jax.random.bernoulli(hide, 1 - rate, shape)
  kept &= batch.present
  drawn = jnp.where(batch.present, jax.random.uniform(leave, shape), -1.0)
  one = batch.present & (drawn == drawn.max(axis=1, keepdims=True))
  kept = jnp.where(kept.any(axis=1, keepdims=True), kept, one)
  if modalities is None:
    modalities = [m for m in schema.MODALITIES if m in batch.inputs]
  return missing.hide(batch, kept, modalities)


def raw_loader(stages, **how):
  """(split, learn) -> batches of raw input, `how` as in `Run.loader`."""
  run = stages.run

  def batches(split, learn):
    rows = run.rows(split, of="fusion")
    return run.loader(split, run.config.modalities, rows, learn, **how)

  return batches


def _start(stages) -> dict:
  names = stages.config.modalities
  if stages.config.authors:
    return from_authors.medpatch(stages.run)
  stage1 = {m: stages.encoder(m) for m in names}
  return initial.medpatch(stages.run, stage1)


def _loss(stages, model, params, pools):
  outputs, out = model.apply({"params": params}, pools)
  total, count, _ = losses.fused(
    outputs,
    out,
    pools.label,
    pools.weight,
    stages.config.loss_weights,
    stages.run.loss,
  )
  return total, count, outputs


def _pool_loader(stages):
  """(split, learn) -> batches `schema.Pools` of the cached pools."""
  run, modalities = stages.run, stages.config.modalities

  def batches(split: str, learn: bool) -> loader.Loader:
    return pool_loader(
      {m: stages.pools(m, split) for m in modalities},
      models.blank_pools(run),
      {m: run.pooled_rows(split, m) for m in modalities},
      **of_run(run, split, run.rows(split, of="fusion"), learn),
    )

  return batches


def of_run(run, split: str, rows, learn: bool, by: str | None = None) -> dict:
  """What a run decides of the arguments of `kept_loader`.

  Args:
    run: open.
    split: its name.
    rows: of it, i64[R].
    learn: shuffled.
    by: modality; rows of similar length of it share a batch.
  """
  lengths = run.data.lengths(split, by) if by else None
  return {
    "present": run.present(split),
    "label": run.label(split),
    "rows": rows,
    "batch_size": run.config.batch_size,
    "seed": run.config.settings.seed if learn else None,
    "lengths": None if lengths is None else lengths[rows],
    "share": run.parallel.share,
  }


def pool_loader(
  cached, fields, pooled, present, label, rows, batch_size, **options
) -> loader.Loader:
  """Batches `schema.Pools` of stays' rows of cached pools.

  Args:
    cached: modality -> field of `schema.Pool` -> array[n ...]; without any
      where no stay has the modality.
    fields: modality -> field -> (shape of a row, dtype).
    pooled: modality -> i64[n], the stay of each of these rows, ascending.
    present: bool[N M].
    label: f32[N C].
    rows: i64[R], the stays that are wanted.
    batch_size: stays of a batch.
    **options: of `loader.Loader`.
  """

  def pool(m, at, here, size):
    values = {}
    for name, (shape, dtype) in fields[m].items():
      values[name] = np.zeros((size, *shape), dtype)
      if len(here):
        values[name][here] = cached[m][name][at]
    return schema.Pool(**values)

  return kept_loader(
    pool, schema.Pools, pooled, present, label, rows, batch_size, **options
  )


def kept_loader(
  read, make, kept, present, label, rows, batch_size, **options
) -> loader.Loader:
  """Batches of what is kept of each modality of a stay.

  Args:
    read: (modality, places i64[b] in what is kept, positions i64[b] in the
      batch, its size) -> the input of `make`, zeros elsewhere.
    make: `schema.Pools` or `schema.Batch`.
    kept: modality -> i64[n], the stays that something is kept of, ascending.
    present: bool[N M].
    label: f32[N C].
    rows: i64[R], the stays that are wanted.
    batch_size: stays of a batch.
    **options: of `loader.Loader`.
  """
  place = {}
  for m in kept:
    place[m] = np.full(len(present), -1)
    place[m][kept[m]] = np.arange(len(kept[m]))

  def collate(fetched, size):
    inputs = {}
    for m in kept:
      at = place[m][fetched]
      here = np.flatnonzero(at >= 0)
      inputs[m] = read(m, at[here], here, size)
    pad = ((0, size - len(fetched)), (0, 0))
    weight = (np.arange(size) < len(fetched)).astype(np.float32)
    return make(
      inputs,
      np.pad(present[fetched], pad),
      np.pad(label[fetched], pad),
      weight,
    )

  return loader.Loader(
    rows=rows,
    batch_size=batch_size,
    fetch=lambda row, rng: row,
    collate=collate,
    **options,
  )
