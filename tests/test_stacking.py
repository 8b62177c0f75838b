"""Late weights fitted on unseen stays, against what they must be."""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression

from experiments.training import late_weights
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import stacking
from medpatch_jax.evaluate import metrics
from medpatch_jax.late import Stacked
from tests import small_run


def _stays(N, C, strengths, seed=0):
  """Calibrated logits of independent modalities, presence and labels.

  `strengths` [M]: how far a modality's evidence of the two classes differs,
  in standard deviations of it; 0 is noise.
  """
  rng = np.random.default_rng(seed)
  prior = np.full(C, -1.0)
  label = (rng.random((N, C)) < scipy.special.expit(prior)).astype(np.float32)
  d = np.array(strengths)[None, :, None]
  z = d * (label[:, None] - 0.5) + rng.normal(size=(N, len(strengths), C))
  return prior + d * z, label, prior.astype(np.float32)


def _fit(logits, present, label, prior, modalities, classes=False):
  return stacking.fit(
    _known(logits, present, label, prior, modalities, classes)
  )


def _known(logits, present, label, prior, modalities, classes=False, of=None):
  subject = np.arange(len(label)) if of is None else of
  return stacking.Stays(
    logits, present, label, subject, prior, modalities, classes
  )


def _apply(params, logits, present, M):
  fused, _ = Stacked(M).apply({"params": params}, logits, present)
  return np.asarray(fused)


def test_one_modality_alone_has_no_parameter_without_numbers():
  """It could not be saved, and --modalities=ehr ended with an error."""
  logits, label, prior = _stays(400, 2, [1.0])
  present = np.ones((400, 1), bool)
  found = _fit(logits, present, label, prior, 1)
  again = stacking.fit(_known(logits, present, label, prior, 1), found)
  blank = Stacked(1).init(jax.random.key(0), logits, present)["params"]
  assert found.keys() == again.keys() == blank.keys()
  assert all(np.size(value) for value in found.values())
  fused = _apply(found, logits, present, 1)
  own = found["prior"] + found["bias"]
  want = own + found["weight"][0] * (logits[:, 0] - prior)
  np.testing.assert_allclose(fused, want, atol=1e-5)


def test_calibrated_independent_sources_weigh_one_each():
  logits, label, prior = _stays(4000, 6, [1.0, 1.5])
  present = np.ones((4000, 2), bool)
  found = _fit(logits, present, label, prior, 2)
  np.testing.assert_allclose(found["weight"], 1.0, atol=0.15)
  # In units of what the evidence varies by.
  assert np.abs(found["pair"] * 1.0 * 1.5).max() < 0.15


def test_noise_weighs_nothing_and_changes_nothing():
  logits, label, prior = _stays(600, 4, [1.0, 0.0], seed=1)
  # Learned by heart elsewhere: sure of itself, and wrong as often as right.
  logits[:, 1] = prior + 2 * np.random.default_rng(2).normal(size=(600, 4))
  present = np.ones((600, 2), bool)
  half = slice(0, 300), slice(300, 600)
  found = _fit(logits[half[0]], present[half[0]], label[half[0]], prior, 2)
  fused = _apply(found, logits[half[1]], present[half[1]], 2)
  alone = metrics.auroc(logits[half[1], 0], label[half[1]]).mean()
  assert abs(metrics.auroc(fused, label[half[1]]).mean() - alone) < 0.005
  # A mean of the two would lose most of it.
  mean = metrics.auroc(logits[half[1]].mean(axis=1), label[half[1]]).mean()
  assert alone - mean > 0.05


