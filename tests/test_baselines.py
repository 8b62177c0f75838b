"""What every baseline promises: presence, padding and company.

The models are held against the released code in test_golden_baselines.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import baselines, schema
from medpatch_jax.encode import ehr, tokens
from medpatch_jax.evaluate import calibration
from tests.golden_names import QUICK

PAIR, ALL = schema.MODALITIES[:2], schema.MODALITIES
NAMES = list(baselines.BASELINES)
WIDTHS = {"ehr": 8, "cxr": 6, "rr": 10, "dn": 10}
SIZES = {
  "medfuse": dict(hidden=8),
  "metra": dict(
    width=8,
    depth=1,
    heads=2,
    head_width=4,
    mlp=8,
    lengths={"ehr": 9, "cxr": 5, "rr": 9, "dn": 9},
  ),
  "healnet": dict(depth=1, latents=4, latent_width=8, heads=2, head_width=4),
  "drfuse": dict(width=8),
}
LABELS = 3
# Everything, EHR alone, all but EHR, nothing.
PRESENT = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]])


def modalities_of(name):
  # HEALNet takes long to compile.
  return PAIR if name in ("mmtm", "daft", "healnet") else ALL


@functools.cache
def model_of(name):
  modalities = modalities_of(name)
  encoders = {
    m: ehr.LSTM(width=8) if m == "ehr" else tokens.Tokens(joint_width=8)
    for m in modalities
  }
  return baselines.build(
    name,
    modalities=modalities,
    encoders=encoders,
    num_labels=LABELS,
    **SIZES.get(name, {}),
  )


def batch_of(name, pad=0, seed=0):
  """Four stays of different length and presence; `pad` empty steps more."""
  rng = np.random.default_rng(seed)
  modalities, inputs = modalities_of(name), {}
  for m in modalities:
    T = 5 if m == "cxr" else 6
    x = rng.normal(size=(4, T, 76 if m == "ehr" else WIDTHS[m]))
    length = np.full(4, T) if m == "cxr" else np.array([6, 4, 3, 5])
    more = 0 if m == "cxr" else pad
    x = np.pad(x, ((0, 0), (0, more), (0, 0)), constant_values=99.0)
    mask = np.arange(T + more)[None] < length[:, None]
    field = "x" if m == "ehr" else "tokens"
    inputs[m] = {field: jnp.asarray(x, jnp.float32), "mask": jnp.asarray(mask)}
  label = rng.random((4, LABELS)) < 0.5
  return schema.Batch(
    inputs=inputs,
    present=jnp.asarray(PRESENT[:, : len(modalities)] > 0),
    label=jnp.asarray(label, jnp.float32),
    weight=jnp.ones(4),
  )


@functools.cache
def params_of(name):
  """Parameters of random numbers: no bias is zero, nothing is compiled."""
  init = functools.partial(model_of(name).init, train=False)
  shapes = jax.eval_shape(init, jax.random.key(0), batch_of(name))["params"]
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda s: jnp.asarray(0.3 * rng.normal(size=s.shape), jnp.float32), shapes
  )


@functools.cache
def predict_of(name):
  """Jitted (params, batch) -> (logits, out, gradient of a loss)."""
  model = model_of(name)

  def loss(params, batch):
    outputs, out = model.apply({"params": params}, batch, train=False)
    assert list(outputs) == [name]
    more = sum(v.sum() for v in out.get("losses", {}).values())
    return jnp.square(outputs[name]).sum() + more, (outputs[name], out)

  def predict(params, batch):
    (_, (logits, out)), grad = jax.value_and_grad(loss, has_aux=True)(
      params, batch
    )
    return logits, out, grad

  return jax.jit(predict, compiler_options=QUICK)


def predict(name, batch):
  return predict_of(name)(params_of(name), batch)


def content(inputs):
  """The name of the field that holds a modality's content."""
  return "x" if "x" in inputs else "tokens"


@pytest.mark.parametrize("name", NAMES)
def test_absent_content_is_never_read(name):
  batch = batch_of(name)
  logits, _, grad = predict(name, batch)
  assert logits.shape == (4, LABELS) and logits.dtype == jnp.float32
  assert np.isfinite(logits).all()
  inputs = {}
  for m, fields in batch.inputs.items():
    here = batch.present[:, batch_column(name, m)][:, None, None]
    key = content(fields)
    inputs[m] = fields | {key: jnp.where(here, fields[key], jnp.nan)}
  again, _, grad_again = predict(name, batch.replace(inputs=inputs))
  np.testing.assert_array_equal(logits, again)
  for g, h in zip(jax.tree.leaves(grad), jax.tree.leaves(grad_again)):
    assert np.isfinite(g).all()
    np.testing.assert_array_equal(g, h)


def batch_column(name, m):
  return modalities_of(name).index(m)


