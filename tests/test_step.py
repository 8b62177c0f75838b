"""The step: gradient accumulation, precision, memory, compilations."""

import dataclasses
import functools

import jax
import jax.ad_checkpoint
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import layers
from medpatch_jax.encode.cxr import ViT
from medpatch_jax.train import loop, optimizer, state, step
from medpatch_jax.train.parallel import KINDS, Parallel
from tests.test_train import SETTINGS, problem


def test_accumulated_gradients_are_those_of_the_large_batch():
  stage, rule = problem(batch_size=8, n=6), optimizer.adam(0.1)
  parallel, moved = Parallel(), []
  _, batch = next(stage.train.epoch())  # Two rows of it are padding.
  for parts in (1, 4):
    mapped = parallel.train(step.train_step(stage.forward, rule, parts))
    current = parallel.replicate(state.create(stage.params, rule, 0))
    frozen = parallel.replicate(stage.frozen)
    moved.append(parallel.one(mapped(current, frozen, parallel.split(batch))))
  assert moved[0].count == moved[1].count == 6
  for a, b in zip(*map(jax.tree.leaves, moved)):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_bfloat16_computes_near_float32_and_keeps_float32():
  rng = np.random.default_rng(0)
  fields = {"image": rng.integers(0, 255, (2, 16, 16)).astype(np.uint8)}
  sizes = dict(image_size=16, patch=8, width=16, depth=1, heads=2, mlp=16)
  full, half = (
    ViT(joint_width=8, dtype=d, **sizes) for d in (jnp.float32, jnp.bfloat16)
  )
  present = np.ones(2, bool)
  params = jax.jit(half.init)(jax.random.key(0), fields, present)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}

  def loss(params, model):
    (encoded, _), made = model.apply(
      params, fields, present, capture_intermediates=True, mutable=True
    )
    return (encoded.summary**2).sum(), (encoded, made["intermediates"])

  found = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
  (want, _), exact = found(params, full)
  (got, (encoded, made)), grads = found(params, half)
  assert made["backbone"]["block_0"]["__call__"][0].dtype == jnp.bfloat16
  assert encoded.tokens.dtype == encoded.summary.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=0.03)
  assert got != want
  for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(grads)):
    assert b.dtype == jnp.float32
    assert np.linalg.norm(a - b) <= 0.05 * np.linalg.norm(a) + 1e-3


def test_remat_gives_the_same_gradients_and_keeps_less(capsys):
  sizes = dict(depth=1, heads=2, head_width=4, mlp=8, dropout=0.5)
  x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
  params = jax.jit(layers.Transformer(**sizes).init)(jax.random.key(0), x)

  def loss(params, remat):
    y = layers.Transformer(remat=remat, **sizes).apply(
      params, x, train=True, rngs={"dropout": jax.random.key(1)}
    )
    return (y * y).sum()

  found = jax.jit(jax.value_and_grad(loss), static_argnums=1)
  plain, made = found(params, False), found(params, True)
  for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(made)):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  kept = []
  for remat in (False, True):
    jax.ad_checkpoint.print_saved_residuals(
      functools.partial(loss, remat=remat), params
    )
    lines = capsys.readouterr().out.splitlines()
    kept.append(sum("argument" not in line for line in lines))
  assert kept[1] < kept[0] / 3, kept


def test_nothing_is_compiled_after_the_first_epoch(tmp_path):
  """But for the bookkeeping between epochs, first done after epoch 1."""
  compiled = []

  def listen(event, seconds, **kwargs):
    if "backend_compile" in event:
      compiled.append(event)

  counts = []

  def score(loss, outputs):
    counts.append(len(compiled))
    return -loss, {}

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    stage = dataclasses.replace(problem(), score=score)
    loop.fit(stage, SETTINGS, tmp_path, Parallel())
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert counts[0] > 0  # The listener hears.
  assert len(set(counts[1:])) == 1, counts


@pytest.mark.parametrize("kind", KINDS)
def test_no_host_transfer_inside_the_step(kind):
  stage, rule, parallel = problem(), optimizer.adam(1e-3), Parallel(kind)
  mapped = parallel.train(step.train_step(stage.forward, rule))
  current = parallel.replicate(state.create(stage.params, rule, 0))
  frozen = parallel.replicate(stage.frozen)
  _, batch = next(stage.train.epoch())
  batch = parallel.split(batch)
  current = mapped(current, frozen, batch)  # Compiling moves constants.
  with jax.transfer_guard("disallow"):
    before = current
    current = mapped(current, frozen, batch)
    jax.block_until_ready(current)
  assert jax.tree.leaves(before.params)[0].is_deleted()  # Donated.
  assert parallel.one(current.step) == 2
