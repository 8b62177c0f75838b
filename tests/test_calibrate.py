"""Confidence, entropy, calibration error and fitted temperatures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax import calibrate
from medpatch_jax.calibrate import Temperature


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4, width=32))
def test_confidence_and_entropy_are_in_range(logit):
  sure = float(calibrate.confidence(jnp.float32(logit)))
  bits = float(calibrate.entropy(jnp.float32(logit)))
  assert 0.5 <= sure <= 1.0
  assert 0.0 <= bits <= 1.0


def test_confidence_and_entropy_by_hand():
  logit = jnp.log(jnp.array([3.0, 1.0, 1 / 3]))  # p is 0.75, 0.5, 0.25.
  np.testing.assert_allclose(
    calibrate.confidence(logit), [0.75, 0.5, 0.75], rtol=1e-6
  )
  np.testing.assert_allclose(
    calibrate.entropy(logit), [0.811278, 1.0, 0.811278], rtol=1e-5
  )


def test_positions_beyond_the_table_take_the_label():
  temperature = Temperature(
    position=jnp.array([[2.0, 4.0]]), label=jnp.array([5.0, 10.0])
  )
  got = calibrate.apply(jnp.full((1, 3, 2), 20.0), temperature)
  np.testing.assert_allclose(got, [[[10, 5], [4, 2], [4, 2]]])
  # A table longer than the stay.
  got = calibrate.apply(
    jnp.ones((1, 1, 2)), Temperature(jnp.full((9, 2), 2.0), jnp.ones(2))
  )
  np.testing.assert_allclose(got, 0.5)


def test_error_by_hand():
  # Confidences 0.9 (right) and 0.7 (wrong) in bins of their own.
  probability = np.float32([[0.9], [0.3], [0.99]])
  label = np.float32([[1], [1], [0]])
  mask = np.array([True, True, False])
  sums = calibrate.bin_sums(probability, label, mask)
  np.testing.assert_allclose(
    calibrate.error(sums), [(0.1 + 0.7) / 2], rtol=1e-6
  )


def cohort(seed=0, N=300, T=4, C=2, factor=3.0):
  """Tokens whose logits are `factor` times too large."""
  rng = np.random.default_rng(seed)
  true = rng.normal(size=(N, C))
  label = (rng.random((N, C)) < 1 / (1 + np.exp(-true))).astype(np.float32)
  logits = np.broadcast_to(factor * true[:, None], (N, T, C))
  mask = np.ones((N, T), bool)
  mask[:, -1] = False
  return logits.astype(np.float32), mask, label


@pytest.mark.parametrize("kind", ["scalar", "label", "position"])
def test_fit_finds_the_factor(kind):
  logits, mask, label = cohort()
  logits[:, -1] = np.nan  # Padding; never read.
  temperature, report = calibrate.fit(
    np.where(mask[..., None], logits, 0), mask, label, kind, batch_size=100
  )
  assert report["epoch"] > 0
  assert report["after"].mean() < report["before"].mean() / 2
  np.testing.assert_allclose(temperature.label, 3.0, rtol=0.3)
  assert temperature.position.shape == (
    (4, 2) if kind == "position" else (0, 2)
  )
  if kind == "scalar":
    assert temperature.label[0] == temperature.label[1]
  if kind == "position":
    np.testing.assert_allclose(temperature.position[:3], 3.0, rtol=0.3)
    # Never seen: the label's.
    np.testing.assert_array_equal(temperature.position[3], temperature.label)


def test_fit_none_and_unknown():
  logits, mask, label = cohort(N=10)
  temperature, report = calibrate.fit(logits, mask, label, "none")
  np.testing.assert_array_equal(calibrate.apply(logits, temperature), logits)
  np.testing.assert_array_equal(report["before"], report["after"])
  with pytest.raises(ValueError, match="wanted one of none, scalar"):
    calibrate.fit(logits, mask, label, "token")


def test_fit_keeps_epoch_0_where_it_is_best():
  logits, mask, label = cohort(factor=1.0)
  temperature, report = calibrate.fit(
    logits, mask, label, "scalar", learning_rate=5.0, steps=1, epochs=1
  )
  assert report["epoch"] == 0
  np.testing.assert_array_equal(temperature.label, 1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["scalar", "label"]))
def test_order_across_stays_survives_scalar_and_label(seed, kind):
  """At one token, which of two stays is likelier does not change."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(6, 3, 2)).astype(np.float32)
  label = jnp.asarray(np.exp(rng.normal(size=2)), jnp.float32)
  fitted, _ = calibrate.fit(
    logits,
    rng.random((6, 3)) < 0.8,
    rng.integers(0, 2, (6, 2)).astype(np.float32),
    kind,
    epochs=2,
    steps=3,
    learning_rate=2.0,
  )
  for t in (Temperature(jnp.ones((0, 2)), label), fitted):
    scaled = np.asarray(jax.nn.sigmoid(calibrate.apply(logits, t)))
    for before, after in zip(logits.reshape(6, -1).T, scaled.reshape(6, -1).T):
      order = np.argsort(before, kind="stable")
      assert (np.diff(after[order]) >= 0).all()
