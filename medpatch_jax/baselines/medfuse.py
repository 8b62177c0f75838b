"""MedFuse: an LSTM reads the modalities one after the other.

Hayat, Geras and Shamout, MLHC 2022 (arXiv 2207.07027), section 3.2: the
sequence is [v_ehr, phi(v_cxr)] where the film exists and [v_ehr] where it
does not; the last hidden state goes through a Dense. METHOD.md section 9.
Ours takes any modalities: EHR first, then the projected others that exist, in
the order given. Here phi is the encoder's own projection.
"""

from typing import Any

import einops
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding


class MedFuse(nn.Module):
  """Classifies the last state of an LSTM over summaries that exist.

  Dims: B stays, M modalities, E joint width, H hidden width, C labels.

  Attributes:
    modalities, encoders, num_labels, dtype: as in `early.Early`. The MedFuse
      repository's EHR encoder has two LSTM layers.
    hidden: H.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  hidden: int = 512
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"medfuse": f32[B C]}, {"sequence": f32[B M E], ..})."""
    encoding.check(self.modalities, self.encoders, "medfuse")
    encoded, present = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    sequence = einops.rearrange(
      [encoded[m].summary for m in self.modalities], "M B E -> B M E"
    )
    # A masked step leaves the state as it was, which is a shorter sequence.
    exists = jnp.stack([present[m] for m in self.modalities], axis=1)
    lstm = layers.Lstm(self.hidden, self.dtype, name="lstm")
    _, last = lstm(sequence, exists)
    dense = nn.Dense(self.num_labels, dtype=self.dtype, name="dense")
    out = {"sequence": sequence, "encoded": encoded}
    return {"medfuse": dense(last).astype(jnp.float32)}, out
