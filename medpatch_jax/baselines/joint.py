"""Joint fusion: early fusion with the encoders trained along with it.

MedPatch, paper 4.2 (METHOD.md section 9): summaries concatenated, zeros where
absent, LayerNorm, Dense, end to end. Deviation: the released code drops both
notes where it has both; here none is.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding


class Joint(nn.Module):
  """Classifies concatenated summaries, gradients reaching the encoders.

  Dims: B stays, M modalities, E joint width, C labels.

  Attributes:
    modalities, encoders, num_labels, dtype: as in `early.Early`.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"joint": f32[B C]}, {"summary": f32[B M*E], "encoded": ..})."""
    encoding.check(self.modalities, self.encoders, "joint fusion")
    encoded, _ = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    summary = [encoded[m].summary for m in self.modalities]
    summary = jnp.concatenate(summary, axis=-1)
    classify = layers.Classifier(self.num_labels, self.dtype, name="classifier")
    out = {"summary": summary, "encoded": encoded}
    return {"joint": classify(summary)}, out
