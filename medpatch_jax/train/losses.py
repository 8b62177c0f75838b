"""Losses as sums and counts, so that devices can add them up.

Dims: B rows, T tokens, C labels, K terms.
"""

import jax
import jax.numpy as jnp
import optax

KINDS = ("learned", "uniform", "uncertainty")
# The terms of stage 3, in the order of the released code's scalars.
TERMS = ("high", "low", "late")


def bce(logits, label, weight):
  """Cross-entropy, mean over labels and sum over real rows.

  Args:
    logits: f32[B C].
    label: f32[B C].
    weight: f32[B], 0 for rows that are padding.

  Returns:
    (total f32[], count f32[]); the loss is total / count.
  """
  loss = optax.sigmoid_binary_cross_entropy(logits, label).mean(axis=1)
  return jnp.where(weight > 0, weight * loss, 0.0).sum(), weight.sum()


def softmax(logits, label, weight):
  """As `bce` where exactly one label of a row is true."""
  loss = optax.softmax_cross_entropy(logits, label)
  return jnp.where(weight > 0, weight * loss, 0.0).sum(), weight.sum()


def token_bce(logits, mask, label, weight):
  """Cross-entropy of every real token against the stay's own labels.

  Args:
    logits: f32[B T C].
    mask: bool[B T].
    label: f32[B C].
    weight: f32[B].

  Returns:
    (total f32[] over real tokens of the mean over labels, count f32[]).
  """
  label = jnp.broadcast_to(label[:, None], logits.shape)
  loss = optax.sigmoid_binary_cross_entropy(logits, label).mean(axis=2)
  real = jnp.where(mask, weight[:, None], 0.0)
  return jnp.where(real > 0, real * loss, 0.0).sum(), real.sum()


def combine(losses, scalars, kind: str):
  """One loss from the terms of stage 3 (METHOD.md section 7).

  Args:
    losses: f32[K].
    scalars: f32[K], learned with the model; `uniform` leaves them alone.
    kind: learned (weights are the softmax of the scalars, as published),
      uniform (1 / K each), or uncertainty (scalars are log variances: sum of
      exp(-s) loss + s / 2; Kendall et al. 2018, equation 10).

  Returns:
    f32[].

  Raises:
    ValueError: an unknown kind.
  """
  if kind == "learned":
    # Relative to their mean, or the scalars' gradient, b (loss - mean loss),
    # is lost in rounding where the losses are alike.
    base = jax.lax.stop_gradient(losses.mean())
    return base + (jax.nn.softmax(scalars) * (losses - base)).sum()
  if kind == "uniform":
    return losses.mean()
  if kind == "uncertainty":
    return (jnp.exp(-scalars) * losses + scalars / 2).sum()
  raise ValueError(f"loss_weights={kind!r}: wanted one of {', '.join(KINDS)}.")


def fused(outputs, out, label, weight, kind: str = "learned", each=bce):
  """The loss of stage 3: over high, low and late, or late alone.

  Args:
    outputs, out: of `MedPatch`.
    label: f32[B C].
    weight: f32[B].
    kind: of `combine`.
    each: `bce`, or `softmax`.

  Returns:
    (total f32[], count f32[], {term: total f32[]}).
  """
  terms = [k for k in TERMS if k in outputs]
  totals = {k: each(outputs[k], label, weight)[0] for k in terms}
  count = weight.sum()
  # Linear in the totals but for the constant of `uncertainty`, which counts
  # once a row.
  rows = jnp.maximum(count, 1.0)
  losses = jnp.stack([totals[k] / rows for k in terms])
  total = combine(losses, out["loss_scalars"], kind) * rows
  return jnp.where(count > 0, total, 0.0), count, totals
