"""DAFT: film and EHR together scale and shift the EHR sequence.

Poelsterl, Wolf and Wachinger, MICCAI 2021 (arXiv 2107.05990), equations 1 and
2, as MedFuse's repository turns it around: there, and here, the film
modulates the EHR sequence (in the paper tabular data modulates a feature
map). Pooled film tokens and mean EHR go through a bottleneck without bias,
ReLU, to a scale and a shift per EHR channel; a second LSTM reads the result.
METHOD.md section 9. The film's tokens are a ViT's, not a ResNet's feature
map. Where the film is absent the sequence passes as it is.

Dims: B stays, T hours, P film tokens, D EHR width, V film width, C labels.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding
from medpatch_jax.encode import summary

ACTIVATIONS = {
  "linear": lambda x: x,
  "sigmoid": jax.nn.sigmoid,
  "tanh": jnp.tanh,
}


class Affine(nn.Module):
  """The dynamic affine feature map transform.

  Attributes:
    bottleneck: hidden width; None takes MedFuse's (16 + V) / 7.
    activation: of the scale, one of `ACTIVATIONS`.
    dtype: of the matrix products.
  """

  bottleneck: int | None = None
  activation: str = "linear"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, film, film_mask, ehr, ehr_mask):
    """Modulates ehr f32[B T D] by film f32[B P V] under bool masks.

    Returns:
      f32[B T D], `ehr` itself where film or EHR have no token.

    Raises:
      ValueError: the activation is unknown.
    """
    if self.activation not in ACTIVATIONS:
      raise ValueError(
        f"activation={self.activation!r}: wanted one of {list(ACTIVATIONS)}."
      )
    V, D = film.shape[-1], ehr.shape[-1]
    hidden = self.bottleneck or (16 + V) // 7
    squeeze = (summary.mean(film, film_mask), summary.mean(ehr, ehr_mask))
    x = jnp.concatenate(squeeze, axis=-1)
    for width, name in ((hidden, "base"), (2 * D, "out")):
      x = nn.Dense(width, use_bias=False, dtype=self.dtype, name=name)(x)
      x = nn.relu(x) if name == "base" else x.astype(jnp.float32)
    scale, shift = jnp.split(x, 2, axis=-1)
    scale = ACTIVATIONS[self.activation](scale)
    both = (film_mask.any(axis=1) & ehr_mask.any(axis=1))[:, None, None]
    return jnp.where(both, scale[:, None] * ehr + shift[:, None], ehr)


class DAFT(nn.Module):
  """EHR modulated by the film, an LSTM over it, Dense.

  Attributes:
    modalities: ("ehr", "cxr").
    encoders, num_labels, dtype: as in `early.Early`.
    bottleneck, activation: of `Affine`.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  bottleneck: int | None = None
  activation: str = "linear"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"daft": f32[B C]}, {"tokens": f32[B T D], "encoded": ..})."""
    encoding.check(self.modalities, self.encoders, "daft", ("ehr", "cxr"))
    encoded, _ = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    ehr, film = encoded["ehr"], encoded["cxr"]
    affine = Affine(self.bottleneck, self.activation, self.dtype, name="affine")
    tokens = affine(film.tokens, film.mask, ehr.tokens, ehr.mask)
    lstm = layers.Lstm(ehr.tokens.shape[-1], self.dtype, name="lstm")
    _, state = lstm(tokens, ehr.mask)
    dense = nn.Dense(self.num_labels, dtype=self.dtype, name="dense")
    out = {"tokens": tokens, "encoded": encoded}
    return {"daft": dense(state).astype(jnp.float32)}, out
