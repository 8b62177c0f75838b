"""Late fusion: the mean of the unimodal logits that exist.

MedPatch, paper 4.2 (METHOD.md section 9). It can be trained as it is or
assembled from stage 1's encoders and classifiers without training.
"""

from typing import Any

import einops
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding


class LateMean(nn.Module):
  """Averages one classifier per modality over the modalities present.

  Dims: B stays, M modalities, C labels.

  Attributes:
    modalities, encoders, num_labels, dtype: as in `early.Early`.
    released: names of METHOD.md; with absent_tokens all modalities count.
    classifier_norm: `norm` of stage 1's classifiers.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  released: tuple[str, ...] = ()
  dtype: Any = jnp.float32
  classifier_norm: bool = True

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"late": f32[B C]}, {"unimodal": f32[B M C], ..}).

    A stay without any modality gets logits of 0.
    """
    encoding.check(self.modalities, self.encoders, "late fusion")
    encoded, present = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    logits = [
      layers.Classifier(
        self.num_labels,
        self.dtype,
        self.classifier_norm,
        name=f"classifier_{m}",
      )(encoded[m].summary)
      for m in self.modalities
    ]
    logits = einops.rearrange(logits, "M B C -> B M C")
    exists = jnp.stack([present[m] for m in self.modalities], axis=1)
    if "absent_tokens" in self.released:
      exists = jnp.ones_like(exists)
    total = jnp.where(exists[:, :, None], logits, 0.0).sum(axis=1)
    count = jnp.maximum(exists.sum(axis=1, keepdims=True), 1)
    return {"late": total / count}, {"unimodal": logits, "encoded": encoded}
