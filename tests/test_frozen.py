"""What is frozen gets no gradient at all, and training moves no bit of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.confidence import Confidence
from medpatch_jax.encode import ehr, notes
from medpatch_jax.input.loader import Loader
from medpatch_jax.train import freeze, loop, losses
from medpatch_jax.train.parallel import Parallel
from medpatch_jax.unimodal import Unimodal

M = ("ehr", "rr")
B, LABELS, WIDTH, HOURS, PIECES = 4, 2, 8, 5, 6
MODELS = {
  "ehr": Unimodal(ehr.LSTM(width=WIDTH), LABELS, "ehr", M),
  "rr": Unimodal(
    notes.Notes(
      vocab_size=11,
      positions=PIECES,
      width=8,
      depth=1,
      heads=2,
      mlp=8,
      joint_width=WIDTH,
    ),
    LABELS,
    "rr",
    M,
  ),
}
HEAD = Confidence(LABELS)
FUSE = medpatch.MedPatch(M, LABELS, width=WIDTH)


def draw(rng) -> schema.Batch:
  hours = rng.integers(1, HOURS + 1, B)
  present = np.stack([np.ones(B, bool), rng.random(B) < 0.7], axis=1)
  pieces = np.ones((B, 1, PIECES), bool) & present[:, 1, None, None]
  return schema.Batch(
    inputs={
      "ehr": {
        "x": rng.normal(size=(B, HOURS, 3)).astype(np.float32),
        "mask": np.arange(HOURS)[None] < hours[:, None],
      },
      "rr": {
        "piece": rng.integers(4, 11, (B, 1, PIECES)).astype(np.int32),
        "mask": pieces,
      },
    },
    present=present,
    label=rng.integers(0, 2, (B, LABELS)).astype(np.float32),
    weight=np.ones(B, np.float32),
  )


def pools(params, data):
  """Features from one copy of the encoders, confidences from the other."""
  out = {}
  for m in M:
    features, fixed = (
      MODELS[m].apply({"params": params[copy][m]}, data)[1]["encoded"]
      for copy in ("features", "fixed")
    )
    out[m] = medpatch.pools(
      features,
      HEAD.apply({"params": params["confidence"][m]}, fixed.tokens),
      calibrate.Temperature(params["temperature"][m], jnp.ones(LABELS)),
      threshold=0.6,
      modality=m,
    )
  return schema.Pools(out, data.present, data.label, data.weight)


@jax.jit
def gradients(params, data):
  """Of the loss of stage 3, for everything there is."""

  def loss(params):
    pooled = pools(params, data)
    outputs, out = FUSE.apply({"params": params["fuse"]}, pooled)
    return losses.fused(outputs, out, data.label, data.weight)[0]

  return jax.grad(loss)(params)


@functools.cache
def shapes():
  data, key = draw(np.random.default_rng(0)), jax.random.key(0)
  stage1 = {m: jax.eval_shape(MODELS[m].init, key, data)["params"] for m in M}
  tokens = jnp.zeros((1, 1, WIDTH))
  params = {
    "features": stage1,
    "fixed": stage1,
    "confidence": dict.fromkeys(
      M, jax.eval_shape(HEAD.init, key, tokens)["params"]
    ),
    "temperature": dict.fromkeys(
      M, jax.ShapeDtypeStruct((PIECES, LABELS), jnp.float32)
    ),
  }
  pooled = jax.eval_shape(pools, params, data)
  params["fuse"] = jax.eval_shape(FUSE.init, key, pooled)["params"]
  return params


def fill(rng, tree):
  return jax.tree.map(
    lambda x: np.abs(rng.normal(size=x.shape) + 0.1).astype(x.dtype), tree
  )


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_gradients_of_frozen_parts_are_exactly_zero(seed):
  rng = np.random.default_rng(seed)
  grads = gradients(fill(rng, shapes()), draw(rng))
  for part in ("fixed", "confidence", "temperature"):
    for path, x in jax.tree_util.tree_leaves_with_path(grads[part]):
      assert not np.any(x), (part, jax.tree_util.keystr(path))
  # The copies that learn do have one.
  moved = [np.any(x) for x in jax.tree.leaves(grads["features"]["ehr"])]
  assert any(moved)
  assert np.any(grads["fuse"]["late"]["score"])


@pytest.fixture(scope="module")
def fit():
  """(seed, frozen parameters, learned ones) -> (both after training)."""
  parallel = Parallel()

  def run(folder, seed):
    rng = np.random.default_rng(seed)
    data = jax.tree.map(np.asarray, draw(rng))
    params = fill(rng, shapes()["features"]["rr"])
    learn, still = freeze.split(params, lambda path: "bert" in path)

    def forward(params, frozen, batch, key):
      variables = {"params": freeze.join(params, frozen)}
      outputs, _ = MODELS["rr"].apply(variables, batch)
      total, count = losses.bce(outputs["rr"], batch.label, batch.weight)
      return total, count, outputs

    loader = Loader(
      rows=np.arange(B),
      batch_size=B,
      fetch=lambda row, rng: row,
      collate=lambda rows, size: data,
    )
    stage = loop.Stage(
      name="frozen",
      forward=forward,
      params=learn,
      frozen=jax.tree.map(np.array, still),
      train=loader,
      validation=loader,
      score=lambda loss, outputs: (-loss, {}),
    )
    options = loop.Settings(learning_rate=0.05, epochs=2, save_minutes=9.0)
    trained, _ = loop.fit(stage, options, folder, parallel)
    return learn, trained, still, stage.frozen

  return run


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_training_moves_no_bit_of_what_is_frozen(fit, tmp_path_factory, seed):
  learn, trained, still, after = fit(tmp_path_factory.mktemp("run"), seed)
  jax.tree.map(np.testing.assert_array_equal, after, still)
  assert not {"bert"} & set(trained["encoder"])
  assert jax.tree.structure(trained) == jax.tree.structure(learn)
  moved = jax.tree.map(lambda a, b: np.any(a != b), learn, trained)
  assert any(jax.tree.leaves(moved))
