"""How fast an exported model predicts: `benchmark --what=predict`.

The whole forward pass (four encoders, confidence, pools, fusion) on random
parameters and inputs, 48 hours, one window of each note: one stay at a time,
and a batch. Where the extra torch is installed, the same encoders stand beside
it as PyTorch eager has them (nn.LSTM, timm's ViT, transformers' BERT), without
anything after them.
"""

import os

import jax
import numpy as np

from experiments.bench import clock
from medpatch_jax import presets, schema
from medpatch_jax.export import programs
from medpatch_jax.input.variables import columns
from medpatch_jax.pipeline import Architecture

HOURS, LABELS = 48, 25


def run(names, batch: int, steps: int) -> None:
  """Prints a line for each preset.

  Args:
    names: of presets.
    batch: stays of a batch.
    steps: timed repeats; the median counts.
  """
  print(
    f"{os.cpu_count()} cores, {jax.devices()[0]}, load"
    f" {os.getloadavg()[0]:.1f}; ms for one stay, stays a second in batches of"
    f" {batch}"
  )
  for name in names:
    for title, made in (("ours", _ours), ("torch", _torch)):
      call = made(presets.PRESETS[name])
      if call is None:
        print(f"{name:5} {title:6} not installed: pip install -e '.[torch]'")
        continue
      one = clock.median(call(1), steps)
      many = clock.median(call(batch), steps)
      what = "whole model" if title == "ours" else "encoders alone"
      print(
        f"{name:5} {title:6} {1e3 * one:9.1f} ms {batch / many:9.1f}/s"
        f"  {what}, load {os.getloadavg()[0]:.1f}",
        flush=True,
      )


def architecture(sizes: presets.Preset) -> Architecture:
  """MedPatch on MIMIC's modalities at a preset's size."""
  text = {"name": "bert", **sizes.text, "pad": 0, "cls": 2, "sep": 3}
  text |= {"vocab_size": sizes.vocab_size, "positions": sizes.window}
  return Architecture(
    kinds=dict(schema.KINDS),
    labels=tuple(map(str, range(LABELS))),
    width=sizes.width,
    encoders={
      "ehr": {"name": "lstm"},
      "cxr": {"name": "vit", "image_size": sizes.image_size, **sizes.cxr},
      "rr": text,
      "dn": text,
    },
    thresholds=dict.fromkeys(schema.KINDS, 0.75),
  )


def _inputs(sizes, size):
  """Random inputs by flat name, all present."""
  rng = np.random.default_rng(0)
  shapes = sizes.shapes({"ehr": len(columns())})
  out = {}
  for name, x in programs.like(schema.KINDS, shapes, HOURS, size, 1).items():
    if x.dtype == bool:
      out[name] = np.ones(x.shape, bool)
    elif x.dtype == np.float32:
      out[name] = rng.standard_normal(x.shape, np.float32)
    else:
      out[name] = rng.integers(0, 256, x.shape).astype(x.dtype)
  return out


def _ours(sizes):
  whole = architecture(sizes)
  fields = {m: {} for m in whole.kinds}
  for name, x in (inputs := _inputs(sizes, 1)).items():
    if name != "present":
      m, field = name.split(".")
      fields[m][field] = x
  one = np.ones((1,), np.float32)
  batch = schema.Batch(fields, inputs["present"], one[None], one)
  shapes = jax.eval_shape(whole.init, jax.random.key(0), batch)
  rng = np.random.default_rng(0)
  params = jax.device_put(
    jax.tree.map(
      lambda x: 0.02 * rng.standard_normal(x.shape, np.float32), shapes
    )
  )
  predict = jax.jit(programs.function(whole, "late"))

  def call(size):
    inputs = jax.device_put(_inputs(sizes, size))
    return lambda: jax.block_until_ready(predict(params, inputs))

  return call


def _torch(sizes):
  """The encoders in PyTorch eager, None where it is not installed."""
  try:
    import timm
    import torch
    import transformers
  except ImportError:
    return None
  own, text = sizes.cxr, sizes.text
  vit = timm.models.VisionTransformer(
    img_size=sizes.image_size,
    patch_size=own["patch"],
    embed_dim=own["width"],
    depth=own["depth"],
    num_heads=own["heads"],
    mlp_ratio=own["mlp"] / own["width"],
    num_classes=0,
  ).eval()
  config = transformers.BertConfig(
    vocab_size=sizes.vocab_size,
    hidden_size=text["width"],
    num_hidden_layers=text["depth"],
    num_attention_heads=text["heads"],
    intermediate_size=text["mlp"],
    max_position_embeddings=sizes.window,
  )
  bert = transformers.BertModel(config, add_pooling_layer=False).eval()
  lstm = torch.nn.LSTM(len(columns()), sizes.width, batch_first=True).eval()

  def call(size):
    x = {k: torch.from_numpy(v) for k, v in _inputs(sizes, size).items()}
    film = x["cxr.image"][:, None].expand(-1, 3, -1, -1).float() / 255

    @torch.inference_mode()
    def encode():
      lstm(x["ehr.x"])
      vit.forward_features(film)
      for m in ("rr", "dn"):
        bert(x[f"{m}.piece"][:, 0], x[f"{m}.mask"][:, 0].long())

    return encode

  return call
