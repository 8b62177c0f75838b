"""Modalities taken away, in training and at test."""

import jax
import numpy as np
import pytest

from experiments.training import fusion
from experiments.training.run import Run
from medpatch_jax import baselines, schema
from medpatch_jax.input import missing
from tests import small_run

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
  small, drawn_parameters, words
):
  """Head by head, in every model and every way of training stage 3."""
  words = ("--modalities=ehr,cxr", "--modality_dropout=0.5", *words.split())
  stages = small_run.Untrained(Run(small("run", *words)))
  run, last, key = stages.run, stages.fusion(), jax.random.key(3)
  params = small_run.drawn(last.params)

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
