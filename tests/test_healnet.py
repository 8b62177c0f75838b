"""HEALNet's positions, absent modalities and raw input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax.baselines import healnet, raw


def test_positions_run_to_the_stays_own_last_token():
  mask = jnp.array([[True, True, True, False], [True, False, False, False]])
  found = healnet.fourier(jnp.zeros((2, 4, 1)), mask, bands=2)
  assert found.shape == (2, 4, 1 + 2 * 2 + 1)
  np.testing.assert_allclose(found[0, :, -1], [-1, 0, 1, 1])
  np.testing.assert_allclose(found[1, 0, -1], -1)
  # Frequencies pi and 5 pi; at position 1/2 the sines are both 1.
  half = healnet.fourier(jnp.zeros((1, 5, 1)), jnp.ones((1, 5), bool), 2)[0, 3]
  np.testing.assert_allclose(half, [0, 1, 1, 0, 0, 0.5], atol=1e-5)


def core(idle_turns, present):
  model = healnet.Core(
    num_labels=2,
    depth=1,
    latents=3,
    latent_width=4,
    heads=1,
    head_width=4,
    bands=1,
    idle_turns=idle_turns,
  )
  rng = np.random.default_rng(0)
  given = {m: jnp.asarray(rng.normal(size=(1, 2, 3))) for m in ("a", "b")}
  masks = {m: jnp.ones((1, 2), bool) for m in given}
  here = {m: jnp.array([present[m]]) for m in given}
  args = jax.tree.map(lambda a: a.astype(jnp.float32), given), masks, here
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *args))
  rng = np.random.default_rng(1)
  params = jax.tree.map(lambda s: rng.normal(size=s.shape), shapes)
  return model, params, args


def test_an_absent_modality_is_skipped_altogether():
  model, params, args = core(False, {"a": False, "b": False})
  logits, latents = model.apply(params, *args)
  np.testing.assert_allclose(latents[0], params["params"]["latents"], rtol=1e-6)
  model, params, args = core(True, {"a": False, "b": False})
  _, moved = model.apply(params, *args)
  assert np.abs(moved[0] - params["params"]["latents"]).max() > 0.01


def test_raw_series_and_pieces():
  x = jnp.arange(6.0).reshape(1, 3, 2)
  mask = jnp.array([[True, True, False]])
  encoded, _ = raw.Series().apply({}, {"x": x, "mask": mask}, jnp.array([True]))
  np.testing.assert_array_equal(encoded.tokens[0], [[0, 1], [2, 3], [0, 0]])
  absent, _ = raw.Series().apply({}, {"x": x, "mask": mask}, jnp.array([False]))
  assert not absent.mask.any() and not absent.tokens.any()

  piece = jnp.array([[[1, 2], [1, 0]]])
  fields = {"piece": piece, "mask": piece > 0}
  words = jnp.array([[9.0], [1], [2]])
  encoded, _ = raw.Pieces(vocab_size=3, width=1).apply(
    {"params": {"words": {"embedding": words}}}, fields, jnp.array([True])
  )
  np.testing.assert_array_equal(encoded.tokens[0, :, 0], [1, 2, 1, 0])


def test_raw_image_averages_cells():
  image = jnp.asarray(np.kron([[0, 255], [255, 0]], np.ones((2, 2))), jnp.uint8)
  fields = {"image": image[None]}
  encoded, _ = raw.Image(side=2, bands=1).apply({}, fields, jnp.array([True]))
  np.testing.assert_allclose(encoded.tokens[0, :, 0], [-1, 1, 1, -1])
  # Rows first: the last feature is the column, -1 then 1.
  np.testing.assert_allclose(encoded.tokens[0, :, -1], [-1, 1, -1, 1])
  np.testing.assert_allclose(encoded.tokens[0, :, 3], [-1, -1, 1, 1])
  with pytest.raises(ValueError, match="do not divide into 3 cells"):
    raw.Image(side=3).apply({}, fields, jnp.array([True]))
