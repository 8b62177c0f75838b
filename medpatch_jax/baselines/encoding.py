"""What every baseline begins with: each modality through its encoder."""

import jax

from medpatch_jax.schema import Encoded


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
