"""What every baseline begins with: each modality through its encoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from medpatch_jax.schema import Encoded


class Ready(nn.Module):
  """Stands for a frozen encoder whose output the batch holds already.

  Where only summaries were kept, the summary is the one token.

  Dims: B stays, T tokens, D token width, E joint width.

  Attributes:
    released: names of METHOD.md; with absent_tokens, what an encoder made of
      an absent modality counts.
  """

  released: tuple[str, ...] = ()

  @nn.compact
  def __call__(self, fields, present, *, train: bool = False):
    """summary f32[B E], tokens [B T D] and mask bool[B T] or neither."""
    del train
    if "absent_tokens" in self.released:
      present = jnp.ones_like(present)
    summary = jnp.where(present[:, None], fields["summary"], 0.0)
    tokens = fields.get("tokens", summary[:, None])
    mask = fields.get("mask", jnp.ones(tokens.shape[:2], bool))
    mask = mask & present[:, None]
    tokens = jnp.where(mask[:, :, None], tokens.astype(jnp.float32), 0.0)
    return Encoded(tokens=tokens, mask=mask, summary=summary), {}


def check(modalities, encoders, name: str, wanted=None):
  """Refuses encoders that do not fit the modalities.

  Args:
    modalities: names, in the order of the columns of `present`.
    encoders: modality -> encoder.
    name: of the baseline, for the message.
    wanted: the only modalities it is defined for, or None for any.

  Raises:
    ValueError: see above.
  """
  if wanted is not None and tuple(modalities) != tuple(wanted):
    raise ValueError(
      f"{name} is defined for {'-'.join(wanted)}, not for"
      f" {'-'.join(modalities)}. Pass --modalities={','.join(wanted)}."
    )
  if not modalities or set(encoders) != set(modalities):
    raise ValueError(
      f"{name} has encoders for {sorted(encoders)} and is to fuse"
      f" {list(modalities)}."
    )


def encode(
  modalities, encoders, batch, *, train: bool
) -> tuple[dict[str, Encoded], dict[str, jax.Array]]:
  """Encodes every modality of a batch.

  Args:
    modalities: M names, in the order of the columns of `batch.present`.
    encoders: modality -> encoder, `(fields, present, *, train)`.
    batch: `schema.Batch`.
    train: whether dropout is on.

  Returns:
    (modality -> Encoded, modality -> present bool[B]).
  """
  present = {name: batch.present[:, m] for m, name in enumerate(modalities)}
  encoded = {
    name: encoders[name](batch.inputs[name], present[name], train=train)[0]
    for name in modalities
  }
  return encoded, present