def test_what_two_show_only_together_is_seen():
  rng = np.random.default_rng(0)
  N, C = 3000, 3
  first, second = rng.random((2, N, C)) < 0.5
  label = (first ^ second).astype(np.float32)
  logits = np.where(np.stack([first, second], 1), 1.0, -1.0)
  logits = logits + 0.3 * rng.normal(size=logits.shape)
  present = np.ones((N, 2), bool)
  present[: N // 10, 1] = False
  found = _fit(logits, present, label, np.zeros(C), 2)
  fused = _apply(found, logits, present, 2)
  both = present.all(axis=1)
  assert metrics.auroc(fused[both], label[both]).mean() > 0.98
  # Nothing is known of those who have but one of the two.
  assert np.abs(fused[~both]).max() < 0.3


def test_products_have_to_pay_on_other_patients():
  """Of two that mean something together they do, of two of noise they do not.

  Noise is small here, as an encoder's is that found nothing: its products are
  tiny, and their weights were large.
  """
  rng = np.random.default_rng(0)
  N = 1000
  first, second = rng.random((2, N, 1)) < 0.5
  coins = np.where(np.stack([first, second], 1), 1.0, -1.0)
  label = (first ^ second).astype(np.float32)
  present = np.ones((N, 2), bool)
  assert stacking.pay(_known(coins, present, label, np.zeros(1), 2))
  small = 0.2 * rng.standard_t(3, size=(N, 2, 1))
  assert not stacking.pay(_known(small, present, label, np.zeros(1), 2))
  kept = stacking.fit(
    _known(small, present, label, np.zeros(1), 2), pairs=False
  )
  np.testing.assert_array_equal(kept["pair"], 0)


def test_a_label_without_a_case_stays_near_its_base_rate():
  """Its bias had no least loss: it ran as far as the solver went."""
  logits, label, prior = _stays(200, 2, [1.0, 1.0])
  label[:, 1] = 0
  present = np.ones((200, 2), bool)
  found = _fit(logits, present, label, prior, 2)
  # The slope at the least loss: a penalty on the bias against 200 stays.
  z = _apply(found, logits, present, 2)[:, 1]
  wrong = scipy.special.expit(z.astype(np.float64)).sum()
  assert wrong == pytest.approx(-stacking.BIAS * found["bias"][1], rel=0.02)
  assert -5 < found["bias"][1] < 0


def test_absent_sources_are_never_read():
  logits, label, prior = _stays(200, 2, [1.0, 1.0, 0.5])
  present = np.random.default_rng(0).random((200, 3)) < 0.7
  spoilt = np.where(present[:, :, None], logits, np.nan)
  found = _fit(spoilt, present, label, prior, 3)
  kept = _fit(logits, present, label, prior, 3)
  for name, value in kept.items():
    np.testing.assert_array_equal(found[name], value)
  module = Stacked(3)

  def total(params, logits):
    return module.apply({"params": params}, logits, present)[0].sum()

  grads = jax.grad(total, argnums=(0, 1))(found, jnp.asarray(spoilt))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  nobody = np.zeros((1, 3), bool)
  np.testing.assert_allclose(
    _apply(found, spoilt[:1], nobody, 3)[0], prior + found["bias"], rtol=1e-6
  )


def test_one_source_of_one_label_is_penalised_logistic_regression():
  logits, label, prior = _stays(300, 1, [1.2])
  found = _fit(logits, np.ones((300, 1), bool), label, prior, 1)
  other = LogisticRegression(C=1 / stacking.MEAN, tol=1e-8)
  other.fit(logits[:, 0] - prior, label[:, 0])
  np.testing.assert_allclose(found["weight"], other.coef_, rtol=1e-3)
  np.testing.assert_allclose(found["bias"] + prior, other.intercept_, rtol=1e-2)


def test_classes_are_fitted_as_classes():
  rng = np.random.default_rng(0)
  N, C = 2000, 4
  prior = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
  true = rng.choice(C, N, p=np.exp(prior))
  label = np.eye(C)[true]
  logits = prior + 2.0 * (label + rng.normal(size=(N, C)) / np.sqrt(2))
  logits = np.stack([logits, prior + rng.normal(size=(N, C))], axis=1)
  present = np.ones((N, 2), bool)
  found = _fit(logits, present, label, prior, 2, classes=True)
  # Evidence of variance 2 around a difference of 2 is calibrated at 1.
  np.testing.assert_allclose(found["weight"][0], 1.0, atol=0.15)
  assert found["weight"][1].max() < 0.1
  assert (_apply(found, logits, present, 2).argmax(1) == true).mean() > 0.6


@pytest.mark.parametrize("repeats", [1, 3])
def test_who_is_judged_did_not_choose_the_weights(repeats):
  """Labels at random: fitted on all they would be known better than not."""
  rng = np.random.default_rng(0)
  N, C, S = 60, 2, 8
  logits = rng.normal(size=(N, S, C)) * 3
  label = (rng.random((N, C)) < 0.5).astype(np.float32)
  logits, label = (np.repeat(x, repeats, axis=0) for x in (logits, label))
  subject = np.repeat(np.arange(N), repeats)
  present, prior = np.ones(logits.shape[:2], bool), np.zeros(C)
  found = _fit(logits, present, label, prior, S)
  known = metrics.auroc(_apply(found, logits, present, S), label).mean()
  honest = stacking.unseen(_known(logits, present, label, prior, S, of=subject))
  assert known > 0.65
  assert metrics.auroc(honest, label).mean() < 0.6


def test_few_stays_move_little_what_many_have_told():
  """Ten positives say otherwise; a hundred had said what is true."""
  logits, label, prior = _stays(1000, 1, [1.0, 0.0])
  logits[:, 1] = prior + 2 * np.random.default_rng(3).normal(size=(1000, 1))
  present = np.ones((1000, 2), bool)
  many = _known(logits, present, label, prior, 2)
  few = many.take(np.flatnonzero(label[:, 0])[:5].tolist() + [*range(30)])
  before = stacking.fit(many)
  with_it, without = stacking.fit(few, before), stacking.fit(few)

  def off(found):
    return np.abs(found["weight"] - before["weight"]).max()

  assert off(with_it) < 0.5 * off(without)
  np.testing.assert_array_equal(with_it["center"], before["center"])


@pytest.mark.usefixtures("drawn_parameters")
def test_cross_fitted_logits_are_of_patients_the_encoder_never_saw(small):
  words = ("--modalities=cxr", "--late_pooling=stacked", "--cross_fit=2")
  stages = Stages(Run(small("run", *words, "--epochs=2")))
  run = stages.run
  found = stages.out_of_fold("cxr")
  rows, subject = run.rows("train", "cxr"), run.data.subject("train")
  assert found.shape == (len(rows), 25)
  fold = stacking.folds(subject, 2)[rows]
  seen = []
  real = stages._encoder

  def noted(m, name, folder, key, rows=None):
    seen.append(rows)
    return real(m, name, folder, key, rows)

  stages.computed.clear()
  with mock.patch.object(stages, "_encoder", noted):
    np.testing.assert_array_equal(stages.out_of_fold("cxr"), found)
  for k in range(2):
    assert not {*subject[seen[k]]} & {*subject[rows[fold == k]]}
  whole = stages.unimodal_logits("train", "cxr", stages.encoder("cxr"), rows)
  assert np.abs(found - whole).max() > 1e-3


@pytest.mark.usefixtures("drawn_parameters")
def test_stage_3_starts_and_ends_with_weights_of_validation(small):
  """What is kept is what `fit` finds, read back by who opens the run anew."""
  words = ("--modalities=ehr,rr", "--late_pooling=stacked", "--without=joint")
  config = small("run", *words)
  stages = small_run.Untrained(Run(config))
  params, last, run = stages.fuse(), stages.fusion(), stages.run
  found, batches = params["late"], last.loader("validation", learn=False)
  outputs = stages.outputs(last.forward, params, batches)
  sources = ("ehr", "rr", "missingness")
  logits = np.stack([outputs[s] for s in sources], axis=1)
  rows = run.rows("validation")
  present = np.ones(logits.shape[:2], bool)
  present[:, :2] = run.present("validation")[rows]
  label, prior = run.label("validation")[rows], run.base_rate()
  subject = run.data.subject("validation")[rows]
  known = _known(logits, present, label, prior, 2, of=subject)
  wanted = stacking.fit(known, pairs=bool(found["pair"].any()))
  assert (found["weight"] != 1).all()
  for name, value in wanted.items():
    np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
  fused = _apply(found, logits, present, 2)
  np.testing.assert_allclose(outputs["late"], fused, atol=1e-5)
  assert stages.heads == ("late",)
  stages.computed.clear()  # As who opens the workdir anew.
  with mock.patch.object(stacking, "fit", side_effect=AssertionError):
    jax.tree.map(np.testing.assert_array_equal, stages.fuse()["late"], found)


@pytest.mark.parametrize(
  ("words", "pooling"),
  [
    ((), "stacked"),
    (("--as_published",), "mean"),
    (("--as_released=late_norm",), "mean"),
    (("--as_published", "--late_pooling=sum"), "sum"),
  ],
)
def test_one_flag_gives_the_late_module_as_published(small, words, pooling):
  assert small("run", *words).late_pooling == pooling


def test_few_cases_are_joined_by_stays_of_train(small, monkeypatch):
  """Validation of the small twin has 10 to 200 cases over its labels."""
  chosen = small("run", "--modalities=ehr")
  config = dataclasses.replace(chosen, cross_fit=None)
  for few, wanted in ((10, 0), (stacking.FEW, stacking.FOLDS)):
    monkeypatch.setattr(stacking, "FEW", few)
    for words, of in (
      ({}, wanted),
      ({"cross_fit": 3}, 3),
      ({"held_out": 0.2}, 0),
    ):
      own = dataclasses.replace(config, **words)
      stages = Stages(Run(own))
      assert late_weights.cross_fit(stages) == of, (few, words)
      del stages  # It holds the workdir.
