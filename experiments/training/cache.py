"""What frozen encoders make of a stay: computed once, kept on disk, read back.

Of three kinds. `hidden`: the tokens of a BERT that does not learn, the same for
every stage, seed and model. `pools`: what stage 3 of MedPatch reads.
`encodings`: what a baseline reads. Each is a store (train/store.py) of
everything it depends on, so that a changed parameter is a miss.

Dims: n stays that have the modality, L window positions, D token width, E joint
width, C labels.
"""

import itertools
import math

import numpy as np

from data import resume
from experiments.training import initial, models, windows
from experiments.training.fusion import kept_loader, of_run
from medpatch_jax import schema
from medpatch_jax.input import dataset
from medpatch_jax.train import store
from medpatch_jax.train.log import logger


def chosen(run) -> tuple[frozenset[str], int]:
  """What there is room for within --cache_gb: `fusion`, `hidden/<modality>`.

  And how many bytes it takes.

  `fusion` are pools or encodings, and come first: they are read in each of
  stage 3's epochs. The sizes are said before anything is written.
  """
  needed = {"fusion": ("what is kept of the encoders", _fusion_bytes(run))}
  for m in run.config.modalities:
    # Rows of hourly tasks would keep a note once for each of its hours.
    if initial.bert_frozen(run, m) and not run.data.description.hourly:
      what = f"what BERT makes of {m}"
      needed[f"hidden/{m}"] = what, _hidden_bytes(run, m)
  bound, used, names = run.config.cache_gb, 0, set()
  for name, (what, size) in needed.items():
    fits = bound is None or used + size <= bound * 1e9
    if fits:
      names.add(name)
      used += size
    logger.info(
      "%s takes %s on disk%s",
      what,
      resume.size(size),
      ""
      if fits
      else f", more than --cache_gb={bound:g}: made anew in every epoch",
    )
  return frozenset(names), used


def pools(stages, m: str, split: str) -> dict[str, np.ndarray]:
  """All that stage 3 needs of one modality, computed once per stay.

  Returns:
    The fields of `schema.Pool` and `logits` of stage 1, rows in the order of
    `run.pooled_rows(split, m)`, memory-mapped.
  """
  run, model = stages.run, stages.architecture.unimodal(m)
  params = {
    "encoder": stages.encoder(m),
    "confidence": stages.confidence(m),
    "temperature": vars(stages.temperature(m)),
  }
  kind = models.dtype(run)

  def forward(params, frozen, batch, rng):
    outputs, out = model.apply({"params": params["encoder"]}, batch)
    encoded = out["encoded"]
    pool = stages.architecture.pool(m, encoded, encoded.tokens, params)
    kept = {k: getattr(pool, k).astype(kind) for k in ("high", "low")}
    return 0.0, 1.0, vars(pool) | kept | {"logits": outputs[m]}

  def write(writer):
    batches = stages.input(split, m, rows=run.pooled_rows(split, m))
    _announce(run, "pools", m, split, batches.rows)
    if len(batches.rows):
      stages.outputs(forward, params, batches, allocate=writer.allocate)

  key = stages.key("pools", m, split) | {"params": store.digest(params)}
  found = stored(stages, stages.folder("pools", m, split), key, write)
  windows.say(run, (m,), (split,))
  return found


def encodings(stages, m: str, split: str) -> dict[str, np.ndarray]:
  """What a baseline reads of one frozen encoder, computed once per stay.

  Returns:
    Fields of `schema.Encoded`, rows in the order of `run.pooled_rows(split,
    m)`, memory-mapped; summary f32[n E] alone where no tokens are read.
  """
  run, params = stages.run, stages.encoder(m)
  fields = models.encoding_fields(run, m, split)
  stage = "tokens" if "tokens" in fields else "summaries"

  def write(writer):
    batches = stages.input(split, m, rows=run.pooled_rows(split, m))
    _announce(run, "encodings", m, split, batches.rows)
    _encode(stages, m, params, batches, fields, writer)

  key = stages.key(stage, m, split) | {"params": store.digest(params)}
  found = stored(stages, stages.folder(stage, m, split), key, write)
  windows.say(run, (m,), (split,))
  return found


