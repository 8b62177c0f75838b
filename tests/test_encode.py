"""Encoders: masks, what they never read, and the released behaviours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import presets
from medpatch_jax.encode import additive, cxr, ehr, notes, summary, tokens
from medpatch_jax.input import examples
from tests.golden_file import jit

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PRESENT = np.array([True, True, False])
SERIES = {
  "x": RNG.normal(size=(3, 5, 4)).astype(np.float32),
  "mask": np.arange(5)[None] < np.array([[4], [2], [3]]),
}
FILM = {"image": RNG.integers(0, 256, (3, 8, 8), np.uint8)}
# Two windows of four pieces; [CLS] 2, [SEP] 3, [PAD] 0.
NOTE = {
  "piece": np.array(
    [
      [[2, 7, 8, 3], [2, 9, 3, 0]],
      [[2, 5, 3, 0], [0, 0, 0, 0]],
      [[2, 4, 4, 3], [2, 4, 3, 0]],
    ],
    np.int32,
  ),
}
NOTE["mask"] = NOTE["piece"] > 0
ENCODERS = {
  "lstm": (ehr.LSTM(6), SERIES),
  "transformer": (
    ehr.Transformer(width=8, depth=1, heads=2, head_width=4, mlp=8),
    SERIES,
  ),
  "additive": (additive.Additive(((1, 3),), width=6, pieces=3), SERIES),
  "vit": (
    cxr.ViT(
      image_size=8, patch=4, width=8, depth=1, heads=2, mlp=8, joint_width=6
    ),
    FILM,
  ),
  "notes": (
    notes.Notes(
      vocab_size=12,
      positions=4,
      width=8,
      depth=1,
      heads=2,
      mlp=8,
      joint_width=6,
      cls=2,
      sep=3,
    ),
    NOTE,
  ),
}


def start(model, fields):
  """Parameters, moved: what starts at 0 would leave a part without effect."""
  made = jit(model.init)(KEY, fields, PRESENT)
  return jax.tree.map(lambda p: p + 0.1, made)


def encode(model, fields, params=None):
  """The encoding by `params`, or by new ones."""
  params = start(model, fields) if params is None else params
  return jit(model.apply)(params, fields, PRESENT)[0]


def noised(fields):
  """The same with other content wherever the mask or presence is False."""
  fields = {k: np.array(v) for k, v in fields.items()}
  if "x" in fields:
    fields["x"][~fields["mask"] | ~PRESENT[:, None]] = np.nan
  if "image" in fields:
    fields["image"][~PRESENT] = 77
  if "piece" in fields:
    fields["piece"][~fields["mask"] | ~PRESENT[:, None, None]] = 11
  return fields


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_absent_is_read(name):
  model, fields = ENCODERS[name]
  params = start(model, fields)

  @jit
  def run(params, fields):
    def loss(params):
      encoded, _ = model.apply(params, fields, PRESENT)
      # Sensitive to every token and to the summary.
      return (encoded.tokens**2).sum() + (encoded.summary**2).sum(), encoded

    return jax.value_and_grad(loss, has_aux=True)(params)

  (value, encoded), grads = run(params, fields)
  again = run(params, noised(fields))
  same = jax.tree.map(np.array_equal, ((value, encoded), grads), again)
  assert all(jax.tree.leaves(same)), same
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  assert not encoded.mask[2].any()
  assert not encoded.tokens[2].any() and not encoded.summary[2].any()
  assert not np.asarray(encoded.tokens)[~np.asarray(encoded.mask)].any()


def test_lstm_summary_is_the_last_real_hour():
  model, fields = ENCODERS["lstm"]
  encoded = encode(model, fields)
  np.testing.assert_array_equal(encoded.mask[:2], SERIES["mask"][:2])
  np.testing.assert_array_equal(encoded.summary[0], encoded.tokens[0, 3])
  np.testing.assert_array_equal(encoded.summary[1], encoded.tokens[1, 1])


def test_statistics_by_hand():
  # A number, its mask, and a column without one.
  x = np.array([[[9, 0, 1], [4, 1, 1], [2, 1, 0], [7, 0, 0], [50, 1, 5]]])
  real = np.array([[True, True, True, True, False]])
  found = additive.statistics(x.astype(np.float32), real, ((0, 1),))
  mean, std, least, most, count = np.asarray(found)[0, :4, :5].T
  np.testing.assert_array_equal(mean, [0, 4, 3, 3])
  np.testing.assert_array_equal(std, [0, 0, 1, 1])
  np.testing.assert_array_equal(least, [0, 4, 2, 2])
  np.testing.assert_array_equal(most, [0, 4, 4, 4])
  np.testing.assert_array_equal(count, [0, 1, 2, 2])
  np.testing.assert_array_equal(found[0, :4, 5:], x[0, :4])
  np.testing.assert_array_equal(additive.at_last(found, real), found[:, 3])


def test_equal_measurements_do_not_deviate():
  """Not by rounding either, which knots would cut into pieces."""
  x = np.full((1, 50, 2), 2.3, np.float32)
  found = additive.statistics(x, np.ones((1, 50), bool), ((0, 1),))
  assert not np.asarray(found)[..., 1].any()


def test_pieces_by_hand():
  knots = np.array([[0, 1, 3], [2, 2, 4]], np.float32)
  made = [
    np.asarray(additive.cut(np.array(two, np.float32), knots)).tolist()
    for two in ([-1, 1], [0.5, 2], [2, 3], [9, 5])
  ]
  # Between two knots at 2 there is no piece.
  assert made == [[0, 0, 0, 0], [0.5, 0, 0, 0], [1, 0.5, 0, 0.5], [1, 1, 0, 1]]
  found = np.array([[0, 5], [1, 5], [2, 5], [10, 6]], np.float32)
  np.testing.assert_array_equal(
    additive.quantiles(found, 3), [[0, 1, 2, 10], [5, 5, 5, 6]]
  )


def test_additive_knots_are_not_learned():
  model, fields = ENCODERS["additive"]
  params = start(model, fields)

  def total(params):
    return model.apply(params, fields, PRESENT)[0].summary.sum()

  found = jit(jax.grad(total))(params)
  assert not found["params"]["knots"].any()
  assert found["params"]["linear"]["kernel"].any()


def test_additive_lets_two_values_act_on_each_other_but_not_three():
  """By mixed differences of what the knots' ends of columns make."""
  model = additive.Additive((), width=6, pieces=3)
  corner = np.array(list(np.ndindex(2, 2, 2)), np.float32) * 8 - 4
  fields = {"x": corner[:, None], "mask": np.ones((8, 1), bool)}
  present = np.ones(8, bool)

  def differences(params):
    found = jit(model.apply)(params, fields, present)[0].summary
    cube = np.asarray(found, np.float64).reshape(2, 2, 2, 6)
    two = np.diff(np.diff(cube, axis=0), axis=1)
    return np.abs(two).max(), np.abs(np.diff(two, axis=2)).max()

  params = model.init(jax.random.key(0), fields, present)
  assert differences(params)[0] < 1e-5
  kernel = params["params"]["other"]["kernel"]
  params["params"]["other"]["kernel"] = jnp.ones_like(kernel)
  two, three = differences(params)
  assert two > 0.1 and three < 1e-4


