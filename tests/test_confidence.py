"""The confidence head: one linear map, the same for every token."""

import jax
import numpy as np

from medpatch_jax.confidence import Confidence


def test_every_token_gets_the_same_linear_map():
  tokens = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
  logits, params = Confidence(5).init_with_output(jax.random.key(0), tokens)
  dense = params["params"]["dense"]
  want = tokens @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
  np.testing.assert_allclose(logits, want, atol=1e-6)