@pytest.mark.parametrize("name", NAMES)
def test_presence_counts(name):
  """Hiding what is there changes the stays that had it, and no other."""
  batch = batch_of(name)
  logits, _, _ = predict(name, batch)
  column = batch_column(name, "cxr")
  hidden = batch.replace(present=batch.present.at[:, column].set(False))
  changed = np.abs(predict(name, hidden)[0] - logits).max(axis=1)
  had = np.asarray(batch.present[:, column])
  if name == "daft":  # The film speaks through the EHR alone.
    had = had & np.asarray(batch.present[:, 0])
  assert (changed[had] > 1e-4).all() and (changed[~had] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_company_and_order_change_nothing(name):
  batch = batch_of(name)
  logits, _, _ = predict(name, batch)
  other = batch_of(name, seed=1)
  keep = jnp.array([2, 0])

  def mixed(a, b):
    return jnp.concatenate([a[keep], b[:2]])

  with_others, _, _ = predict(name, jax.tree.map(mixed, batch, other))
  np.testing.assert_allclose(with_others[:2], logits[keep], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name):
  logits, _, _ = predict(name, batch_of(name))

  @functools.partial(jax.jit, compiler_options=QUICK)
  def apply(params, batch):
    return model_of(name).apply({"params": params}, batch, train=False)[0]

  padded = apply(params_of(name), batch_of(name, pad=3))[name]
  np.testing.assert_allclose(padded, logits, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_but_early_fusions_encoders(name):
  _, _, grad = predict(name, batch_of(name))
  still = {
    jax.tree_util.keystr(path)
    for path, g in jax.tree_util.tree_leaves_with_path(grad)
    if not np.any(g)
  }
  encoders = {k for k in still if "encoders_" in k}
  if name == "early":
    assert len(encoders) == 4 + 3 * 2
  elif name in ("mmtm", "daft", "metra", "healnet"):
    # They read tokens, so the projections of summaries have nothing to do.
    assert all("project" in k for k in encoders)
  else:
    assert not encoders
  # Zero where only a softmax over one key or a dead unit is behind it.
  assert len(still - encoders) <= 2, still


def test_late_is_the_mean_of_what_exists():
  logits, out, _ = predict("late", batch_of("late"))
  alone = np.asarray(out["unimodal"])
  np.testing.assert_allclose(logits[0], alone[0].mean(axis=0), atol=1e-6)
  np.testing.assert_allclose(logits[1], alone[1, 0], atol=1e-6)
  np.testing.assert_allclose(logits[2], alone[2, 1:].mean(axis=0), atol=1e-6)
  np.testing.assert_array_equal(logits[3], 0)


@pytest.mark.parametrize("name", ["mmtm", "daft"])
def test_without_a_film_the_ehr_path_is_alone(name):
  """Neither gate nor scale touches the sequence of a stay without a film."""
  model, batch = model_of(name), batch_of(name)
  params = dict(params_of(name))
  block = "gate" if name == "mmtm" else "affine"
  zeroed = params | {block: jax.tree.map(jnp.zeros_like, params[block])}
  logits, _, _ = predict_of(name)(params, batch)
  changed, _, _ = predict_of(name)(zeroed, batch)
  np.testing.assert_array_equal(logits[1], changed[1])
  assert np.abs(logits[0] - changed[0]).max() > 1e-4
  with pytest.raises(ValueError, match="is defined for ehr-cxr, not for"):
    model.clone(modalities=ALL).init(jax.random.key(0), batch, train=False)


def test_drfuse_by_hand():
  from medpatch_jax.baselines import drfuse

  shared = jnp.array([[[0.0], [2.0]], [[1.0], [5.0]]])
  present = jnp.array([[True, True], [True, False]])
  mixed = drfuse.average(shared, present)
  p = calibration.probability(np.array([0.0, 2.0]))
  half = p.mean()
  np.testing.assert_allclose(
    mixed, [[np.log(half / (1 - half))], [1.0]], rtol=1e-5
  )
  kl = p * np.log(p / half) + (1 - p) * np.log((1 - p) / (1 - half))
  found = drfuse.divergence(shared, mixed, present)
  np.testing.assert_allclose(found, [kl.mean(), 0], atol=1e-6)

  a, b = jnp.array([[[3.0, 4.0]]]), jnp.array([[[-4.0, -3.0]]])
  found = drfuse.overlap(a, b, jnp.array([[True]]))
  np.testing.assert_allclose(found, [24 / 25], rtol=1e-5)

  # Source 1 predicts worse than 0 and has 0.4 more attention; 2 is absent.
  weight = jnp.array([[[0.3, 0.7, 0.0]]])
  losses = jnp.array([[[0.1], [0.5], [9.0]]])
  exists = jnp.array([[True, True, False]])
  found = drfuse.ranking(weight, losses, exists)
  np.testing.assert_allclose(found, [0.4], rtol=1e-6)


def test_drfuse_attends_to_what_exists():
  _, out, _ = predict("drfuse", batch_of("drfuse"))
  weights = np.asarray(out["weights"])
  np.testing.assert_allclose(weights.sum(axis=2)[:3], 1, rtol=1e-6)
  assert (weights[1, :, 1:4] == 0).all() and (weights[3] == 0).all()
  for name in ("sources", "shared", "distinct", "ranking"):
    term = np.asarray(out["losses"][name])
    assert term.shape == (4,) and (term >= 0).all() and term[3] == 0
  # With one modality there is nothing to align.
  assert out["losses"]["shared"][1] == 0


def test_stage_1_starts_a_baseline():
  params = params_of("late")
  given = {
    "ehr": {
      "encoder": jax.tree.map(jnp.ones_like, params["encoders_ehr"]),
      "classifier": jax.tree.map(jnp.ones_like, params["classifier_ehr"]),
    }
  }
  started = baselines.pretrained(params, given)
  for name in ("encoders_ehr", "classifier_ehr"):
    assert all((x == 1).all() for x in jax.tree.leaves(started[name]))
  assert started["classifier_rr"] is params["classifier_rr"]
  with pytest.raises(ValueError, match="no encoder of 'dn'"):
    baselines.pretrained(params_of("mmtm"), {"dn": given["ehr"]})


def test_refuses():
  with pytest.raises(ValueError, match="model 'earli': wanted one of early,"):
    baselines.build("earli")
  with pytest.raises(ValueError, match="has encoders for"):
    model = model_of("joint").clone(modalities=("ehr",))
    model.init(jax.random.key(0), batch_of("joint"), train=False)