def test_padded_hours_count_as_released():
  model, fields = ENCODERS["lstm"]
  model = model.clone(released=("padding_tokens",))
  encoded = encode(model, fields)
  # Up to the longest present stay, 4 hours, not to the array's 5.
  np.testing.assert_array_equal(encoded.mask.sum(axis=1), [4, 4, 0])
  assert not encoded.tokens[1, 2:].any()
  model = model.clone(released=("padding_tokens", "absent_tokens"))
  encoded = encode(model, fields)
  np.testing.assert_array_equal(encoded.mask.sum(axis=1), [4, 4, 4])


def test_ehr_transformer_class_token_first_and_kinds_of_token():
  model, fields = ENCODERS["transformer"]
  params = start(model, fields)
  encoded = encode(model, fields, params)
  assert encoded.tokens.shape == (3, 6, 8)
  np.testing.assert_array_equal(encoded.mask.sum(axis=1), [5, 3, 0])
  np.testing.assert_array_equal(encoded.summary, encoded.tokens[:, 0])
  assert "positions" not in params["params"]
  over = model.clone(over="variables")
  params = start(over, fields)
  encoded = encode(over, fields, params)
  assert encoded.tokens.shape == (3, 5, 8)
  assert params["params"]["positions"].shape == (5, 8)
  with pytest.raises(ValueError, match="over='days'"):
    model.clone(over="days").init(KEY, fields, PRESENT)


def test_sinusoids():
  table = ehr.sinusoids(3, 4)
  np.testing.assert_allclose(table[0], [0, 0, 1, 1])
  np.testing.assert_allclose(
    table[2], [np.sin(2), np.sin(2e-4), np.cos(2), np.cos(2e-4)], rtol=1e-6
  )


def test_film_is_scaled_as_its_weights_expect():
  image = np.array([[[0, 255]] * 2], np.uint8)
  ours = cxr.ViT().normalise(image)
  np.testing.assert_allclose(ours[0, 0], [[-1] * 3, [1] * 3])
  theirs = cxr.ViT(released=("image_norm",)).normalise(image)
  want = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
  np.testing.assert_allclose(theirs[0, 0, 1], want, rtol=1e-6)


def test_absent_film_is_encoded_as_zeros_as_released():
  model, fields = ENCODERS["vit"]
  model = model.clone(released=("absent_tokens",))
  params = start(model, fields)
  encoded = encode(model, fields, params)
  assert encoded.mask.all() and encoded.tokens[2].any()
  backbone = cxr.Backbone(patch=4, width=8, depth=1, heads=2, mlp=8)
  blank = backbone.apply(
    {"params": params["params"]["backbone"]}, jnp.zeros((1, 8, 8, 3))
  )
  np.testing.assert_allclose(encoded.tokens[2:], blank, atol=1e-6)


