"""Modalities taken away, in training and at test."""

import jax
import numpy as np
import pytest

from experiments import fusion
from medpatch_jax import schema
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
