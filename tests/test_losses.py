"""Losses as sums, and the weights of stage 3."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax.train import losses


def test_bce_is_a_mean_over_labels_and_a_sum_over_real_rows():
  logits = jnp.array([[0.0, 2.0], [1.0, -1.0], [jnp.nan, 5.0]])
  label = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
  weight = jnp.array([1.0, 1.0, 0.0])
  total, count = losses.bce(logits, label, weight)
  rows = [(np.log(2) + np.log1p(np.exp(2))) / 2]
  rows += [(np.log1p(np.exp(1)) + np.log1p(np.exp(-1))) / 2]
  np.testing.assert_allclose(total, sum(rows), rtol=1e-6)
  assert count == 2


def test_token_bce_counts_real_tokens():
  logits = jnp.array([[[0.0], [2.0]], [[-1.0], [9.0]]])
  mask = jnp.array([[True, True], [True, False]])
  label = jnp.array([[1.0], [0.0]])
  total, count = losses.token_bce(logits, mask, label, jnp.ones(2))
  want = np.log(2) + np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))
  np.testing.assert_allclose(total, want, rtol=1e-6)
  assert count == 3


def test_combine_by_hand():
  terms, s = jnp.array([1.0, 2.0, 4.0]), jnp.array([0.0, np.log(2.0), 0.0])
  np.testing.assert_allclose(losses.combine(terms, s, "learned"), 9 / 4)
  np.testing.assert_allclose(losses.combine(terms, s, "uniform"), 7 / 3)
  want = 1 + 2 / 2 + 4 + np.log(2) / 2
  np.testing.assert_allclose(losses.combine(terms, s, "uncertainty"), want)
  with pytest.raises(ValueError, match="wanted one of learned"):
    losses.combine(terms, s, "fixed")


@pytest.mark.parametrize("kind", losses.KINDS)
def test_rows_of_weight_0_do_not_count(kind):
  rng = np.random.default_rng(0)
  outputs = {
    k: jnp.asarray(rng.normal(size=(4, 2)), jnp.float32)
    for k in ("ehr", *losses.TERMS)
  }
  label = jnp.asarray(rng.integers(0, 2, (4, 2)), jnp.float32)
  scalars = jnp.array([0.3, -0.2, 0.5])

  def loss(scalars, outputs, weight):
    total, count, _ = losses.fused(
      outputs, {"loss_scalars": scalars}, label[: len(weight)], weight, kind
    )
    return total / count

  run = jax.value_and_grad(loss)
  whole = run(scalars, outputs, jnp.array([1.0, 1.0, 0.0, 0.0]))
  cut = run(scalars, {k: v[:2] for k, v in outputs.items()}, jnp.ones(2))
  np.testing.assert_allclose(whole[0], cut[0], rtol=1e-6)
  np.testing.assert_allclose(whole[1], cut[1], atol=1e-7)


def test_late_alone_has_weight_one():
  outputs = {"late": jnp.zeros((3, 1))}
  total, count, _ = losses.fused(
    outputs, {"loss_scalars": jnp.ones(1)}, jnp.ones((3, 1)), jnp.ones(3)
  )
  np.testing.assert_allclose(total / count, np.log(2), rtol=1e-6)
