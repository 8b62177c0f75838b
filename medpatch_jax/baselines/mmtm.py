"""MMTM: the EHR sequence and the film gate each other's channels.

Joze et al., CVPR 2020 (arXiv 1911.08670), equations 2 to 5, as MedFuse's
repository applies it to EHR and film: both are squeezed by their mean over
tokens, a bottleneck (ratio 4) excites a gate per channel of each, and a
second LSTM reads the gated sequence. METHOD.md section 9. The gates are
plain sigmoids; the paper doubles them. The film's tokens are a ViT's, not a
ResNet's feature map, and one gate follows the encoder, where MedFuse's
repository may put one after every stage; its alignment loss is left out.
Where either is absent nothing is gated and the other's path is all there is.

Dims: B stays, T hours, P film tokens, D EHR width, V film width, C labels.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding
from medpatch_jax.encode import summary


class Gate(nn.Module):
  """The multimodal transfer module.

  Attributes:
    ratio: the bottleneck is 2 (V + D) / ratio wide.
    dtype: of the matrix products.
  """

  ratio: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, film, film_mask, ehr, ehr_mask):
    """Gates film f32[B P V] and ehr f32[B T D] under bool masks [B P], [B T].

    Returns:
      The two gated, as they were where the other has no token.
    """
    V, D = film.shape[-1], ehr.shape[-1]
    squeeze = (summary.mean(film, film_mask), summary.mean(ehr, ehr_mask))
    x = jnp.concatenate(squeeze, axis=-1)
    x = nn.Dense(2 * (V + D) // self.ratio, dtype=self.dtype, name="squeeze")(x)
    x = nn.relu(x)
    gate_film = nn.Dense(V, dtype=self.dtype, name="film")(x)
    gate_ehr = nn.Dense(D, dtype=self.dtype, name="ehr")(x)
    both = (film_mask.any(axis=1) & ehr_mask.any(axis=1))[:, None]
    gate_film, gate_ehr = (
      jnp.where(both, jax.nn.sigmoid(g.astype(jnp.float32)), 1.0)
      for g in (gate_film, gate_ehr)
    )
    return film * gate_film[:, None], ehr * gate_ehr[:, None]


class MMTM(nn.Module):
  """EHR and film, gated; LSTM over the one, mean over the other; Dense.

  Attributes:
    modalities: ("ehr", "cxr").
    encoders, num_labels, dtype: as in `early.Early`.
    ratio: of `Gate`.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  ratio: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"mmtm": f32[B C]}, {"ehr": f32[B D], "film": f32[B V], ..})."""
    encoding.check(self.modalities, self.encoders, "mmtm", ("ehr", "cxr"))
    encoded, _ = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    ehr, film = encoded["ehr"], encoded["cxr"]
    gate = Gate(self.ratio, self.dtype, name="gate")
    film_tokens, ehr_tokens = gate(film.tokens, film.mask, ehr.tokens, ehr.mask)
    lstm = layers.Lstm(ehr.tokens.shape[-1], self.dtype, name="lstm")
    _, state = lstm(ehr_tokens, ehr.mask)
    pooled = summary.mean(film_tokens, film.mask)
    x = jnp.concatenate([state, pooled], axis=-1)
    dense = nn.Dense(self.num_labels, dtype=self.dtype, name="dense")
    out = {"ehr": state, "film": pooled, "encoded": encoded}
    return {"mmtm": dense(x).astype(jnp.float32)}, out
