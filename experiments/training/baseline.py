"""Stage 3 of the baselines (METHOD.md section 9), on stage 1's encoders.

Dims: B stays, M modalities, T tokens, D token width, E joint width, C labels.
"""

import numpy as np

from experiments.config.names import RAW
from experiments.training import initial, models
from experiments.training.fusion import (
  Fusion,
  kept_loader,
  of_run,
  raw_loader,
  thinned,
)
from experiments.training.run import Run
from medpatch_jax import baselines, schema
from medpatch_jax.baselines import raw
from medpatch_jax.input import dataset, examples
from medpatch_jax.train import freeze

# Baselines that are stage 1 put together: nothing of them learns.
WHOLE = ("late", "unimodal")


def build(stages) -> Fusion:
  """What a baseline trains.

  Encoders stay as they are, but in `joint` and with --finetune_encoders.
  """
  name = stages.config.model
  learns = name == "joint" or stages.config.finetune_encoders
  if learns or name in (*WHOLE, RAW):
    return from_input(stages, learns)
  return from_encodings(stages)


def from_input(stages, learns: bool) -> Fusion:
  """Encoders within the model, learning or, where nothing does, as they are."""
  run, config = stages.run, stages.config
  names, name = config.modalities, config.model
  unencoded, whole = name == RAW, name in WHOLE
  model = module(run)
  stage1 = {} if unencoded else {m: stages.encoder(m) for m in names}
  params = _start(run, model, stage1)

  def still(path):
    if unencoded or not path[0].startswith("encoders_"):
      return whole
    m = path[0].removeprefix("encoders_")
    return not learns or initial.frozen(run, m)(("encoder", *path[1:]))

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
  model = module(run, encoded=True)
  stage1 = {m: stages.encoder(m) for m in names}
  params = _start(run, model, stage1)
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
  config = stages.config
  batch = thinned(batch, config.modality_dropout, key, config.modalities)
  rngs = None if key is None else {"dropout": key}
  outputs, out = model.apply(
    {"params": params}, batch, train=key is not None, rngs=rngs
  )
  (logits,) = outputs.values()
  total, count = stages.run.loss(logits, batch.label, batch.weight)
  for term in out.get("losses", {}).values():
    total += (batch.weight * term).sum()
  return total, count, {config.model: logits}


def module(run: Run, encoded: bool = False):
  """The baseline of --model at the preset's size.

  Args:
    run: open.
    encoded: its batches hold what the encoders make of the input.

  Raises:
    ValueError: it is not defined for these modalities.
  """
  config = run.config
  of = config.model.removesuffix("_raw")
  fields = dict(config.sizes.baselines.get(of, {}))
  if config.model == "metra":
    fields["lengths"] = {m: _longest(run, m) for m in config.modalities}
    fields["unprojected"] = tuple(
      m for m, kind in config.kinds.items() if kind == "series"
    )
  if config.model == "late":
    fields["released"] = config.as_released
  if config.model in WHOLE:
    fields["classifier_norm"] = config.classifier_norm
  # A single modality is a mean over one.
  name = {"unimodal": "late", RAW: "healnet"}.get(config.model)
  make = _raw_encoder if config.model == RAW else _encoder
  if encoded:
    make = _ready
  return baselines.build(
    name or config.model,
    modalities=config.modalities,
    encoders={m: make(run, m) for m in config.modalities},
    num_labels=len(run.labels),
    dtype=models.dtype(run),
    **fields,
  )


def _ready(run: Run, m: str):
  return baselines.Ready(run.config.as_released)


def _encoder(run: Run, m: str):
  return models.architecture(run).encoder(m)


def _raw_encoder(run: Run, m: str):
  """Raw input of one modality as tokens, for HEALNet alone."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind in ("series", "embedding"):
    return raw.Series()
  if kind == "image":
    return raw.Image(side=sizes.image_size // 8)  # 8 x 8 pixels a cell.
  return raw.Pieces(run.tokeniser.vocab_size, sizes.text["width"])


def _longest(run: Run, m: str) -> int:
  """The most tokens of a stay of any split, padding included."""
  if run.config.kinds[m] != "series":
    return models.positions(run, m, "train")
  hours = max(int(run.data.hours(s).max(initial=1)) for s in dataset.SPLITS)
  padded = examples.bucket(hours, run.shapes.hour_buckets)
  return padded + (run.config.ehr == "transformer")


def _start(run: Run, model, stage1: dict[str, dict]) -> dict:
  """Initial parameters of `model`, a baseline; stage 1's where it has them."""
  rows = {m: models.example(run, m) for m in run.config.modalities}
  ready = any(isinstance(e, baselines.Ready) for e in model.encoders.values())
  batch = next(iter(rows.values())).replace(
    inputs={
      m: _blank_encoding(run, m) if ready else one.inputs[m]
      for m, one in rows.items()
    }
  )
  params = initial.init(model, batch, run, train=False)
  return baselines.pretrained(params, stage1)


def _blank_encoding(run: Run, m: str) -> dict[str, np.ndarray]:
  fields = models.encoding_fields(run, m, "train")
  return {k: np.zeros((1, *shape), d) for k, (shape, d) in fields.items()}


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
