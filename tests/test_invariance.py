"""What must not matter: absent content, padding, order, company of a batch.

One path from raw batches to MedPatch's heads, small and untrained: all four
encoders, confidence, temperature, pools, fusion.
"""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.encode import cxr, ehr, notes
from medpatch_jax.unimodal import Unimodal

M = schema.MODALITIES
LABELS, WIDTH, HOURS, SIZE, WINDOWS, PIECES = 3, 8, 6, 8, 2, 7
TEXT = dict(width=8, depth=1, heads=2, mlp=8, joint_width=WIDTH)
ENCODERS = {
  "ehr": ehr.LSTM(width=WIDTH),
  "cxr": cxr.ViT(
    image_size=SIZE, patch=4, width=8, depth=1, heads=2, mlp=8, joint_width=8
  ),
  "rr": notes.Notes(vocab_size=11, positions=PIECES, **TEXT),
  "dn": notes.Notes(vocab_size=11, positions=PIECES, **TEXT),
}


def batch(rng, present) -> schema.Batch:
  """Random rows with the given presence bool[B 4], padding left blank."""
  B = len(present)
  hours = rng.integers(1, HOURS + 1, B)
  mask = np.arange(HOURS)[None] < hours[:, None]
  x = rng.normal(size=(B, HOURS, 5)).astype(np.float32)
  inputs = {
    "ehr": {"x": x, "mask": mask & present[:, 0, None]},
    "cxr": {"image": rng.integers(0, 256, (B, SIZE, SIZE), np.uint8)},
  }
  for i, m in enumerate(("rr", "dn"), start=2):
    windows = rng.integers(1, WINDOWS + 1, B)
    real = np.arange(WINDOWS)[None] < windows[:, None]
    real = np.repeat(real[:, :, None], PIECES, axis=2)
    real[:, -1, rng.integers(3, PIECES) :] = False
    inputs[m] = {
      "piece": rng.integers(4, 11, (B, WINDOWS, PIECES)).astype(np.int32),
      "mask": real & present[:, i, None, None],
    }
  label = rng.integers(0, 2, (B, LABELS)).astype(np.float32)
  return schema.Batch(inputs, present, label, np.ones(B, np.float32))


def _model(m):
  return Unimodal(ENCODERS[m], LABELS, m, M)


@pytest.fixture(scope="module")
def predict():
  """(batch) -> {head: logits}, with parameters drawn once."""
  rng = np.random.default_rng(0)
  example = batch(rng, np.ones((2, 4), bool))
  fuse = medpatch.MedPatch(M, LABELS, width=WIDTH)
  head = Confidence(LABELS)

  def pools(params, data):
    out = {}
    for m in M:
      _, inner = _model(m).apply({"params": params[m]}, data)
      encoded = inner["encoded"]
      out[m] = medpatch.pools(
        encoded,
        head.apply({"params": params[f"{m}_head"]}, encoded.tokens),
        calibrate.Temperature.ones(LABELS),
        threshold=0.6,
        modality=m,
      )
    return schema.Pools(out, data.present, data.label, data.weight)

  params = {}
  for i, m in enumerate(M):
    key = jax.random.key(i)
    params[m] = jax.jit(_model(m).init)(key, example)["params"]
    tokens = np.zeros((1, 1, WIDTH), np.float32)
    head_params = jax.jit(head.init)(key, tokens)["params"]
    # Strong enough that some tokens are confident and some are not.
    params[f"{m}_head"] = jax.tree.map(lambda x: 3 * x, head_params)
  pooled = jax.jit(pools)(params, example)
  params["fuse"] = jax.jit(fuse.init)(jax.random.key(9), pooled)["params"]

  @jax.jit
  def run(params, data):
    return fuse.apply({"params": params["fuse"]}, pools(params, data))[0]

  return lambda data: jax.device_get(run(params, data))


PATTERNS = np.array(
  [[1, 1, 1, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]], bool
)
SEEDS = st.integers(0, 2**32 - 1)
# Five stays of four modalities, one of them with everything and one with none.
PRESENT = st.lists(st.booleans(), min_size=12, max_size=12).map(
  lambda flat: np.array([True] * 4 + flat + [False] * 4).reshape(5, 4)
)
few = settings(max_examples=10, deadline=None)


@pytest.mark.parametrize("hours", ["noise", "nan"])
@few
@given(seed=SEEDS, present=PRESENT)
def test_absent_content_changes_no_bit(predict, hours, seed, present):
  rng = np.random.default_rng(seed)
  data = batch(rng, present)
  before = predict(data)
  inputs = jax.tree.map(np.array, data.inputs)
  absent = ~present
  other = batch(rng, np.ones_like(present)).inputs
  for i, m in enumerate(M):
    for name in inputs[m]:
      inputs[m][name][absent[:, i]] = other[m][name][absent[:, i]]
  if hours == "nan":
    inputs["ehr"]["x"][absent[:, 0]] = np.nan
  after = predict(data.replace(inputs=inputs))
  for name, logits in before.items():
    np.testing.assert_array_equal(after[name], logits, err_msg=name)


def test_present_content_does_change_predictions(predict):
  """The test above could not fail if nothing mattered."""
  data = batch(np.random.default_rng(1), PATTERNS)
  before = predict(data)["late"]
  other = batch(np.random.default_rng(3), PATTERNS).inputs
  for i, m in enumerate(M):
    after = predict(data.replace(inputs=data.inputs | {m: other[m]}))["late"]
    changed = np.abs(after - before).max(axis=1) > 1e-6
    np.testing.assert_array_equal(changed, PATTERNS[:, i], err_msg=m)


@few
@given(seed=SEEDS, present=PRESENT, order=st.permutations(range(5)))
def test_order_and_company_of_a_batch_change_nothing(
  predict, seed, present, order
):
  data = batch(np.random.default_rng(seed), present)
  whole = predict(data)
  order = np.array(order)
  shuffled = predict(jax.tree.map(lambda x: x[order], data))
  for name in whole:
    np.testing.assert_allclose(
      shuffled[name], whole[name][order], rtol=1e-5, atol=1e-6
    )
  for i in range(len(present)):
    alone = predict(jax.tree.map(lambda x, i=i: x[i : i + 1], data))
    for name in whole:
      np.testing.assert_allclose(
        alone[name][0], whole[name][i], rtol=1e-5, atol=1e-6
      )


@few
@given(seed=SEEDS, present=PRESENT)
def test_padding_changes_nothing(predict, seed, present):
  data = batch(np.random.default_rng(seed), present)
  inputs = jax.tree.map(np.array, data.inputs)
  pads = {"x": (0, 4, 0), "mask": (0, 4), "piece": (0, 1, 0)}
  for m, fields in inputs.items():
    for name, value in fields.items():
      if m == "cxr":
        continue
      width = pads[name] if m == "ehr" else (0, 1, 0)
      pad = [(0, w) for w in width]
      fields[name] = np.pad(value, pad, constant_values=1 if name == "x" else 0)
  padded = predict(data.replace(inputs=inputs))
  for name, logits in predict(data).items():
    np.testing.assert_allclose(
      padded[name], logits, rtol=1e-5, atol=1e-6, err_msg=name
    )
