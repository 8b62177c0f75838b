"""Models compared on the same stays: numbers, text and the command."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss

from experiments import compare as command
from medpatch_jax.evaluate import (
  bootstrap,
  calibration,
  compare,
  predictions,
  significance,
)
from tests.test_predictions import made

RESAMPLES = 100


def cohort(labels=3, rows=300, seed=0, openly=True):
  """Predictions of a good head, one like it and a poor one."""
  rng = np.random.default_rng(seed)
  label = (rng.random((rows, labels)) < 0.3).astype(np.uint8)
  good = rng.normal(size=label.shape) + 2 * label
  return made(
    rows,
    label=label,
    label_names=tuple(f"Label {c}" for c in range(labels)),
    logits={
      "good": good.astype(np.float32),
      "like": (good + 0.1 * rng.normal(size=good.shape)).astype(np.float32),
      "poor": rng.normal(size=good.shape).astype(np.float32),
    },
    chosen="good",
    open=openly,
  )


def result(about, models=("good", "like"), reference="poor"):
  draws, names = bootstrap.draw(about.subject, RESAMPLES), (*models, reference)
  hidden = compare.suppressed([about.logits[name] for name in names], about)
  scored = {
    name: compare.score(name, about.logits[name], about.label, draws, hidden)
    for name in names
  }
  return compare.build([scored[m] for m in models], scored[reference], about)


def test_numbers():
  about = cohort()
  found = result(about)
  good = found["models"][0]
  pair = about.logits["good"], about.logits["poor"], about.label
  closed = significance.delong(*pair, about.subject)
  for c in range(3):
    cell = good["per_label"][c]["auroc"]
    assert cell["value"] == pytest.approx(closed.value[c])
    assert cell["delong"] == pytest.approx(closed.p[c])
  want = np.mean(
    [
      average_precision_score(about.label[:, c], pair[0][:, c])
      - average_precision_score(about.label[:, c], pair[1][:, c])
      for c in range(3)
    ]
  )
  assert good["difference"]["auprc"]["value"] == pytest.approx(want)
  prob = calibration.probability(about.logits["poor"])
  want = [brier_score_loss(about.label[:, c], prob[:, c]) for c in range(3)]
  assert found["reference"]["brier"]["value"] == pytest.approx(np.mean(want))
  assert good["difference"]["brier"]["high"] < 0  # Lower is better.
  json.dumps(found, allow_nan=False)


def test_holm_corrects_the_whole_table():
  found = result(cohort())
  gaps = [
    row["difference"][name]
    for row in found["models"]
    for name in compare.METRICS
  ]
  p = [g["p"] if g["delong"] is None else g["delong"] for g in gaps]
  np.testing.assert_allclose(
    [g["holm"] for g in gaps], significance.holm(np.array(p))
  )
  labels = [
    label["auroc"] for row in found["models"] for label in row["per_label"]
  ]
  np.testing.assert_allclose(
    [g["holm"] for g in labels],
    significance.holm(np.array([g["delong"] for g in labels])),
  )


def test_a_model_beside_itself_and_one_like_it():
  found = result(cohort(), ("like", "good"), "good")
  like, same = found["models"]
  assert same["difference"]["auroc"] == {
    "value": 0,
    "low": 0,
    "high": 0,
    "p": 1,
    "delong": 1,
    "holm": 1,
  }
  # Paired: the interval of the difference is far narrower than either's.
  gap, alone = like["difference"]["auroc"], like["auroc"]
  assert gap["high"] - gap["low"] < (alone["high"] - alone["low"]) / 3


@pytest.mark.parametrize("labels", [1, 25])
def test_text_is_at_most_100_wide_and_hides_small_counts(labels):
  about = cohort(labels, openly=False)
  about.label[:, 0] = np.arange(300) < 4
  about = dataclasses.replace(
    about,
    logits={f"runs/a-rather-long-name/{k}": v for k, v in about.logits.items()},
    chosen="runs/a-rather-long-name/good",
  )
  found = result(about, list(about.logits)[:2], list(about.logits)[2])
  first = found["models"][0]["per_label"][0]
  assert {*first["auroc"].values(), *first["auprc"].values()} == {None}
  # A label that is suppressed is in no mean either.
  for gap in found["models"][0]["difference"].values():
    assert (gap["value"] is None) == (labels == 1)
  assert found["undefined"] == 1
  shown = compare.text(found)
  assert max(map(len, shown.split("\n"))) <= 100
  assert ("By label" in shown) == (labels > 1)
  assert ("<11" in shown) == (labels > 1)
  assert "nan" not in shown


def test_labels_without_both_classes_are_left_out_and_counted():
  about = cohort()
  about.label[:, 1] = 0
  found = result(about)
  assert found["undefined"] == 1
  assert found["models"][0]["per_label"][1]["auroc"]["value"] is None
  assert found["models"][0]["brier"]["per_label"][1] is None
  assert "Left out, without both classes: 1." in compare.text(found)
  json.dumps(found, allow_nan=False)
  with pytest.raises(ValueError, match="fewer than 11 patients"):
    result(cohort(rows=9, openly=False))


def test_runs_of_the_command(tmp_path):
  about = cohort()
  for name in ("a", "b"):
    predictions.save(tmp_path / name / predictions.NAME, about)
  a, b = (str(tmp_path / name) for name in "ab")
  found = command.compared([a, f"{a}:like"], f"{b}:poor", RESAMPLES)
  assert [row["name"] for row in found["models"]] == [a, f"{a}:like"]
  want = result(about)["models"][1]["difference"]["auprc"]
  assert found["models"][1]["difference"]["auprc"] == want

  other = dataclasses.replace(about, fingerprint={"test": "other"})
  predictions.save(tmp_path / "d" / predictions.NAME, other)
  for runs, said in [
    ([b], "named twice"),
    ([f"{a}:god"], "no head 'god'. Did you mean 'good'"),
    ([str(tmp_path / "d")], "another build of the dataset"),
    ([str(tmp_path / "e")], "there is none"),
  ]:
    with pytest.raises(ValueError, match=said):
      command.compared(runs, b, RESAMPLES)


@pytest.mark.parametrize(
  ("openly", "absent", "shown"),
  [
    (True, 3, "297 stays of"),
    (False, 3, ">289 stays of"),  # The split's 300 are known.
    (False, 12, "~290 stays of"),
  ],
)
def test_stays_that_a_head_does_not_predict_are_in_no_number(
  tmp_path, openly, absent, shown
):
  about = cohort(openly=openly)
  about.logits["ehr"] = about.logits["poor"].copy()
  about.logits["ehr"][:absent] = np.nan
  predictions.save(tmp_path / predictions.NAME, about)
  a, b = f"{tmp_path}:good", f"{tmp_path}:ehr"
  found = command.compared([a], b, RESAMPLES)
  kept = dataclasses.replace(
    about,
    logits={head: x[absent:] for head, x in about.logits.items()},
    **{k: getattr(about, k)[absent:] for k in ("label", "subject", "row")},
  )
  want = result(kept, ("good",), "ehr")
  assert found["models"][0]["difference"] == want["models"][0]["difference"]
  text = compare.text(found)
  assert shown in text.split("\n")[0]
  assert ":ehr predicts." in text and ":good predicts." not in text
  if not openly:  # No number of the output tells how many were left out.
    assert f"{300 - absent}" not in text
    assert found["stays"] != 300 - absent


def test_heads_that_share_no_stay_are_not_compared(tmp_path):
  about = cohort()
  about.logits["ehr"], about.logits["cxr"] = (
    about.logits["poor"].copy() for _ in range(2)
  )
  about.logits["ehr"][:200] = np.nan
  about.logits["cxr"][200:] = np.nan
  predictions.save(tmp_path / predictions.NAME, about)
  with pytest.raises(ValueError, match="no stay is predicted by all of"):
    command.compared([f"{tmp_path}:ehr"], f"{tmp_path}:cxr", RESAMPLES)
