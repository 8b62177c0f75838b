"""Stores of computed rows: what was written is read, for its key alone."""

import ml_dtypes
import numpy as np
import pytest

from medpatch_jax.train import store
from medpatch_jax.train.parallel import Parallel


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, bool])
def test_arrays_come_back_with_their_type(tmp_path, dtype):
  values = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
  writer = store.Writer(tmp_path / "pools", Parallel())
  writer.allocate("high", (3, 4), values.dtype)[...] = values
  assert store.read(tmp_path / "pools", {"seed": 0}) is None  # Not finished.
  writer.finish({"seed": 0})
  found = store.read(tmp_path / "pools", {"seed": 0})
  assert list(found) == ["high"] and found["high"].dtype == values.dtype
  np.testing.assert_array_equal(np.array(found["high"]), values)
  assert store.read(tmp_path / "pools", {"seed": 1}) is None
