"""MeTra: one transformer over the tokens of every modality.

Khader et al., Scientific Reports 2023 (arXiv 2212.09162): a class token,
learned positions, pre-norm transformer (depth 4, heads 4, head width 128, MLP
768, dropout 0.1), LayerNorm and Dense on the class token. METHOD.md section
9. Tokens are projected to the joint width first; the table holds as many
positions as there are tokens (released: 1,000 as soon as there is a note).
The tokens of an absent modality and padding are no keys.

Dims: B stays, T tokens of all modalities, D token width, E joint width, C
labels.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax import layers
from medpatch_jax.baselines import encoding


class MeTra(nn.Module):
  """A transformer over all tokens; the class token is classified.

  Attributes:
    modalities, encoders, num_labels, dtype: as in `early.Early`.
    lengths: modality -> most tokens it may have, for the table of positions;
      those left out have as many as in the first batch.
    width: E.
    unprojected: modalities whose tokens are E wide as they are.
    depth, heads, head_width, mlp, dropout: of the transformer.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  lengths: dict[str, int] | None = None
  width: int = 512
  unprojected: tuple[str, ...] = ("ehr",)
  depth: int = 4
  heads: int = 4
  head_width: int = 128
  mlp: int = 768
  dropout: float = 0.1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"metra": f32[B C]}, {"encoded": ..}).

    Raises:
      ValueError: a modality has more tokens than `lengths` says.
    """
    encoding.check(self.modalities, self.encoders, "metra")
    encoded, _ = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    tokens = [self._project(m, encoded[m]) for m in self.modalities]
    masks = [encoded[m].mask for m in self.modalities]
    B = batch.present.shape[0]
    normal = nn.initializers.normal(1.0)  # As torch.randn in the released code.
    first = self.param("cls", normal, (self.width,))
    first = first + self.param("position_cls", normal, (self.width,))
    first = jnp.broadcast_to(first[None, None], (B, 1, self.width))
    x = jnp.concatenate([first, *tokens], axis=1).astype(self.dtype)
    keys = jnp.concatenate([jnp.ones((B, 1), bool), *masks], axis=1)
    x = layers.Transformer(
      depth=self.depth,
      heads=self.heads,
      head_width=self.head_width,
      mlp=self.mlp,
      dropout=self.dropout,
      first=1,  # The class token: nothing reads the others.
      dtype=self.dtype,
      name="transformer",
    )(x, keys, train=train)
    classify = layers.Classifier(self.num_labels, self.dtype, name="classifier")
    return {"metra": classify(x[:, 0])}, {"encoded": encoded}

  def _project(self, m, encoded):
    """Tokens f32[B T D] -> f32[B T E] with the modality's positions added."""
    x, T = encoded.tokens, encoded.tokens.shape[1]
    if m not in self.unprojected:
      x = nn.Dense(self.width, dtype=self.dtype, name=f"project_{m}")(x)
    longest = (self.lengths or {}).get(m, T)
    if T > longest:
      raise ValueError(
        f"metra: {m} has {T} tokens and positions for {longest}; pass"
        f" lengths={{{m!r}: {T}}} or more."
      )
    normal = nn.initializers.normal(1.0)
    table = self.param(f"position_{m}", normal, (longest, self.width))
    return x.astype(jnp.float32) + table[None, :T]
