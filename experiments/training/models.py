"""Configuration -> modules, and the shapes of what they read and leave."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.training.run import Run, once
from medpatch_jax import baselines, schema
from medpatch_jax.export import pretrained
from medpatch_jax.pipeline import Architecture


def dtype(run: Run):
  """Of matrix products; parameters are float32 always."""
  return jnp.dtype(run.config.dtype)


@once
def architecture(run: Run, m: str | None = None) -> Architecture:
  """MedPatch at the preset's size: encoders, confidence and fusion.

  With a modality named, no other encoder than its own.
  """
  config, base_rate = run.config, None
  if config.confidence == "balanced":
    base_rate = tuple(run.base_rate().tolist())
  return Architecture(
    kinds=config.kinds,
    labels=run.labels,
    width=config.sizes.width,
    encoders={n: _encoder(run, n) for n in (m and [m]) or config.modalities},
    thresholds=config.threshold,
    confidence=config.confidence,
    base_rate=base_rate,
    fusion=config.of_module("medpatch") | {"flag_order": config.flag_order},
    released=config.as_released,
    classes=run.data.description.classes,
    dtype=config.dtype,
    remat=config.remat,
    classifier_norm=config.classifier_norm,
  )


def _encoder(run: Run, m: str) -> dict:
  """Name and sizes of one modality's encoder, as `Architecture` has them."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "series" and run.config.ehr == "transformer":
    return {"name": "transformer", **sizes.ehr}
  if kind == "series" and run.config.ehr == "additive":
    return {"name": "additive", "measured": run.channels_of(m).measured()}
  if kind == "series":
    return {"name": "lstm", "dropout": run.config.ehr_dropout}
  if kind == "image":
    return {"name": "vit", "image_size": sizes.image_size, **sizes.cxr}
  if kind == "embedding":
    return {"name": "embedding"}
  tokeniser = run.tokeniser
  special = {n: getattr(tokeniser, n) for n in ("pad", "cls", "sep")}
  return {"name": "bert", **special, **text_sizes(run)}


@once
def text_sizes(run: Run) -> dict[str, int]:
  """Sizes of the text encoder: --bert's or --init_from's, else the preset's.

  Raises:
    ValueError: the pretrained encoder's windows are shorter than the preset's.
  """
  config, sizes = run.config, run.config.sizes
  found, where = None, f"--bert={config.bert}"
  if config.bert:
    found = pretrained.bert_sizes(config.bert)
  elif run.warm:
    found, where = run.warm.text_sizes(), f"--init_from={config.init_from}"
  if not found:
    return sizes.text | {
      "vocab_size": run.tokeniser.vocab_size,
      "positions": sizes.window,
    }
  if found["positions"] < sizes.window:
    raise ValueError(
      f"{where}: config.json has {found['positions']} positions,"
      f" --preset={config.preset} reads windows of {sizes.window} pieces; give"
      " another model or preset."
    )
  return found


def token_width(run: Run, m: str) -> int:
  """D, width of an encoder's tokens."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "text":
    return text_sizes(run)["width"]
  if kind == "embedding":
    return run.shapes.columns[m]
  return sizes.width if kind == "series" else sizes.cxr["width"]


def positions(run: Run, m: str, split: str) -> int:
  """T, the most tokens a stay of the split can have."""
  sizes, kind = run.config.sizes, run.config.kinds[m]
  if kind == "series":
    hours = int(run.data.hours(split)[run.rows(split, m)].max(initial=1))
    return hours + (run.config.ehr == "transformer")  # Its class token.
  if kind == "image":
    return 1 + (sizes.image_size // sizes.cxr["patch"]) ** 2
  if kind == "embedding":
    return run.shapes.tokens[m]
  return sizes.window


def example(run: Run, m: str) -> schema.Batch:
  """A batch of one row of zeros, to initialise from."""
  shapes, kind = run.shapes, run.config.kinds[m]
  if kind == "series":
    hours = shapes.hour_buckets[0]
    fields = {
      "x": np.zeros((1, hours, shapes.columns[m]), np.float32),
      "mask": np.ones((1, hours), bool),
    }
  elif kind == "image":
    size = shapes.image_size
    fields = {"image": np.zeros((1, size, size), np.uint8)}
  elif kind == "embedding":
    T, D = shapes.tokens[m], shapes.columns[m]
    fields = {
      "x": np.zeros((1, T, D), np.float32),
      "mask": np.ones((1, T), bool),
    }
  else:
    fields = {
      "piece": np.zeros((1, 1, shapes.window), np.int32),
      "mask": np.ones((1, 1, shapes.window), bool),
    }
  present = np.ones((1, len(run.config.modalities)), bool)
  label = np.zeros((1, len(run.labels)), np.float32)
  return schema.Batch({m: fields}, present, label, np.ones((1,), np.float32))


def blank_pools(run: Run) -> dict[str, dict[str, tuple]]:
  """Shape of a row and dtype of each field of `schema.Pool`, per modality."""
  C, E = len(run.labels), run.config.sizes.width
  return {
    m: pool_fields(C, token_width(run, m), E, dtype(run))
    for m in run.config.modalities
  }


def pool_fields(labels: int, width: int, joint: int, kind) -> dict[str, tuple]:
  """Shape of a row and dtype of each field of `schema.Pool`.

  Args:
    labels: C.
    width: D, of the tokens.
    joint: E.
    kind: dtype of the pooled tokens, which are nearly all of it.
  """
  pool = ((labels, width), kind)
  each, flag = ((labels,), np.float32), ((labels,), bool)
  return {
    "high": pool,
    "low": pool,
    "has_high": flag,
    "has_low": flag,
    "mean_high": each,
    "mean_low": each,
    "summary": ((joint,), np.float32),
  }


def encoding_fields(run: Run, m: str, split: str) -> dict[str, tuple]:
  """Shape of a row and dtype of what a baseline reads of a frozen encoder."""
  fields = {"summary": ((run.config.sizes.width,), np.float32)}
  if run.config.model in baselines.OF_TOKENS:
    T = positions(run, m, split)
    fields["tokens"] = ((T, token_width(run, m)), dtype(run))
    fields["mask"] = ((T,), np.bool_)
  return fields


def parameters(stages) -> dict:
  """Parameters of every stage, as `Architecture.apply` takes them."""
  names = stages.config.modalities
  params = {
    "encoder": {m: stages.encoder(m) for m in names},
    "confidence": {m: stages.confidence(m) for m in names},
    "temperature": {m: dict(vars(stages.temperature(m))) for m in names},
    "medpatch": stages.fuse(),
  }
  if stages.config.finetune_encoders:
    params["tuned"] = stages.tuned()
    params["medpatch"] = params["medpatch"]["medpatch"]
  return jax.tree.map(lambda x: np.asarray(x), params)
