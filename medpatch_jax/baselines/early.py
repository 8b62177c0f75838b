"""Early fusion: the frozen encoders' summaries side by side.

The simplest baseline of MedPatch (paper 4.2; METHOD.md section 9): summaries
concatenated, zeros where absent, LayerNorm, Dense. Deviation: the released
code drops both notes where it has both; here none is.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding


class Early(nn.Module):
  """Classifies concatenated summaries; nothing flows back into encoders.

  Dims: B stays, M modalities, E joint width, C labels.

  Attributes:
    modalities: M names, in the order of the columns of `present`.
    encoders: modality -> encoder. Whether an absent one's summary is zero is
      theirs (absent_tokens).
    num_labels: C.
    dtype: of the matrix products.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"early": f32[B C]}, {"summary": f32[B M*E], "encoded": ..})."""
    encoding.check(self.modalities, self.encoders, "early fusion")
    encoded, _ = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    summary = [encoded[m].summary for m in self.modalities]
    summary = jax.lax.stop_gradient(jnp.concatenate(summary, axis=-1))
    classify = layers.Classifier(self.num_labels, self.dtype, name="classifier")
    out = {"summary": summary, "encoded": encoded}
    return {"early": classify(summary)}, out
