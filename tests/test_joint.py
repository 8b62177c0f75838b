"""The joint module: projections, empty clusters, fusers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax.joint import FUSERS, Joint
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


@pytest.mark.parametrize("fuser", FUSERS[1:])
def test_sequence_is_sorted_by_confidence(fuser):
  """The order in which modalities are given does not matter."""
  model = Joint(M, C, E, fuser, unprojected=("ehr", "cxr"))
  pools = {**POOLS, "cxr": POOLS["ehr"][::-1]}
  params = jit(model.init)(KEY, pools, HAS, MEAN)
  there, _ = jit(model.apply)(params, pools, HAS, MEAN)
  other = model.clone(modalities=M[::-1])
  back, _ = jit(other.apply)(params, pools, HAS, MEAN)
  np.testing.assert_allclose(there, back, atol=1e-6)


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
  with pytest.raises(ValueError, match="wanted one of concat, lstm"):
    Joint(M, C, E, "mean").init(KEY, POOLS, HAS, MEAN)
  with pytest.raises(ValueError, match="do not divide width=6"):
    Joint(("cxr",), C, 6, "transformer").init(
      KEY,
      {"cxr": POOLS["cxr"]},
      {"cxr": HAS["cxr"]},
      {"cxr": MEAN["cxr"]},
    )
