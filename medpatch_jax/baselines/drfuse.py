"""DrFuse: what modalities share and what each has alone, weighed per label.

Yao et al., AAAI 2024 (arXiv 2403.06197). Each modality has a shared and a
distinct representation; the shared ones are pulled together (their equation
for the Jensen-Shannon divergence) and averaged over the modalities that
exist; distinct ones are pushed off the shared; attention with a key per
label mixes distinct and averaged shared representations, ranked by which of
them predicts the label better. METHOD.md section 9.

Deviations. Any number of modalities, not EHR and film; the two
representations are two-layer branches on the encoder's summary, where the
paper doubles the upper half of each encoder. The divergence is that of
Bernoulli variables, both outcomes counted, divided by their number; the
repository's leaves one outcome out. The ranking loss is a mean over pairs,
not over pairs that are ranked wrongly. All lambdas are 1, as theirs.

Dims: B stays, M modalities, S sources (modalities, then shared), E joint
width, C labels.
"""

from typing import Any

import einops
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from medpatch_jax.baselines import encoding


def average(shared, present):
  """Logit of the mean over present modalities of sigmoid(shared).

  The mixture from which the divergence of each is measured.

  Args:
    shared: f32[B M E], logits of Bernoulli variables.
    present: bool[B M].

  Returns:
    f32[B E], zeros where nothing is present.
  """
  weight = present[:, :, None]
  some = present.any(axis=1)[:, None]

  def log_mean(x):  # Up to the count, which is the same for both outcomes.
    x = jnp.where(weight, jax.nn.log_sigmoid(x), -1e30)
    return jax.nn.logsumexp(x, axis=1)

  return jnp.where(some, log_mean(shared) - log_mean(-shared), 0.0)


def divergence(shared, mixed, present):
  """Jensen-Shannon divergence f32[B] of shared f32[B M E] from mixed f32[B E].

  A mean over present modalities and over E, in nats; 0 with fewer than two.
  """
  p = jax.nn.sigmoid(shared)
  mixed = mixed[:, None]
  kl = p * (jax.nn.log_sigmoid(shared) - jax.nn.log_sigmoid(mixed))
  kl += (1 - p) * (jax.nn.log_sigmoid(-shared) - jax.nn.log_sigmoid(-mixed))
  total = jnp.where(present, kl.mean(axis=2), 0.0).sum(axis=1)
  count = present.sum(axis=1)
  return jnp.where(count > 1, total / jnp.maximum(count, 1), 0.0)


def overlap(shared, distinct, present):
  """Mean over present modalities of |cosine|: f32[B M E] twice -> f32[B]."""
  dot = (shared * distinct).sum(axis=2)
  # Inside the roots, so that zeros have a gradient.
  norms = jnp.sqrt(jnp.square(shared).sum(axis=2) + 1e-12)
  norms *= jnp.sqrt(jnp.square(distinct).sum(axis=2) + 1e-12)
  cosine = jnp.where(present, jnp.abs(dot / norms), 0.0)
  return cosine.sum(axis=1) / jnp.maximum(present.sum(axis=1), 1)


def ranking(weight, losses, exists):
  """How far attention prefers sources that predict worse.

  Args:
    weight: f32[B C S], attention.
    losses: f32[B S C], each source's own; no gradient flows through them.
    exists: bool[B S].

  Returns:
    f32[B], mean over labels and pairs of sources of max(0, weight of the
    worse - weight of the better).
  """
  losses = jax.lax.stop_gradient(einops.rearrange(losses, "B S C -> B C S"))
  worse = losses[..., :, None] > losses[..., None, :]
  excess = nn.relu(weight[..., :, None] - weight[..., None, :])
  pair = exists[:, None, :, None] & exists[:, None, None, :]
  excess = jnp.where(worse & pair, excess, 0.0).sum(axis=(2, 3)).mean(axis=1)
  count = exists.sum(axis=1)
  return excess / jnp.maximum(count * (count - 1) / 2, 1)


