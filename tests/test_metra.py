"""MeTra against the same thing written in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import schema
from medpatch_jax.baselines import metra
from medpatch_jax.encode import tokens

B, E, C = 2, 6, 2
HEADS, HEAD_WIDTH = 2, 3
LENGTHS = {"ehr": 4, "rr": 5}


def setting():
  rng = np.random.default_rng(0)
  model = metra.MeTra(
    modalities=("ehr", "rr"),
    encoders={m: tokens.Tokens(joint_width=E) for m in LENGTHS},
    num_labels=C,
    lengths=LENGTHS,
    width=E,
    depth=1,
    heads=HEADS,
    head_width=HEAD_WIDTH,
    mlp=8,
  )
  inputs = {
    "ehr": {
      "tokens": rng.normal(size=(B, 4, E)),
      "mask": np.ones((B, 4), bool),
    },
    "rr": {"tokens": rng.normal(size=(B, 3, 7)), "mask": np.ones((B, 3), bool)},
  }
  inputs["rr"]["mask"][0, 2] = False
  batch = schema.Batch(
    inputs=jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), inputs),
    present=jnp.array([[True, True], [True, False]]),
    label=jnp.zeros((B, C)),
    weight=jnp.ones(B),
  )
  for fields in batch.inputs.values():
    fields["mask"] = fields["mask"] > 0
  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), batch, train=False)
  )["params"]
  params = jax.tree.map(lambda s: rng.normal(size=s.shape), shapes)
  return model, batch, jax.tree.map(lambda a: a.astype(np.float32), params)


def norm(x, p):
  x = x - x.mean(-1, keepdims=True)
  return (
    x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]
  )


def dense(x, p):
  return x @ p["kernel"] + p.get("bias", 0)


def stay(p, parts):
  """One stay whose `parts` {modality: f[T E]} are all real tokens."""
  x = [p["cls"] + p["position_cls"]]
  for m, part in parts.items():
    x.extend(part + p[f"position_{m}"][: len(part)])
  x, block = np.stack(x), p["transformer"]["block_0"]
  y = norm(x, block["norm_attention"])
  q, k, v = np.split(dense(y, block["attention"]["qkv"]), 3, axis=-1)
  heads = []
  for a in range(HEADS):
    columns = slice(a * HEAD_WIDTH, (a + 1) * HEAD_WIDTH)
    score = q[:, columns] @ k[:, columns].T / np.sqrt(HEAD_WIDTH)
    weight = np.exp(score - score.max(-1, keepdims=True))
    heads.append(weight / weight.sum(-1, keepdims=True) @ v[:, columns])
  x = x + dense(np.concatenate(heads, axis=-1), block["attention"]["out"])
  y = dense(norm(x, block["norm_mlp"]), block["mlp_in"])
  x = x + dense(np.asarray(jax.nn.gelu(y, approximate=False)), block["mlp_out"])
  head = p["classifier"]
  return dense(norm(x[0], head["norm"]), head["dense"])


def test_equals_numpy():
  model, batch, params = setting()
  logits = model.apply({"params": params}, batch, train=False)[0]["metra"]
  ehr = np.asarray(batch.inputs["ehr"]["tokens"])
  note = dense(np.asarray(batch.inputs["rr"]["tokens"]), params["project_rr"])
  want = [
    stay(params, {"ehr": ehr[0], "rr": note[0, :2]}),
    stay(params, {"ehr": ehr[1]}),
  ]
  np.testing.assert_allclose(logits, want, rtol=2e-4, atol=1e-5)


def test_refuses_more_tokens_than_positions():
  model, batch, params = setting()
  with pytest.raises(ValueError, match="rr has 3 tokens and positions for 2"):
    model.clone(lengths={"ehr": 4, "rr": 2}).apply(
      {"params": params}, batch, train=False
    )
