"""The late module, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax.late import Late, LogOddsSum


def test_late_ignores_absent_source():
  logits = jnp.array([[[2.0], [4.0], [9.0]]])
  present = jnp.array([[True, True, False]])
  (fused, out), _ = Late().init_with_output(jax.random.key(0), logits, present)
  np.testing.assert_allclose(out["weights"][0, :, 0], [0.5, 0.5, 0.0])
  np.testing.assert_allclose(fused, [[3.0]])


def test_late_never_reads_what_is_absent():
  logits = jnp.array([[[2.0], [jnp.nan]]])
  present = jnp.array([[True, False]])
  params = Late().init(jax.random.key(0), logits, present)

  def loss(params, logits):
    return Late().apply(params, logits, present)[0].sum()

  value, grads = jax.value_and_grad(loss, argnums=(0, 1))(params, logits)
  np.testing.assert_allclose(value, 2.0)
  for leaf in jax.tree.leaves(grads):
    assert np.isfinite(leaf).all()


def test_late_without_any_source_is_zero():
  logits, present = jnp.ones((1, 2, 3)), jnp.zeros((1, 2), bool)
  (fused, out), params = Late().init_with_output(
    jax.random.key(0), logits, present
  )
  assert not fused.any() and not out["weights"].any()
  grad = jax.grad(lambda p: Late().apply(p, logits, present)[0].sum())(params)
  assert np.isfinite(grad["params"]["score"]).all()


def test_late_norm_shrinks_by_the_number_of_labels():
  logits = jnp.ones((1, 2, 25))
  present = jnp.ones((1, 2), bool)
  params = Late().init(jax.random.key(0), logits, present)
  ours, _ = Late().apply(params, logits, present)
  theirs, _ = Late(("late_norm",)).apply(params, logits, present)
  np.testing.assert_allclose(ours, 1.0, rtol=1e-6)
  np.testing.assert_allclose(theirs, 1 / 25, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 300))
def test_weights_sum_to_one_over_present_sources(seed, scale):
  rng = np.random.default_rng(seed)
  B, S, C = 3, 4, 2
  present = rng.random((B, S)) < 0.5
  present[:, 0] = True
  score = jnp.asarray(rng.normal(size=(S, C)) * scale, jnp.float32)
  logits = jnp.asarray(rng.normal(size=(B, S, C)), jnp.float32)
  _, out = Late().apply({"params": {"score": score}}, logits, present)
  weights = np.asarray(out["weights"])
  np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
  np.testing.assert_array_equal(weights[~present], 0)


def test_the_sum_is_bayes_rule_for_independent_sources():
  base, rates = 0.3, np.array([[0.8, 0.2], [0.6, 0.1]])  # P(sign | label).
  odds = lambda p: np.log(p / (1 - p))  # noqa: E731
  signs = np.array([[1, 1], [1, 0], [0, 1]])
  likely = np.where(signs[:, :, None], rates[None], 1 - rates[None])
  joint = likely.prod(axis=1) * [base, 1 - base]
  each = likely * [base, 1 - base]
  logits = np.log(each[:, :, 0] / each[:, :, 1])
  module = LogOddsSum(modalities=2)
  present = jnp.array([[True, True]] * 3 + [[True, False], [False, False]])
  logits = np.concatenate([logits, [[0.4, np.nan], [np.nan, np.nan]]])
  params = {"weight": jnp.ones((2, 1)), "prior": jnp.array([odds(base)])}
  fused, out = module.apply({"params": params}, logits[:, :, None], present)
  want = np.log(joint[:, 0] / joint[:, 1])
  np.testing.assert_allclose(fused[:3, 0], want, rtol=1e-5)
  np.testing.assert_allclose(fused[3:, 0], [0.4, odds(base)], rtol=1e-5)
  np.testing.assert_array_equal(out["weights"][:, :, 0], present)


def test_the_sum_never_reads_what_is_absent():
  module = LogOddsSum(modalities=2)
  logits = jnp.array([[[2.0], [jnp.nan], [0.5]]])
  present = jnp.array([[True, False, True]])
  params = module.init(jax.random.key(0), logits, present)

  def loss(params, logits):
    return module.apply(params, logits, present)[0].sum()

  value, grads = jax.value_and_grad(loss, argnums=(0, 1))(params, logits)
  np.testing.assert_allclose(value, 2.5)  # The last one holds no base rate.
  for leaf in jax.tree.leaves(grads):
    assert np.isfinite(leaf).all()
