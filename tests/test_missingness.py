"""The missingness module reads presence and nothing else."""

import jax
import numpy as np

from medpatch_jax.missingness import Missingness


def test_prediction_by_hand():
  present = np.array([[True, False], [True, True]])
  params = {
    "classifier": {
      "norm": {"scale": np.ones(2), "bias": np.zeros(2)},
      "dense": {"kernel": np.array([[2.0], [1.0]]), "bias": np.array([0.5])},
    }
  }
  got = Missingness(1).apply({"params": params}, present)
  # (1, 0) is normed to (1, -1), (1, 1) to (0, 0).
  np.testing.assert_allclose(got, [[1.5], [0.5]], atol=1e-3)
  assert jax.tree.map(np.shape, params) == jax.tree.map(
    np.shape,
    Missingness(1).init(jax.random.key(0), present)["params"],
  )
