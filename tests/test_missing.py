"""Modalities taken away, in training and at test."""

import jax
import numpy as np
import pytest

from experiments import fusion, initial, models
from experiments.run import Run
from experiments.stages import Stages
from medpatch_jax import baselines, calibrate, schema
from medpatch_jax.input import missing

M = ("ehr", "cxr", "dn")


def test_words_become_rates():
  rates = missing.parse(["0.5", "cxr=1", "dn=0.1:0.9"], M, "missing_test")
  assert rates == {"ehr": (0.5, 0.5), "cxr": (1.0, 1.0), "dn": (0.1, 0.9)}
  assert missing.name(rates) == "ehr=0.5,cxr=1,dn=0.1:0.9"
  assert missing.parse([missing.name(rates)][0].split(","), M, "x") == rates
  assert missing.parse(["cxr=0"], M, "x") == {}


@pytest.mark.parametrize("word", ["1.5", "xray=0.5", "cxr=", "cxr=1:0:1"])
def test_other_words_are_refused(word):
  with pytest.raises(ValueError, match=f"--missing_test={word}: wanted a rate"):
    missing.parse([word], M, "missing_test")


def test_rates_are_met_and_nested_and_follow_the_outcome():
  rng = np.random.default_rng(0)
  present = np.ones((4000, 3), bool)
  label = rng.integers(0, 2, (4000, 1)).astype(np.float32)

  def drop(*words):
    return missing.drop(present, label, M, missing.parse(words, M, "x"))

  half, most = drop("cxr=0.5"), drop("cxr=0.8", "dn=0.1:0.9")
  assert half[:, [0, 2]].all()
  np.testing.assert_allclose(half[:, 1].mean(), 0.5, atol=0.03)
  assert not (most[:, 1] & ~half[:, 1]).any()
  worse = label[:, 0] == 1
  np.testing.assert_allclose(most[worse, 2].mean(), 0.1, atol=0.03)
  np.testing.assert_allclose(most[~worse, 2].mean(), 0.9, atol=0.03)
  # Nothing appears that was not there.
  present[:100, 1] = False
  assert not drop("cxr=0.5")[:100, 1].any()


def test_fractions_of_patients_are_nested_and_whole():
  subject = np.random.default_rng(0).integers(0, 500, 2000)
  few, more = missing.fraction(subject, 0.2), missing.fraction(subject, 0.6)
  assert not (few & ~more).any() and 0.1 < few.mean() < 0.3
  assert all(len(set(few[subject == s])) == 1 for s in set(subject))
  assert missing.fraction(subject, 1.0).all()


def test_dropout_hides_some_but_never_all():
  present = np.random.default_rng(0).random((500, 3)) < 0.7
  batch = schema.Pools({}, present, np.zeros((500, 1)), np.ones(500))
  key = jax.random.key(0)
  shown = np.asarray(fusion.thinned(batch, 0.5, key).present)
  assert not (shown & ~present).any()
  np.testing.assert_array_equal(shown.any(axis=1), present.any(axis=1))
  whole = present.sum(axis=1) == 3
  # Of three, half are hidden; the one that is left counts one in eight.
  np.testing.assert_allclose(shown[whole].mean(), 0.5 + 1 / 24, atol=0.05)
  for hides_nothing in ((0.5, None), (0.0, key)):
    assert fusion.thinned(batch, *hides_nothing) is batch


