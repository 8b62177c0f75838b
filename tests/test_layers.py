"""Layers against loops written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import layers, lstm
from medpatch_jax.encode.notes import Bert
from tests.golden_file import jit


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def run_lstm(params, x):
  """One row f[T D] -> states f[T H], gate by gate."""
  H = params["kernel_recurrent"].shape[0]
  h = c = np.zeros(H)
  states = []
  for step in x:
    z = step @ params["kernel_input"] + h @ params["kernel_recurrent"]
    z = z + params["bias_input"] + params["bias_recurrent"]
    i, f, g, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    states.append(h)
  return np.array(states)


def test_lstm_equals_a_loop_and_skips_masked_steps():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 4, 3)).astype(np.float32)
  # The second row has a hole and an end; what lies there is never read.
  mask = np.array([[True] * 4, [True, False, True, False]])
  x[~mask] = np.nan
  model = layers.Lstm(5)
  params = jit(model.init)(jax.random.key(0), x, mask)["params"]
  params["bias_input"] = jnp.asarray(rng.normal(size=20), jnp.float32)
  states, last = model.apply({"params": params}, x, mask)
  params = jax.tree.map(np.asarray, params)
  want = run_lstm(params, x[0])
  np.testing.assert_allclose(states[0], want, atol=1e-6)
  np.testing.assert_allclose(last[0], want[-1], atol=1e-6)
  want = run_lstm(params, x[1, [0, 2]])
  np.testing.assert_allclose(states[1, [0, 2]], want, atol=1e-6)
  np.testing.assert_array_equal(states[1, [1, 3]], 0)
  np.testing.assert_allclose(last[1], want[-1], atol=1e-6)


def plain_lstm(gates, kernel, real):
  """The same recurrence as a scan over all steps, for autodiff."""

  def step(state, inputs):
    gate, on = inputs
    i, f, g, o = jnp.split(gate + state[0] @ kernel, 4, axis=-1)
    i, f, o = map(jax.nn.sigmoid, (i, f, o))
    c = f * state[1] + i * jnp.tanh(g)
    new = o * jnp.tanh(c), c
    state = tuple(jnp.where(on[:, None], a, b) for a, b in zip(new, state))
    return state, state[0]

  zeros = jnp.zeros((gates.shape[1], len(kernel)))
  (last, _), states = jax.lax.scan(step, (zeros, zeros), (gates, real))
  return states, last


@pytest.mark.parametrize("longest", [0, 3, 16, 32])
def test_lstm_gradient_equals_autodiff(longest):
  """Rows with holes, and an end before the last of 32 steps."""
  rng = np.random.default_rng(0)
  gates = jnp.asarray(rng.normal(size=(32, 2, 12)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(3, 12)), jnp.float32)
  real = rng.random((32, 2)) < 0.7
  real[longest:] = False
  weight = jnp.asarray(rng.normal(size=(32, 2, 3)), jnp.float32)
  weight = jnp.where(real[:, :, None], weight, 0.0)

  def loss(recur, gates, kernel):
    states, last = recur(gates, kernel, jnp.asarray(real))
    return (states * weight).sum() + (last * weight.sum(0)).sum()

  found = jax.jit(jax.value_and_grad(loss, (1, 2)), static_argnums=0)
  got = found(lstm._recur, gates, kernel)
  want = found(plain_lstm, gates, kernel)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_lstm_starts_as_published():
  x = jnp.zeros((1, 1, 76))
  params = layers.Lstm(32).init(jax.random.key(1), x, jnp.ones((1, 1), bool))
  params = params["params"]
  recurrent = params["kernel_recurrent"]
  np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(32), atol=1e-5)
  bound = np.sqrt(6 / (76 + 4 * 32))
  largest = np.abs(params["kernel_input"]).max()
  assert 0.9 * bound < largest <= bound
  assert not params["bias_input"].any() and not params["bias_recurrent"].any()


def test_classifier_is_a_norm_and_a_dense():
  rng = np.random.default_rng(0)
  x = rng.normal(2.0, 3.0, size=(3, 6))
  scale, bias = rng.normal(size=(2, 6))
  kernel, offset = rng.normal(size=(6, 2)), rng.normal(size=2)
  params = {
    "norm": {"scale": scale, "bias": bias},
    "dense": {"kernel": kernel, "bias": offset},
  }
  params = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), params)
  got = layers.Classifier(2).apply({"params": params}, jnp.float32(x))
  z = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
  np.testing.assert_allclose(
    got, (z * scale + bias) @ kernel + offset, atol=1e-5
  )


def test_classifier_without_its_norm_is_a_dense():
  """By hand: the length of the summary counts, which the norm takes away."""
  model = layers.Classifier(2, norm=False)
  x = jnp.array([[1.0, 2.0], [10.0, 20.0], [0.0, 0.0]])
  drawn = model.init(jax.random.key(0), x)["params"]
  assert jax.tree.map(jnp.shape, drawn) == {
    "dense": {"kernel": (2, 2), "bias": (2,)}
  }
  kernel, bias = jnp.array([[1.0, 0.0], [3.0, -1.0]]), jnp.array([0.5, -2.0])
  params = {"dense": {"kernel": kernel, "bias": bias}}
  got = model.apply({"params": params}, x)
  np.testing.assert_array_equal(got, [[7.5, -4], [70.5, -22], [0.5, -2]])


def test_attention_reads_unmasked_keys_only():
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(1, 4, 8)), jnp.float32)
  mask = jnp.array([[True, True, False, True]])
  model = layers.Block(heads=2, head_width=4, mlp=8)
  params = jit(model.init)(jax.random.key(0), x, mask)
  apply = jit(model.apply)
  before = apply(params, x, mask)
  after = apply(params, x.at[0, 2].set(1e3), mask)
  keep = np.array([0, 1, 3])
  np.testing.assert_array_equal(before[0, keep], after[0, keep])
  # A row without any key stays finite.
  none = apply(params, x, jnp.zeros((1, 4), bool))
  assert np.isfinite(none).all()


def test_dropout_only_in_training():
  x = jax.random.normal(jax.random.key(2), (2, 3, 8))
  model = layers.Transformer(depth=1, heads=2, head_width=4, mlp=8, dropout=0.5)
  params = jit(model.init)(jax.random.key(0), x)
  key = {"dropout": jax.random.key(1)}
  still = model.apply(params, x)
  np.testing.assert_array_equal(still, model.apply(params, x, rngs=key))
  moved = model.apply(params, x, train=True, rngs=key)
  assert np.abs(still - moved).max() > 0


@pytest.mark.parametrize("train", [False, True])
def test_rows_one_by_one_equal_all_at_once(monkeypatch, train):
  rng = np.random.default_rng(0)
  piece = jnp.asarray(rng.integers(0, 30, (6, 8)), jnp.int32)
  mask = jnp.asarray(rng.random((6, 8)) < 0.7)
  model = Bert(vocab_size=30, positions=8, width=8, depth=2, heads=2, mlp=16)
  params = jit(model.init)(jax.random.key(0), piece, mask)

  def loss(params):
    x = model.apply(params, piece, mask, train)
    return (x[:, 1] * jnp.arange(8.0)[None]).sum(), x

  def found(cache):
    monkeypatch.setattr(layers, "CACHE", cache)
    made = jax.jit(
      lambda params: jax.value_and_grad(loss, has_aux=True)(params)
    )
    return made(params), made.lower(params).as_text().count("while")

  whole, none = found(10**9)
  parts, some = found(0)
  assert some > none == 0
  for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
