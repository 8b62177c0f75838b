"""Modalities taken away from stays, to see what a model does without them.

Dims: N stays, M modalities, C labels.
"""

import jax
import jax.numpy as jnp
import numpy as np

Rates = dict[str, tuple[float, float]]


def parse(values, modalities, flag: str) -> Rates:
  """Words of a flag -> the share of stays each modality is taken from.

  Args:
    values: `rate` for every modality, `modality=rate` for one, or
      `modality=rate:rate`, the second for stays with a worse outcome than
      most (`drop`); rates in [0, 1], later words replace earlier ones.
    modalities: those that may be named.
    flag: its name, for the message.

  Returns:
    modality -> the two rates; without those that lose nothing.

  Raises:
    ValueError: another form, modality or rate.
  """
  rates = {}
  for value in values or ():
    name, _, numbers = str(value).rpartition("=")
    try:
      both = [float(x) for x in numbers.split(":")]
    except ValueError:
      both = []
    good = len(both) in (1, 2) and all(0 <= rate <= 1 for rate in both)
    if not good or (name and name not in modalities):
      raise ValueError(
        f"--{flag}={value}: wanted a rate in [0, 1], modality=rate or"
        " modality=rate:rate, with a modality of"
        f" {', '.join(modalities)}."
      )
    for m in (name,) if name else modalities:
      rates[m] = (both[0], both[-1])
  return {m: rates[m] for m in modalities if any(rates.get(m, ()))}


def name(rates: Rates) -> str:
  """The rates as one word, as `cxr=0.5,dn=0.1:0.9`."""
  return ",".join(
    f"{m}={a:g}" if a == b else f"{m}={a:g}:{b:g}"
    for m, (a, b) in rates.items()
  )


def drop(present, label, modalities, rates: Rates) -> np.ndarray:
  """Presence without what is taken away.

  Whose modality is taken does not depend on a seed, and who loses it at a
  rate loses it at every higher one, so that models can be compared.

  Args:
    present: bool[N M], rows in the order of the records.
    label: f32[N C] in {0, 1}. Stays with the label, or of several with more
      than the median stay of these rows, take the second rate.
    modalities: M names, the columns.
    rates: of `parse`.

  Returns:
    bool[N M]; a stay may be left with nothing.
  """
  present = np.array(present, bool)
  count = np.nan_to_num(np.asarray(label)).sum(axis=1)
  several = np.shape(label)[1] > 1 and len(count)
  worse = count > (np.median(count) if several else 0)
  for i, m in enumerate(modalities):
    low, high = rates.get(m, (0.0, 0.0))
    # One stream a modality, whatever other modalities there are.
    draw = np.random.default_rng(list(m.encode())).random(len(present))
    present[:, i] &= draw >= np.where(worse, high, low)
  return present


def fraction(subject, share: float) -> np.ndarray:
  """Rows bool[N] of about `share` of the patients; smaller shares nested.

  Args:
    subject: [N] patient of each row.
    share: in (0, 1].
  """
  names, group = np.unique(np.asarray(subject), return_inverse=True)
  return (np.random.default_rng(0).random(len(names)) < share)[group]


def hide(batch, kept, modalities):
  """A batch whose stays have no other modalities than some of their own.

  What a stay has not is zeros and False throughout, which is how loaders fill
  the rows of an absent modality, be it raw input, encodings or pools: hidden
  is absent.

  Args:
    batch: `schema.Batch` or `schema.Pools`, with present bool[B M].
    kept: bool[B M], what is not hidden.
    modalities: M names, the columns; `batch.inputs` may hold fewer.

  Raises:
    ValueError: `batch.inputs` holds a modality that is no column.
  """
  if not set(batch.inputs) <= set(modalities):
    raise ValueError(
      f"inputs of {', '.join(sorted(batch.inputs))}; wanted columns of"
      f" `present` for each, got those of {', '.join(modalities)}."
    )
  present = batch.present & kept
  column = {m: present[:, i] for i, m in enumerate(modalities)}
  inputs = {
    m: jax.tree.map(lambda x, here=column[m]: _rows(x, here), fields)
    for m, fields in batch.inputs.items()
  }
  return batch.replace(inputs=inputs, present=present)


def _rows(x, here):
  """[B ...] with zeros in the rows that are not in here bool[B]."""
  here = here.reshape(-1, *[1] * (x.ndim - 1))
  return jnp.where(here, x, jnp.zeros_like(x))