def test_a_hidden_modality_is_zeros_and_others_are_untouched():
  rng = np.random.default_rng(0)
  inputs = {
    "ehr": {
      "x": rng.random((2, 3, 4), np.float32),
      "mask": np.ones((2, 3), bool),
    },
    "dn": {"piece": rng.integers(1, 9, (2, 1, 5))},
  }
  present = np.array([[True, True], [True, False]])
  batch = schema.Batch(inputs, present, np.zeros((2, 1)), np.ones(2))
  kept = np.array([[False, True], [True, True]])
  shown = missing.hide(batch, kept, ("ehr", "dn"))
  np.testing.assert_array_equal(shown.present, [[0, 1], [1, 0]])
  for name, value in inputs["ehr"].items():
    assert not shown.inputs["ehr"][name][0].any(), name
    np.testing.assert_array_equal(shown.inputs["ehr"][name][1], value[1])
  piece = shown.inputs["dn"]["piece"]
  np.testing.assert_array_equal(piece[0], inputs["dn"]["piece"][0])
  assert not piece[1].any()  # It never had one.
  with pytest.raises(ValueError, match="inputs of dn, ehr; .* of ehr"):
    missing.hide(batch, kept, ("ehr",))


def drawn(tree, seed=0, scale=0.3):
  """The tree with normal numbers in place of its leaves' values."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: (scale * rng.normal(size=x.shape)).astype(np.float32), tree
  )


class Untrained(Stages):
  """Stages with drawn results: nothing has to be trained or computed."""

  def encoder(self, m):
    return drawn(initial.blank_unimodal(self.run, m))

  def confidence(self, m):
    return drawn(initial.confidence(self.run, m), scale=3.0)

  def temperature(self, m):
    return calibrate.Temperature.ones(len(self.run.labels))

  def pools(self, m, split):
    return self._rows(models.blank_pools(self.run)[m], m, split)

  def encodings(self, m, split):
    return self._rows(models.encoding_fields(self.run, m, split), m, split)

  def _rows(self, fields, m, split):
    """Drawn fields of the stays with the modality, each stay always alike."""
    rng, size = np.random.default_rng(0), self.run.data.size(split)
    rows = self.run.pooled_rows(split, m)
    return {
      name: rng.normal(size=(size, *shape)).astype(kind)[rows]
      for name, (shape, kind) in fields.items()
    }


@pytest.fixture
def uninitialised(monkeypatch):
  """Initial parameters are drawn by shape: no program is compiled for them."""

  def init(module, batch, run, **how):
    shapes = jax.eval_shape(
      lambda: module.init(jax.random.key(0), batch, **how)
    )
    return drawn(shapes["params"])

  monkeypatch.setattr(initial, "init", init)


@pytest.mark.parametrize(
  "words",
  [
    "",
    "--fuser=lstm --cache_gb=0",
    "--finetune_encoders",
    "--model=early --cache_gb=0",
    # Of late, nothing is trained.
    *(f"--model={m}" for m in baselines.BASELINES if m != "late"),
    "--model=healnet_raw",
  ],
)
def test_a_modality_hidden_in_training_is_an_absent_one(
  small, uninitialised, words
):
  """Head by head, in every model and every way of training stage 3."""
  words = ("--modalities=ehr,cxr", "--modality_dropout=0.5", *words.split())
  stages = Untrained(Run(small("run", *words)))
  run, last, key = stages.run, stages.fusion(), jax.random.key(3)
  params = drawn(last.params)

  @jax.jit
  def step(batch):
    return last.forward(params, last.frozen, batch, key)

  rows = run.rows("train", of="fusion")
  at, batch = next(last.loader("train", learn=False).epoch())
  loss, _, hidden = step(batch)
  # The same stays from records without what was hidden: there nothing is left
  # to hide.
  shown = np.asarray(fusion.thinned(batch, 0.5, key).present)
  assert (shown != batch.present).any()
  run.present("train")[rows[at]] = shown
  assert (run.rows("train", of="fusion") == rows).all()
  again, without = next(last.loader("train", learn=False).epoch())
  np.testing.assert_array_equal(again, at)
  np.testing.assert_array_equal(without.present, shown)
  want, _, absent = step(without)
  assert hidden.keys() == absent.keys()
  for head, logits in absent.items():
    np.testing.assert_array_equal(hidden[head], logits, err_msg=head)
  assert float(loss) == float(want) != 0