class Branch(nn.Module):
  """Two Dense layers with a ReLU between.

  Attributes:
    width: E.
    dtype: of the matrix products.
  """

  width: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x):
    """x f32[B D] -> f32[B E]."""
    x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="in")(x))
    x = nn.Dense(self.width, dtype=self.dtype, name="out")(x)
    return x.astype(jnp.float32)


class DrFuse(nn.Module):
  """Shared and distinct representations, mixed by attention per label.

  Attributes:
    modalities, encoders, num_labels, dtype: as in `early.Early`.
    width: E, of the representations.
  """

  modalities: tuple[str, ...]
  encoders: dict[str, nn.Module]
  num_labels: int
  width: int = 256
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """Predicts from a `schema.Batch`.

    Returns:
      ({"drfuse": logits f32[B C]}, out). `out["losses"]` holds f32[B] terms
      to be added to the loss: "sources" (cross-entropy of each source alone),
      "shared" and "distinct" (disentangling), "ranking"; `out["weights"]`
      f32[B C S] is the attention, 0 where absent.
    """
    encoding.check(self.modalities, self.encoders, "drfuse")
    encoded, present = encoding.encode(
      self.modalities, self.encoders, batch, train=train
    )
    present = jnp.stack([present[m] for m in self.modalities], axis=1)
    align = Branch(self.width, self.dtype, name="align")
    shared, distinct = [], []
    for m in self.modalities:
      x = encoded[m].summary
      own = Branch(self.width, self.dtype, name=f"shared_{m}")
      shared.append(align(own(x)))
      apart = Branch(self.width, self.dtype, name=f"distinct_{m}")
      distinct.append(apart(x))
    shared, distinct = (
      einops.rearrange(x, "M B E -> B M E") for x in (shared, distinct)
    )
    mixed = average(shared, present)
    sources = jnp.concatenate([distinct, mixed[:, None]], axis=1)
    exists = jnp.concatenate(
      [present, present.any(axis=1, keepdims=True)], axis=1
    )
    logits, weights = self._attend(sources, exists)
    alone = self._alone(sources)
    label = jnp.broadcast_to(batch.label[:, None], alone.shape)
    wrong = optax.sigmoid_binary_cross_entropy(alone, label)
    each = jnp.where(exists, wrong.mean(axis=2), 0.0)
    losses = {
      "sources": each.sum(axis=1),
      "shared": divergence(shared, mixed, present),
      "distinct": overlap(shared, distinct, present),
      "ranking": ranking(weights, wrong, exists),
    }
    out = {"losses": losses, "weights": weights, "encoded": encoded}
    return {"drfuse": logits}, out

  def _alone(self, sources):
    """Each source's own prediction: f32[B S E] -> f32[B S C]."""
    names = (*self.modalities, "shared")
    logits = [
      nn.Dense(self.num_labels, dtype=self.dtype, name=f"predict_{name}")(
        sources[:, s]
      ).astype(jnp.float32)
      for s, name in enumerate(names)
    ]
    return einops.rearrange(logits, "S B C -> B S C")

  def _attend(self, sources, exists):
    """sources f32[B S E] where exists bool[B S] -> logits and weights."""
    E, C = self.width, self.num_labels
    x = nn.Dense((2 + C) * E, dtype=self.dtype, name="attention")(sources)
    x = einops.rearrange(x, "B S (K E) -> K B S E", E=E)
    query, value, key = x[0], x[1], x[2:]
    real = exists[:, :, None]
    count = jnp.maximum(exists.sum(axis=1, keepdims=True), 1)
    query = jnp.where(real, query, 0.0).sum(axis=1) / count.astype(x.dtype)
    score = jnp.einsum("BE,CBSE->BCS", query, key).astype(jnp.float32)
    score = jnp.where(exists[:, None], score * E**-0.5, -1e30)
    weights = jax.nn.softmax(score, axis=-1)
    weights = jnp.where(exists[:, None], weights, 0.0)
    mixed = jnp.einsum("BCS,BSE->BCE", weights, value.astype(jnp.float32))
    kernel = self.param("predict", nn.initializers.lecun_normal(), (E, C))
    bias = self.param("predict_bias", nn.initializers.zeros, (C,))
    logits = jnp.einsum("BCE,EC->BC", mixed, kernel) + bias[None]
    return logits, weights