def hidden(stages, m: str, split: str) -> dict[str, np.ndarray]:
  """What a frozen BERT makes of each note, computed once for all seeds.

  Returns:
    tokens [n L D], of the run's dtype, and mask bool[n L], rows in the order of
    `run.rows(split, m)`, memory-mapped, and `windows` i32[n], how many each
    note takes, read or not.
  """
  run, config = stages.run, stages.config
  params, rows = initial.encoder(run, m), run.rows(split, m)
  if config.authors:
    params = stages.encoder(m)
  files = [config.given[name] for name in ("bert", "init_from")]
  key = {
    "records": run.data.fingerprint,
    "rows": store.digest(rows),
    "fields": ["tokens", "mask", "windows"],
    "text": [store.content(path) for path in files if path],
    "shapes": [run.shapes.window, run.shapes.max_windows],
    "dtype": config.dtype,
    "padding_tokens": "padding_tokens" in config.as_released,
    "params": store.digest(params["encoder"]["bert"]),
  }

  def write(writer):
    _announce(run, "hidden", m, split, rows)
    batches = run.loader(split, (m,), rows, learn=False)
    _encode(stages, m, params, batches, hidden_fields(run, m), writer)
    each = run.windows(split, m)[rows]
    writer.allocate("windows", each.shape, each.dtype)[:] = each

  root = (config.share or stages.workdir) / "hidden"
  folder = root / f"{m}-{split}-{store.short(key)}"
  found = stored(stages, folder, key, write)
  run.remember(split, m, found["windows"])
  windows.say(run, (m,), (split,))
  return found


def hidden_loader(stages, m: str, split: str, rows, learn: bool):
  """Batches as of the notes themselves, their hidden states in their place."""
  run, found = stages.run, stages.hidden(m, split)

  def read(m, at, here, size):
    fields = {}
    for name, (shape, kind) in hidden_fields(run, m).items():
      fields[name] = np.zeros((size, *shape), kind)
      fields[name][here] = found[name][at]
    return fields

  return kept_loader(
    read,
    schema.Batch,
    {m: run.rows(split, m)},
    **of_run(run, split, rows, learn, by=m),
  )


def hidden_fields(run, m: str) -> dict[str, tuple]:
  """Shape of a row and dtype of what is kept of a frozen BERT."""
  L = models.positions(run, m, "train")
  tokens = (L, models.token_width(run, m)), models.dtype(run)
  return {"tokens": tokens, "mask": ((L,), np.bool_)}


def stored(stages, folder, key: dict, write) -> dict[str, np.ndarray]:
  """The store of that key, made by `write(writer)` if it is not there."""
  with stages.alone(folder):
    parallel = stages.run.parallel
    if (found := store.read(folder, key, parallel)) is None:
      writer = store.Writer(folder, parallel)
      write(writer)
      writer.finish(key)
      found = store.read(folder, key, parallel)
  return found


def _encode(stages, m, params, batches, fields, writer) -> None:
  """Writes fields of `schema.Encoded` of each row of `batches`."""
  model = stages.architecture.unimodal(m)

  def forward(params, frozen, batch, rng):
    encoded = vars(model.apply({"params": params}, batch)[1]["encoded"])
    return 0.0, 1.0, {k: encoded[k].astype(fields[k][1]) for k in fields}

  arrays = {
    name: writer.allocate(name, (len(batches.rows), *shape), kind)
    for name, (shape, kind) in fields.items()
  }
  if len(batches.rows):
    stages.fill(arrays, stages.mapped(forward), params, batches)


def _announce(run, kind, m, split, rows) -> None:
  unit = "hours" if run.data.description.hourly else "stays"
  size = run.size(split, rows).rows
  logger.info("%s/%s: %s %s of %s", kind, m, size, unit, split)


def _fusion_bytes(run) -> int:
  """What pools, or what a baseline reads of the encoders, takes on disk."""
  total, logits = 0, ((len(run.labels),), np.float32)
  for m, split in itertools.product(run.config.modalities, dataset.SPLITS):
    if run.config.model == "medpatch":
      fields = [*models.blank_pools(run)[m].values(), logits]
    else:
      fields = models.encoding_fields(run, m, split).values()
    total += len(run.pooled_rows(split, m)) * _row_bytes(fields)
  return total


def _hidden_bytes(run, m: str) -> int:
  row = _row_bytes(hidden_fields(run, m).values())
  return row * sum(len(run.rows(split, m)) for split in dataset.SPLITS)


def _row_bytes(fields) -> int:
  return sum(math.prod(s) * np.dtype(kind).itemsize for s, kind in fields)
