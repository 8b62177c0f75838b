"""MedPatch: heads, sources, ablations, switches, published sizes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.medpatch import MedPatch
from tests.golden_file import jit

KEY = jax.random.key(0)
M = schema.MODALITIES
B, C, E, D = 3, 2, 8, 4


def pools(modalities, present=None, num_labels=C, seed=0):
  """Random pools, absent ones empty."""
  rng = np.random.default_rng(seed)
  if present is None:
    present = np.ones((B, len(modalities)), bool)
  inputs = {}
  for i, m in enumerate(modalities):
    shape = (B, 4, E if m == "ehr" else D)
    encoded = schema.Encoded(
      tokens=rng.normal(size=shape).astype(np.float32),
      mask=np.broadcast_to(present[:, i, None], (B, 4)),
      summary=rng.normal(size=(B, E)).astype(np.float32)
      * present[:, i, None].astype(np.float32),
    )
    inputs[m] = medpatch.pools(
      encoded,
      rng.normal(size=(B, 4, num_labels)).astype(np.float32),
      calibrate.Temperature.ones(num_labels),
      threshold=0.6,
      modality=m,
    )
  label = rng.integers(0, 2, (B, num_labels)).astype(np.float32)
  return schema.Pools(inputs, present, label, np.ones(B, np.float32))


def test_heads_and_sources():
  batch = pools(M)
  model = MedPatch(M, C, E)
  (outputs, out), params = jit(model.init_with_output)(KEY, batch)
  assert model.sources == (*M, "missingness", "low", "high")
  heads = {*model.sources, "late", "combined", "reduced"}
  assert outputs.keys() == heads
  assert out["late_weights"].shape == (B, 7, C)
  assert params["params"]["late"]["score"].shape == (7, C)
  high, low, late = (outputs[k] for k in ("high", "low", "late"))
  np.testing.assert_allclose(
    outputs["combined"], (high + low + late) / 3, rtol=1e-5
  )
  np.testing.assert_allclose(outputs["reduced"], (high + late) / 2, rtol=1e-5)
  # Scores start equal, so late starts as the mean of its sources.
  mean = sum(outputs[s] for s in model.sources) / 7
  np.testing.assert_allclose(late, mean, atol=1e-6)


@pytest.mark.parametrize(
  "without",
  [w for n in range(3) for w in itertools.combinations(medpatch.WITHOUT, n)],
)
def test_any_two_ablations_leave_a_prediction(without):
  model = MedPatch(("ehr", "rr"), C, E, without=without)
  shapes = jax.eval_shape(model.init_with_output, KEY, pools(("ehr", "rr")))
  (outputs, _), params = shapes
  params = params["params"]
  assert outputs["late"].shape == (B, C)
  assert (
    ("high" in outputs) == ("combined" in outputs) == ("joint" not in without)
  )
  assert ("missingness" in outputs) == ("missingness" not in without)
  assert ("classifier_rr" in params) == ("unimodal" not in without)
  assert params["late"]["score"].shape == (len(model.sources), C)
  assert params["loss_scalars"].shape == (1 if "joint" in without else 3,)


def test_all_ablations_or_unknown_ones_are_refused():
  for without in (medpatch.WITHOUT, ("late",)):
    with pytest.raises(ValueError, match="wanted some of unimodal"):
      MedPatch(M, C, E, without=without).init(KEY, pools(M))


@pytest.mark.parametrize(
  "modalities", [("ehr",), ("cxr",), ("rr", "dn"), M[1:]]
)
def test_any_subset_of_modalities_runs(modalities):
  (outputs, _), _ = jit(MedPatch(modalities, C, E).init_with_output)(
    KEY, pools(modalities)
  )
  assert np.isfinite(outputs["late"]).all()


def test_late_skips_absent_modalities():
  present = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [1, 0, 0, 1]], bool)
  batch = pools(M, present)
  (_, out), params = jit(MedPatch(M, C, E).init_with_output)(KEY, batch)
  weights = np.asarray(out["late_weights"])
  np.testing.assert_array_equal(weights[:, :4, 0] > 0, present)
  assert (weights[:, 4:] > 0).all()
  # Released: the two notes' columns are swapped.
  _, out = MedPatch(M, C, E, released=("presence_order",)).apply(params, batch)
  weights = np.asarray(out["late_weights"])
  np.testing.assert_array_equal(weights[:, :4, 0] > 0, present[:, [0, 1, 3, 2]])
  # Not with the notes named in the order of their predictions.
  model = MedPatch(
    M, C, E, released=("presence_order",), flag_order=("ehr", "cxr", "dn", "rr")
  )
  _, out = model.apply(params, batch)
  np.testing.assert_array_equal(out["late_weights"][:, :4, 0] > 0, present)


def pool_once(released=(), kind="confidence", threshold=0.7, num_labels=2):
  tokens = jnp.eye(3)[None]
  encoded = schema.Encoded(tokens, jnp.ones((1, 3), bool), jnp.zeros((1, 2)))
  logits = jnp.broadcast_to(
    jnp.array([0.0, 1.0, 4.0])[None, :, None], (1, 3, num_labels)
  )
  temperature = calibrate.Temperature(
    jnp.zeros((0, num_labels)), jnp.full((num_labels,), 2.0)
  )
  return medpatch.pools(
    encoded,
    logits,
    temperature,
    threshold=threshold,
    kind=kind,
    modality="ehr",
    released=released,
  )


def test_clusters_by_hand():
  # After temperature 2, confidences are 0.5, 0.62, 0.88.
  np.testing.assert_allclose(pool_once().high[0, 0], [0, 0, 1])
  np.testing.assert_allclose(pool_once().low[0, 0], [0.5, 0.5, 0])
  # Undivided they are 0.5, 0.73, 0.98.
  got = pool_once(("ehr_uncalibrated",))
  np.testing.assert_allclose(got.high[0, 0], [0, 0.5, 0.5])
  # With one label the released code divides.
  got = pool_once(("ehr_uncalibrated",), num_labels=1)
  np.testing.assert_allclose(got.high[0, 0], [0, 0, 1])


def test_entropy_clusters_by_hand():
  # Entropies are 1, 0.956 and 0.527 bits; 0.693, 0.663, 0.365 nats.
  got = pool_once(kind="entropy", threshold=0.8113)
  np.testing.assert_allclose(got.high[0, 0], [0, 0, 1])
  got = pool_once(("entropy_direction",), "entropy", 0.65)
  np.testing.assert_allclose(got.high[0, 0], [0.5, 0.5, 0])
  got = pool_once(("entropy_direction",), "entropy", 0.75)
  assert not got.has_high.any()


def test_gradients_flow_to_features_and_not_to_confidences():
  """With --finetune_encoders the two come from different encoders."""
  rng = np.random.default_rng(0)
  tokens = jnp.asarray(rng.normal(size=(1, 4, 3)), jnp.float32)
  logits = jnp.asarray(rng.normal(size=(1, 4, 2)), jnp.float32)

  def loss(tokens, logits):
    encoded = schema.Encoded(tokens, jnp.ones((1, 4), bool), tokens[:, 0])
    pool = medpatch.pools(
      encoded,
      logits,
      calibrate.Temperature.ones(2),
      threshold=0.6,
      modality="rr",
    )
    return (pool.high**2).sum() + pool.mean_high.sum()

  of_tokens, of_logits = jax.grad(loss, (0, 1))(tokens, logits)
  assert of_tokens.any() and not of_logits.any()


def test_starts_from_stage_1():
  modalities = ("ehr", "rr")
  model = MedPatch(modalities, C, E)
  params = jit(model.init)(KEY, pools(modalities))["params"]
  rng = np.random.default_rng(1)

  def fill(tree):
    return jax.tree.map(
      lambda x: rng.normal(size=x.shape).astype(np.float32), tree
    )

  stage1 = {
    m: {
      "classifier": fill(params[f"classifier_{m}"]),
      "encoder": {"project": fill(params["high"]["project_rr"])},
    }
    for m in modalities
  }
  got = medpatch.init_from_stage1(params, stage1)
  for cluster in ("high", "low"):
    np.testing.assert_array_equal(
      got[cluster]["project_rr"]["kernel"],
      stage1["rr"]["encoder"]["project"]["kernel"],
    )
    assert "project_ehr" not in got[cluster]
  assert got["classifier_ehr"] is stage1["ehr"]["classifier"]
  assert params["classifier_ehr"] is not got["classifier_ehr"]
  stage1["rr"]["encoder"]["project"]["kernel"] = np.zeros((D + 1, E))
  with pytest.raises(ValueError, match=r"project_rr: .*\(5, 8\)"):
    medpatch.init_from_stage1(params, stage1)


@pytest.mark.parametrize(
  "modalities, num_labels, millions",
  [(M[:2], 1, 0.4), (M[:3], 1, 1.2), (M[:2], 25, 1.8), (M, 25, 4.8)],
)
def test_parameter_counts_are_the_published_ones(
  modalities, num_labels, millions
):
  """Paper Table C4."""
  width = {"ehr": 512, "cxr": 384, "rr": 768, "dn": 768}

  def blank(m):
    pool = jax.ShapeDtypeStruct((1, num_labels, width[m]), jnp.float32)
    flag = jax.ShapeDtypeStruct((1, num_labels), jnp.bool_)
    mean = jax.ShapeDtypeStruct((1, num_labels), jnp.float32)
    summary = jax.ShapeDtypeStruct((1, 512), jnp.float32)
    return schema.Pool(pool, pool, flag, flag, mean, mean, summary)

  batch = schema.Pools(
    {m: blank(m) for m in modalities},
    jax.ShapeDtypeStruct((1, len(modalities)), jnp.bool_),
    jax.ShapeDtypeStruct((1, num_labels), jnp.float32),
    jax.ShapeDtypeStruct((1,), jnp.float32),
  )
  params = jax.eval_shape(MedPatch(modalities, num_labels).init, KEY, batch)
  count = sum(x.size for x in jax.tree.leaves(params))
  assert round(count / 1e6, 1) == millions
