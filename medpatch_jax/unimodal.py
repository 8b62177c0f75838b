"""Stage 1: one modality alone (METHOD.md section 2)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.layers import Classifier


class Unimodal(nn.Module):
  """An encoder and a classifier on its summary.

  Dims: B stays, M modalities, C labels.

  Attributes:
    encoder: a module of encode/.
    num_labels: C.
    modality: the one it reads.
    modalities: M names, in the order of the columns of `batch.present`.
    dtype: of the classifier.
    norm: of the classifier, whether a LayerNorm comes before its Dense.
  """

  encoder: nn.Module
  num_labels: int
  modality: str
  modalities: tuple[str, ...]
  dtype: Any = jnp.float32
  norm: bool = True

  @nn.compact
  def __call__(self, batch, *, train: bool = False):
    """Predicts from a `schema.Batch`.

    Returns:
      ({modality: logits f32[B C]}, {"encoded": schema.Encoded, and what the
      encoder adds}).
    """
    column = self.modalities.index(self.modality)
    encoded, out = self.encoder(
      batch.inputs[self.modality], batch.present[:, column], train=train
    )
    classifier = Classifier(
      self.num_labels, self.dtype, self.norm, name="classifier"
    )
    logits = classifier(encoded.summary)
    return {self.modality: logits}, {"encoded": encoded, **out}
