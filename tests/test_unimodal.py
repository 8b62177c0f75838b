"""Stage 1: the right column of presence, logits, what comes out beside."""

import jax
import numpy as np

from medpatch_jax import schema
from medpatch_jax.encode import tokens
from medpatch_jax.unimodal import Unimodal


def test_reads_its_own_column_of_presence():
  rng = np.random.default_rng(0)
  fields = {
    "tokens": rng.normal(size=(2, 3, 4)).astype(np.float32),
    "mask": np.ones((2, 3), bool),
  }
  batch = schema.Batch(
    inputs={"rr": fields},
    present=np.array([[False, True], [True, False]]),
    label=np.zeros((2, 5), np.float32),
    weight=np.ones(2, np.float32),
  )
  model = Unimodal(tokens.Tokens(6), 5, "rr", ("cxr", "rr"))
  (outputs, out), params = model.init_with_output(jax.random.key(0), batch)
  assert outputs.keys() == {"rr"} and outputs["rr"].shape == (2, 5)
  assert params["params"].keys() == {"encoder", "classifier"}
  assert out["encoded"].summary[0].any()
  assert not out["encoded"].summary[1].any()
