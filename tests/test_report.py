"""The test result: what stands in it, what is hidden, how it prints."""

import json

import numpy as np
import pytest

from medpatch_jax import schema
from medpatch_jax.evaluate import metrics, report, table

MODALITIES = schema.MODALITIES
NAMES = schema.TASKS["phenotyping"].labels


def cohort(rows=300, labels=3, bound=True, seed=0):
  rng = np.random.default_rng(seed)
  label = (rng.random((rows, labels)) < 0.3).astype(np.float32)
  present = rng.random((rows, 4)) < [2, 0.5, 0.5, 0.02]
  evidence = rng.normal(size=(4, rows, labels)) + 2 * label
  bayes = dict(zip(MODALITIES, evidence))
  bayes["all"] = np.where(present.T[:, :, None], evidence, 0).sum(axis=0)
  logits = {
    name: bayes[name] + rng.normal(size=label.shape) for name in MODALITIES
  }
  for head in ("missingness", "high", "low", "late", "combined", "reduced"):
    logits[head] = bayes["all"] + rng.normal(size=label.shape)
  # Rows without the modality are never read.
  for m, name in enumerate(MODALITIES):
    logits[name][~present[:, m]] = np.nan
  return dict(
    logits=logits,
    label=label,
    present=present,
    subject=rng.integers(rows // 2 + 1, size=rows),
    label_names=NAMES[:labels],
    modalities=MODALITIES,
    chosen="late",
    bayes=bayes if bound else None,
    resamples=50,
  )


def test_numbers_are_those_of_the_metrics():
  given = cohort()
  found = report.build(**given)
  want = metrics.summary(given["logits"]["late"], given["label"])
  assert found["model"]["auroc"]["value"] == want["auroc"]
  assert found["model"]["auprc"]["value"] == want["auprc"]
  cell = found["model"]["auroc"]
  assert cell["low"] < cell["value"] < cell["high"]

  rows = given["present"][:, 1]
  film = next(r for r in found["unimodal"] if r["modality"] == "cxr")
  assert film["stays"] == rows.sum()
  want = [
    metrics.summary(given["logits"][name][rows], given["label"][rows])["auroc"]
    for name in ("cxr", "late")
  ]
  assert [film["auroc"]["value"], film["model"]["auroc"]["value"]] == want
  gain = film["gain"]["auroc"]
  assert gain["value"] == pytest.approx(want[1] - want[0])
  assert gain["low"] < gain["value"] < gain["high"]
  json.dumps(found, allow_nan=False)


def test_optimistic_is_the_best_head_on_this_split():
  found = report.build(**cohort())
  by_head = {r["head"]: r["auroc"]["value"] for r in found["heads"]}
  del by_head["missingness"]
  best = found["optimistic"]
  assert best["head"] == max(by_head, key=by_head.get)
  assert best["auroc"]["value"] == max(by_head.values())
  assert "optimistic" in table.text(found).lower()


def test_small_cells_hold_no_numbers():
  found = report.build(**cohort())
  note = next(r for r in found["unimodal"] if r["modality"] == "dn")
  assert note["stays"] == "<11" and note["auroc"] is None
  assert note["gain"] is None and note["bayes"]["auprc"] is None
  hidden = [r for r in found["patterns"] if r["stays"] == "<11"]
  assert hidden and all(r["per_label"] is None for r in hidden)
  shown = [r for r in found["patterns"] if r["stays"] != "<11"]
  assert shown and all(r["stays"] >= 11 for r in shown)
  tiny = report.build(**cohort(rows=9))
  assert tiny["stays"] == "<11" and tiny["model"]["auroc"] is None
  assert all(r["positives"] in ("<11", 0) for r in tiny["per_label"])
  assert "0." not in table.text(tiny)


def test_patterns_cover_every_stay_once():
  present = np.array([[1, 0], [1, 1], [1, 1], [0, 0]], bool)
  found = report.patterns(present)
  assert [p for p, _ in found][0] == (True, True)
  np.testing.assert_array_equal(sum(rows for _, rows in found), np.ones(4))


def test_undefined_labels_are_counted():
  given = cohort()
  given["label"][:, 1] = 0
  found = report.build(**given)
  assert found["model"]["undefined"] == 1
  assert found["model"]["per_label"][1]["auroc"]["value"] is None
  assert "1 label without both classes" in table.text(found)
  assert "nan" not in table.text(found).lower().replace("pneumonia", "")
  json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("labels", [1, 3, 25])
@pytest.mark.parametrize("bound", [False, True])
def test_prints_within_100_columns(labels, bound):
  shown = table.text(report.build(**cohort(labels=labels, bound=bound)))
  assert max(map(len, shown.split("\n"))) <= 100
  assert ("Bayes" in shown) == bound
  for word in ("EHR alone", "late = MedPatch", "EHR CXR RR --", "gain"):
    assert word in shown


def test_a_model_of_one_head_and_an_empty_split():
  given = cohort(bound=False)
  given["logits"] = {"early": given["logits"]["late"]}
  found = report.build(**{**given, "chosen": "early", "title": "early fusion"})
  assert found["optimistic"] is None and found["unimodal"] == []
  assert "early fusion" in table.text(found)

  for name in ("label", "present", "subject"):
    given[name] = given[name][:0]
  given["logits"] = {"early": given["logits"]["early"][:0]}
  nothing = report.build(**{**given, "chosen": "early"})
  assert nothing["stays"] == 0 and nothing["model"]["auroc"] is None
  assert "0 stays" in table.text(nothing)


def test_refuses():
  for change, message in [
    ({"chosen": "best"}, "head 'best' is not among"),
    ({"bayes": {"xray": None}}, "bayes has"),
    ({"label_names": NAMES}, "label_names is"),
    ({"subject": np.arange(4)}, "subject is"),
  ]:
    with pytest.raises(ValueError, match=message):
      report.build(**{**cohort(), **change})


@pytest.mark.parametrize("name", NAMES)
def test_names_are_short_and_distinct(name):
  assert len(table.shorten(name)) <= 22
  assert len({table.shorten(n) for n in NAMES}) == len(NAMES)


def test_unknown_names_are_cut_between_words():
  assert (
    table.shorten("Failure of the heart; chronic") == "Failure of the heart."
  )
  assert table.shorten("Hyperaldosteronismus-and-more") == (
    "Hyperaldosteronismus-."
  )
