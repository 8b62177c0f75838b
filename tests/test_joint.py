"""The joint module: projections, empty clusters, fusers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medpatch_jax.evaluate import metrics
from medpatch_jax.joint import Joint
from tests.golden_file import jit

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
M = ("ehr", "cxr")
B, C, E = 2, 2, 8
POOLS = {
  "ehr": jnp.asarray(RNG.normal(size=(B, C, E)), jnp.float32),
  "cxr": jnp.asarray(RNG.normal(size=(B, C, 3)), jnp.float32),
}
HAS = {
  "ehr": jnp.ones((B, C), bool),
  "cxr": jnp.array([[True, False], [True, True]]),
}
MEAN = {
  "ehr": jnp.array([[0.9, 0.8], [0.6, 0.7]]),
  "cxr": jnp.array([[0.7, 0.0], [0.8, 0.9]]),
}


def test_only_others_than_ehr_are_projected():
  (logits, out), params = jit(Joint(M, C, E).init_with_output)(
    KEY, POOLS, HAS, MEAN
  )
  params = params["params"]
  assert logits.shape == (B, C)
  assert params.keys() == {"project_cxr", "classifier"}
  assert params["classifier"]["norm"]["scale"].shape == (2 * C * E,)
  np.testing.assert_array_equal(out["projected"][:, 0], POOLS["ehr"])


def test_empty_cluster_is_zero_without_bias():
  params = jit(Joint(M, C, E).init)(KEY, POOLS, HAS, MEAN)["params"]
  params["project_cxr"]["bias"] = jnp.ones(E)
  _, out = Joint(M, C, E).apply({"params": params}, POOLS, HAS, MEAN)
  assert not out["projected"][0, 1, 1].any()
  assert out["projected"][1, 1, 1].all()


@pytest.mark.parametrize("fuser", ["lstm", "transformer"])
def test_sequence_is_sorted_by_confidence(fuser):
  """The order in which modalities are given does not matter."""
  model = Joint(M, C, E, fuser, unprojected=("ehr", "cxr"))
  pools = {**POOLS, "cxr": POOLS["ehr"][::-1]}
  params = jit(model.init)(KEY, pools, HAS, MEAN)
  there, _ = jit(model.apply)(params, pools, HAS, MEAN)
  other = model.clone(modalities=M[::-1])
  back, _ = jit(other.apply)(params, pools, HAS, MEAN)
  np.testing.assert_allclose(there, back, atol=1e-6)


def _agreement(fuser):
  """AUROC of a label that two coins tell only together, after training."""
  rng = np.random.default_rng(0)
  n, labels, width = 2_000, 2, 8
  coin = rng.random((3, n, labels)) < 0.5
  label = coin[2].astype(np.float32)
  coin[1] = coin[0] ^ coin[2]
  direction = rng.standard_normal((2, labels, width))
  pools = {
    m: ((2 * coin[i] - 1)[:, :, None] * direction[i]).astype(np.float32)
    for i, m in enumerate(M)
  }
  has = {m: np.ones((n, labels), bool) for m in M}
  sure = {m: np.full((n, labels), 0.8, np.float32) for m in M}
  model = Joint(M, labels, width, fuser, unprojected=M)
  params = model.init(KEY, pools, has, sure)
  adam = optax.adam(0.02)

  def step(state, _):
    params, moments = state
    grads = jax.grad(
      lambda p: optax.sigmoid_binary_cross_entropy(
        model.apply(p, pools, has, sure)[0], label
      ).mean()
    )(params)
    updates, moments = adam.update(grads, moments)
    return (optax.apply_updates(params, updates), moments), None

  state = jax.jit(lambda state: jax.lax.scan(step, state, length=150)[0])(
    (params, adam.init(params))
  )
  logits, _ = jax.jit(model.apply)(state[0], pools, has, sure)
  return metrics.auroc(np.asarray(logits), label).mean()


def test_bilinear_sees_what_concat_cannot():
  """Two coins that differ where the label is positive: alone they say nothing."""
  assert _agreement("concat") < 0.6
  assert _agreement("bilinear") > 0.95


def test_bilinear_products_are_those_of_two_modalities_by_hand():
  model = Joint(M, C, E, "bilinear", unprojected=M)
  pools = {**POOLS, "cxr": POOLS["ehr"][::-1]}
  has = {**HAS, "cxr": jnp.zeros((B, C), bool)}
  params = model.init(KEY, pools, HAS, MEAN)
  kernel = params["params"]["factor_ehr"]["kernel"]
  assert kernel.shape == (E, 16)
  assert params["params"]["classifier"]["dense"]["kernel"].shape[0] == (
    2 * C * E + C * 16
  )
  # Where a modality is absent, what the other's factors are does not matter.
  there, _ = model.apply(params, pools, has, MEAN)
  params["params"]["factor_ehr"]["kernel"] = 5 * kernel
  again, _ = model.apply(params, pools, has, MEAN)
  np.testing.assert_array_equal(there, again)
  moved, _ = model.apply(params, pools, HAS, MEAN)
  assert np.abs(np.asarray(moved - again)).max() > 1e-3


def test_lstm_ends_with_the_most_confident():
  model = Joint(("ehr",), 1, E, "lstm")
  pool, has = {"ehr": POOLS["ehr"]}, {"ehr": HAS["ehr"]}
  params = jit(model.init)(KEY, pool, has, {"ehr": MEAN["ehr"]})
  # Sorted and unsorted differ for row 0, whose first vector is the surer.
  sorted_, _ = jit(model.apply)(params, pool, has, {"ehr": MEAN["ehr"]})
  swapped = {"ehr": POOLS["ehr"][:, ::-1]}
  plain, _ = jit(model.apply)(params, swapped, has, {"ehr": jnp.zeros((B, C))})
  np.testing.assert_allclose(sorted_[0], plain[0], atol=1e-6)
  assert np.abs(sorted_[1] - plain[1]).max() > 1e-4


def test_wrong_sizes_are_refused():
  with pytest.raises(ValueError, match="width 8, the joint module takes 16"):
    Joint(M, C, 16).init(KEY, POOLS, HAS, MEAN)
  with pytest.raises(ValueError, match="wanted one of concat, bilinear"):
    Joint(M, C, E, "mean").init(KEY, POOLS, HAS, MEAN)
  with pytest.raises(ValueError, match="do not divide width=6"):
    Joint(("cxr",), C, 6, "transformer").init(
      KEY,
      {"cxr": POOLS["cxr"]},
      {"cxr": HAS["cxr"]},
      {"cxr": MEAN["cxr"]},
    )
