"""Every row once, in order, whatever the batches."""

import types

import numpy as np
import pytest

from medpatch_jax.evaluate import predict


def batches(rows, size, order=None):
  order = np.arange(rows) if order is None else np.asarray(order)
  for start in range(0, len(order), size):
    index = order[start : start + size]
    real = np.arange(size) < len(index)
    index = np.pad(index, (0, size - len(index)), mode="edge")
    yield types.SimpleNamespace(
      index=index,
      label=(index[:, None] % 2).astype(np.float32),
      present=np.stack([index % 3 == 0, index % 2 == 0], axis=1),
      weight=real.astype(np.float32),
    )


def apply(batch):
  logits = batch.index[:, None].astype(np.float32)
  return {"high": logits, "low": -logits}


@pytest.mark.parametrize("size", [1, 4, 5, 16])
def test_each_row_once(size):
  found = predict.predict(apply, batches(10, size), rows=10)
  np.testing.assert_array_equal(found.logits["high"][:, 0], np.arange(10))
  np.testing.assert_array_equal(found.logits["low"], -found.logits["high"])
  np.testing.assert_array_equal(found.label[:, 0], np.arange(10) % 2)
  assert found.present.shape == (10, 2) and found.present.dtype == bool


def test_rows_return_to_their_order():
  order = np.random.default_rng(0).permutation(10)
  found = predict.predict(
    apply, batches(10, 4, order), rows=10, index=lambda b: b.index
  )
  np.testing.assert_array_equal(found.logits["high"][:, 0], np.arange(10))
  np.testing.assert_array_equal(found.label[:, 0], np.arange(10) % 2)


def test_refuses_missing_and_repeated_rows():
  with pytest.raises(ValueError, match="9 rows were predicted.* has 10"):
    predict.predict(apply, batches(9, 4), rows=10)
  with pytest.raises(ValueError, match="number 2 of 4 is missing"):
    predict.predict(
      apply, batches(4, 2, [0, 1, 1, 3]), rows=4, index=lambda b: b.index
    )


def test_refuses_changing_heads_and_nothing():
  heads = iter([{"high": np.zeros((4, 1))}, {"low": np.zeros((4, 1))}])
  with pytest.raises(ValueError, match="heads changed"):
    predict.predict(lambda _: next(heads), batches(8, 4))
  with pytest.raises(ValueError, match="no batches"):
    predict.predict(apply, [])