def test_sizes_are_checked():
  model, _ = ENCODERS["vit"]
  with pytest.raises(ValueError, match="image_size=8"):
    model.init(KEY, {"image": np.zeros((3, 6, 6), np.uint8)}, PRESENT)
  with pytest.raises(ValueError, match="no multiple of patch=3"):
    model.clone(patch=3).init(KEY, FILM, PRESENT)
  model, _ = ENCODERS["notes"]
  with pytest.raises(ValueError, match="positions=3"):
    model.clone(positions=3).init(KEY, NOTE, PRESENT)


def hidden(model, params, piece):
  """The BERT's own states of one window."""
  bert = notes.Bert(
    vocab_size=12, positions=4, width=8, depth=1, heads=2, mlp=8
  )
  piece = np.asarray(piece)[None]
  params = {"params": params["params"]["bert"]}
  return jit(bert.apply)(params, piece, piece > 0)[0]


def test_windows_are_averaged_where_they_have_a_piece():
  model, fields = ENCODERS["notes"]
  params = start(model, fields)
  encoded = encode(model, fields, params)
  first = hidden(model, params, NOTE["piece"][0, 0])
  second = hidden(model, params, NOTE["piece"][0, 1])
  want = (first[:3] + second[:3]) / 2
  np.testing.assert_allclose(encoded.tokens[0, :3], want, atol=1e-6)
  np.testing.assert_allclose(encoded.tokens[0, 3], first[3], atol=1e-6)
  np.testing.assert_array_equal(encoded.mask.sum(axis=1), [4, 3, 0])
  # The released code averages what is at padding, too.
  model = model.clone(released=("padding_tokens",))
  encoded = encode(model, fields, params)
  want = (first + second) / 2
  np.testing.assert_allclose(encoded.tokens[0], want, atol=1e-6)
  np.testing.assert_array_equal(encoded.mask.sum(axis=1), [4, 4, 0])


def test_absent_note_is_an_empty_string_as_released():
  model, fields = ENCODERS["notes"]
  model = model.clone(released=("absent_tokens",))
  params = start(model, fields)
  encoded = encode(model, fields, params)
  want = hidden(model, params, [2, 3, 0, 0])
  np.testing.assert_array_equal(encoded.mask[2], [True, True, False, False])
  np.testing.assert_allclose(encoded.tokens[2, :2], want[:2], atol=1e-6)


def test_summary_by_hand():
  x = jnp.array([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]])
  mask = jnp.array([[True, True, False]])
  np.testing.assert_allclose(summary.mean(x, mask), [[2, 4]])
  np.testing.assert_allclose(
    summary.summarise(x, mask, lambda v: v, "first"), [[1, 2]]
  )
  none = summary.summarise(x, ~mask & mask, lambda v: v + 1, "mean")
  np.testing.assert_array_equal(none, [[0, 0]])


def test_tokens_pass_through():
  fields = {"tokens": jnp.ones((2, 3, 4)), "mask": jnp.ones((2, 3), bool)}
  present = np.array([True, False])
  encoded, _ = tokens.Tokens(5).init_with_output(KEY, fields, present)[0]
  np.testing.assert_array_equal(encoded.mask[0], True)
  assert not encoded.mask[1].any() and not encoded.tokens[1].any()
  assert encoded.summary.shape == (2, 5)


def test_a_stay_of_3000_hours_runs_and_its_padding_changes_nothing():
  shapes = presets.PRESETS["base"].shapes({"ehr": 3})
  rng = np.random.default_rng(0)
  stays = [
    {
      "inputs": {"ehr": {"x": rng.normal(size=(hours, 3)).astype(np.float32)}},
      "present": np.ones(1, bool),
      "label": np.zeros(1, np.float32),
    }
    for hours in (20, 3000)
  ]

  def batch(*stays):
    kinds = {"ehr": "series"}
    made = examples.collate(stays, len(stays), kinds, 1, shapes, ("ehr",))
    return made.inputs["ehr"], made.present[:, 0]

  model = ehr.LSTM(width=4)
  params = jit(model.init)(jax.random.key(0), *batch(stays[0]))

  @jax.jit
  def found(params, fields, present):
    def total(params):
      encoded, _ = model.apply(params, fields, present)
      return (encoded.summary.sum(axis=1)).sum(), encoded

    (_, encoded), grads = jax.value_and_grad(total, has_aux=True)(params)
    return encoded, grads

  both, grads = found(params, *batch(*stays))
  assert both.mask.shape == (2, 4096)
  np.testing.assert_array_equal(both.mask.sum(axis=1), [20, 3000])
  sums = []
  for i, stay in enumerate(stays):
    alone, own = found(params, *batch(stay))
    sums.append(own)
    hours = len(stay["inputs"]["ehr"]["x"])
    np.testing.assert_allclose(
      both.tokens[i, :hours], alone.tokens[0, :hours], atol=1e-6
    )
    np.testing.assert_allclose(both.summary[i], alone.summary[0], atol=1e-6)
    np.testing.assert_array_equal(both.tokens[i, hours:], 0)
  for a, b, c in zip(*map(jax.tree.leaves, (grads, *sums))):
    np.testing.assert_allclose(a, b + c, atol=1e-5)
