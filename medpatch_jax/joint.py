"""Pools of one cluster -> a prediction (METHOD.md section 4, paper 3.3).

Dims: B stays, M modalities, C labels, D token width, E joint width.
"""

from typing import Any

import einops
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers

FUSERS = ("concat", "bilinear", "lstm", "transformer")
RANK = 16  # Of the bilinear fuser.


class Joint(nn.Module):
  """Projects the pools of every modality and fuses them.

  MedPatch has two, one for the high and one for the low clusters.

  Attributes:
    modalities: M names; their order is that of the input of the fuser, since
      a dict comes out of jit with its keys sorted.
    num_labels: C.
    width: E.
    fuser: concat (LayerNorm and Dense on everything), bilinear (also on
      products of any two modalities), or over the M C pooled vectors, in
      ascending order of their mean confidence, an lstm (last state) or a
      transformer (mean).
    unprojected: modalities whose tokens are E wide as they are.
    dtype: of the matrix products.
  """

  modalities: tuple[str, ...]
  num_labels: int
  width: int = 512
  fuser: str = "concat"
  unprojected: tuple[str, ...] = ("ehr",)
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, pools, has, confidence):
    """Predicts from the pools of all modalities.

    Args:
      pools: {modality: f32[B C D]}.
      has: {modality: bool[B C]}, whether the cluster holds a token; if not,
        its vector is zero, without the projection's bias.
      confidence: {modality: f32[B C]}, mean of the cluster.

    Returns:
      (logits f32[B C], {"projected": f32[B M C E]}).

    Raises:
      ValueError: an unknown fuser, or a width it cannot take.
    """
    projected = jnp.stack(
      [self._project(m, pools[m], has[m]) for m in self.modalities], axis=1
    )
    x = einops.rearrange(projected, "B M C E -> B (M C) E")
    order = jnp.concatenate([confidence[m] for m in self.modalities], axis=1)
    if self.fuser == "bilinear":
      x = self._bilinear(projected)
    else:
      x = self._fuse(x, order)
    logits = layers.Classifier(self.num_labels, self.dtype, name="classifier")(
      x
    )
    return logits, {"projected": projected}

  def _project(self, modality, pool, has):
    if modality in self.unprojected:
      if pool.shape[-1] != self.width:
        raise ValueError(
          f"encoder {modality!r} has tokens of width {pool.shape[-1]}, the"
          f" joint module takes {self.width}: make both the same."
        )
    else:
      project = nn.Dense(
        self.width, dtype=self.dtype, name=f"project_{modality}"
      )
      pool = project(pool)
    return jnp.where(has[:, :, None], pool, 0.0)

  def _bilinear(self, x):
    """x [B M C E] -> [B N]: concat, and products of what any two show.

    Low-rank bilinear pooling (Kim et al., *Hadamard product for low-rank
    bilinear pooling*, ICLR 2017), label by label: what a modality shows may
    mean one thing or another by what a second one shows, which no sum of the
    two can express. A product with an absent modality is zero.
    """
    factors = [
      nn.Dense(RANK, use_bias=False, dtype=self.dtype, name=f"factor_{m}")(
        x[:, i]
      )
      for i, m in enumerate(self.modalities)
    ]
    factors = jnp.stack(factors, axis=1)
    first, second = jnp.triu_indices(len(self.modalities), 1)
    products = factors[:, first] * factors[:, second]
    parts = [einops.rearrange(p, "B ... -> B (...)") for p in (x, products)]
    return jnp.concatenate(parts, axis=1)

  def _fuse(self, x, confidence):
    """x [B N E], confidence f32[B N] -> [B N*E] or [B E]."""
    if self.fuser == "concat":
      return einops.rearrange(x, "B N E -> B (N E)")
    if self.fuser not in FUSERS:
      raise ValueError(
        f"fuser={self.fuser!r}: wanted one of {', '.join(FUSERS)}."
      )
    order = jnp.argsort(confidence, axis=1)
    x = jnp.take_along_axis(x, order[:, :, None], axis=1)
    if self.fuser == "lstm":
      real = jnp.ones(x.shape[:2], bool)
      return layers.Lstm(self.width, self.dtype, name="lstm")(x, real)[1]
    if self.width % 8:
      raise ValueError(
        f"fuser=transformer has 8 heads, which do not divide width={self.width}."
      )
    x = layers.Transformer(
      depth=1,
      heads=8,
      head_width=self.width // 8,
      mlp=2 * self.width,
      dtype=self.dtype,
      name="transformer",
    )(x)
    return x.mean(axis=1)
