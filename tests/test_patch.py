"""Pools, by hand and against projecting first."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax import patch


def test_pool_by_hand():
  tokens = jnp.array([[[2.0, 0.0], [4.0, 2.0], [9.0, 9.0], [100.0, 100.0]]])
  mask = jnp.array([[True, True, True, False]])
  # Label 0: tokens 0 and 1 are high, 2 low. Label 1: all low.
  high = jnp.array([[[1, 0], [1, 0], [0, 0], [1, 1]]], bool)
  confidence = jnp.array([[[0.8, 0.5], [1.0, 0.6], [0.5, 0.7], [1.0, 1.0]]])
  got = patch.pool(tokens, mask, high, confidence)
  np.testing.assert_allclose(got["high"], [[[3, 1], [0, 0]]])
  np.testing.assert_allclose(got["low"], [[[9, 9], [5, 11 / 3]]], rtol=1e-6)
  np.testing.assert_array_equal(got["has_high"], [[True, False]])
  np.testing.assert_array_equal(got["has_low"], [[True, True]])
  np.testing.assert_allclose(got["mean_high"], [[0.9, 0.0]], rtol=1e-6)
  np.testing.assert_allclose(got["mean_low"], [[0.5, 0.6]], rtol=1e-6)


def test_pool_of_an_absent_modality_is_zero():
  shape = (1, 4, 2)
  got = patch.pool(
    jnp.ones(shape),
    jnp.zeros((1, 4), bool),
    jnp.ones(shape, bool),
    jnp.ones(shape),
  )
  for value in got.values():
    assert not value.any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pool_then_project_is_project_then_pool(seed):
  rng = np.random.default_rng(seed)
  B, T, D, C, E = 2, 5, 3, 4, 6
  tokens = rng.normal(size=(B, T, D)).astype(np.float32)
  mask = rng.random((B, T)) < 0.8
  high = rng.random((B, T, C)) < 0.5
  kernel, bias = rng.normal(size=(D, E)), rng.normal(size=E)
  got = patch.pool(tokens, mask, high, np.ones((B, T, C), np.float32))
  has, pool = (np.asarray(got[k]) for k in ("has_high", "high"))
  ours = np.where(has[..., None], pool @ kernel + bias, 0)
  # The released formulation: every token projected, then averaged.
  member = (mask[..., None] & high)[..., None].astype(np.float64)
  projected = (tokens @ kernel + bias)[:, :, None]
  theirs = (projected * member).sum(1) / np.maximum(member.sum(1), 1e-9)
  np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_dealt_scores_are_the_same_at_other_tokens_whatever_the_padding():
  score = np.random.default_rng(0).random((2, 9, 3)).astype(np.float32)
  mask = np.arange(9) < np.array([[9], [5]])
  dealt = np.asarray(patch.deal(jnp.asarray(score), jnp.asarray(mask)))
  for i, real in enumerate(mask):
    want, got = score[i][real], dealt[i][real]
    np.testing.assert_array_equal(np.sort(got, axis=0), np.sort(want, axis=0))
    assert (got != want).any()
  short = patch.deal(jnp.asarray(score[1:, :5]), jnp.asarray(mask[1:, :5]))
  np.testing.assert_array_equal(short[0], dealt[1, :5])
