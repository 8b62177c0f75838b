"""Tests of differences: against direct formulas, by hand, and their level."""

import numpy as np
import pytest

from medpatch_jax.evaluate import bootstrap, metrics, significance


def stays(seed, n=150, gain=0.5):
  rng = np.random.default_rng(seed)
  label = (rng.random((n, 1)) < 0.4).astype(np.float64)
  first = rng.normal(size=(n, 1)) + label * (1 + gain)
  second = rng.normal(size=(n, 1)) + label
  return first, second, label


def direct_delong(first, second, label):
  """The definition, pair by pair: variance of the difference."""
  components = []
  for score in (first[:, 0], second[:, 0]):
    pos, neg = score[label[:, 0] == 1], score[label[:, 0] == 0]
    won = (pos[:, None] > neg[None]) + 0.5 * (pos[:, None] == neg[None])
    components.append((won.mean(axis=1), won.mean(axis=0)))
  (a_pos, a_neg), (b_pos, b_neg) = components
  pos, neg = a_pos - b_pos, a_neg - b_neg
  variance = pos.var(ddof=1) / len(pos) + neg.var(ddof=1) / len(neg)
  return pos.mean(), np.sqrt(variance)


@pytest.mark.parametrize("decimals", [0, 8])
def test_delong_equals_its_definition(decimals):
  first, second, label = stays(0)
  first, second = np.round(first, decimals), np.round(second, decimals)
  found = significance.delong(first, second, label)
  value, spread = direct_delong(first, second, label)
  np.testing.assert_allclose(found.value, value)
  np.testing.assert_allclose(found.high - found.value, 1.959964 * spread)
  gap = metrics.auroc(first, label) - metrics.auroc(second, label)
  np.testing.assert_allclose(found.value, gap)


def test_delong_of_repeated_stays_learns_nothing_from_them():
  """Every stay twice, of one patient each: the interval does not shrink."""
  first, second, label = stays(1)
  once = significance.delong(first, second, label)
  twice = [np.repeat(a, 2, axis=0) for a in (first, second, label)]
  subject = np.repeat(np.arange(len(label)), 2)
  clustered = significance.delong(*twice, subject)
  np.testing.assert_allclose(clustered.p, once.p)
  np.testing.assert_allclose(clustered.low, once.low)
  assert significance.delong(*twice).p[0] < once.p[0]


def test_delong_of_the_same_order_is_no_difference():
  first, _, label = stays(2)
  found = significance.delong(first, first * 2 + 1, label)
  np.testing.assert_array_equal([found.value[0], found.p[0]], [0, 1])


def test_delong_undefined():
  found = significance.delong(np.ones((3, 1)), np.ones((3, 1)), np.ones((3, 1)))
  assert np.isnan([found.value, found.low, found.high, found.p]).all()


def test_a_perfect_model_against_a_constant_one_has_no_p():
  """Nothing varies, so the closed form knows no spread; not p = 0."""
  label = np.array([[0.0], [0], [1], [1]])
  found = significance.delong(label, np.zeros_like(label), label)
  np.testing.assert_array_equal([found.value[0], found.p[0]], [0.5, np.nan])


def test_delong_of_a_mean():
  first, second, label = stays(4, n=400, gain=0.2)
  subject = np.arange(400) // 2
  single = significance.delong(first, second, label, subject)
  mean = significance.delong_mean(first, second, label, subject)
  for name in ("value", "low", "high", "p"):
    np.testing.assert_allclose(getattr(mean, name), getattr(single, name))
  # A copy of the label, and one without both classes, bring nothing new.
  three = [
    np.concatenate([x, x, 0 * x], axis=1) for x in (first, second, label)
  ]
  again = significance.delong_mean(*three, subject)
  np.testing.assert_allclose(again.p, single.p)
  nothing = significance.delong_mean(first, second, 0 * label)
  assert np.isnan(nothing.p).all() and nothing.p.shape == (1,)


def test_delong_of_a_mean_agrees_with_the_bootstrap():
  """Labels that move together, stays that cluster, two unlike models."""
  rng = np.random.default_rng(5)
  subject = np.repeat(np.arange(300), 2)
  shared = rng.normal(size=(300, 1))[subject]
  label = (rng.normal(size=(600, 4)) + shared > 0.8).astype(float)
  first = label + rng.normal(size=label.shape) + shared
  second = label + rng.normal(size=label.shape) - 0.5 * shared
  counts = bootstrap.draw(subject, 1000)
  under = [
    bootstrap.resample(x, label, counts).mean().auroc[:, 0]
    for x in (first, second)
  ]
  low, high = bootstrap.interval(under[0] - under[1])
  found = significance.delong_mean(first, second, label, subject)
  np.testing.assert_allclose(found.low, low, atol=0.006)
  np.testing.assert_allclose(found.high, high, atol=0.006)


def test_bootstrap_and_delong_agree():
  first, second, label = stays(3, n=600, gain=0.2)
  counts = bootstrap.draw(np.arange(len(label)), 1000)
  under = [bootstrap.resample(x, label, counts).auroc for x in (first, second)]
  value = metrics.auroc(first, label) - metrics.auroc(second, label)
  paired = significance.difference(value, *under)
  closed = significance.delong(first, second, label)
  np.testing.assert_allclose(paired.low, closed.low, atol=0.01)
  np.testing.assert_allclose(paired.high, closed.high, atol=0.01)
  np.testing.assert_allclose(paired.p, closed.p, atol=0.03)


def test_difference_by_hand():
  first = np.array([[0.9], [0.8], [0.7], [np.nan]])
  second = np.array([[0.5], [0.9], [0.6], [0.5]])
  # Of three defined differences .4 -.1 .1 one is on the rarer side.
  found = significance.difference(np.array([0.2]), first, second)
  np.testing.assert_allclose(found.p, [2 * 2 / 4])
  nothing = significance.difference(np.array([0.0]), first, first)
  np.testing.assert_allclose(nothing.p, [1.0])


def test_no_difference_is_seldom_significant():
  p = np.concatenate(
    [significance.delong(*stays(seed, gain=0)).p for seed in range(200)]
  )
  assert 1 <= (p < 0.05).sum() <= 22


def test_holm_by_hand():
  # Sorted .01 .03 .04 times 3 2 1: .03 .06 .04, never falling: .06.
  adjusted = significance.holm(np.array([0.04, np.nan, 0.01, 0.03]))
  np.testing.assert_allclose(adjusted, [0.06, np.nan, 0.03, 0.06])
  np.testing.assert_allclose(significance.holm(np.array([0.9, 0.8])), [1, 1])
