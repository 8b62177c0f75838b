"""The test result: what stands in it, what is hidden, how it prints."""

import json

import numpy as np
import pytest

from medpatch_jax import schema
from medpatch_jax.evaluate import (
  calibration,
  disclosure,
  metrics,
  report,
  subgroups,
  table,
)

MODALITIES = schema.MODALITIES
NAMES = schema.TASKS["phenotyping"].labels
OPEN, SECRET = disclosure.OPEN, disclosure.SECRET


def cohort(rows=300, labels=3, bound=True, seed=0, rule=OPEN):
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
    rule=rule,
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
  found = report.build(**cohort(rule=SECRET))
  note = next(r for r in found["unimodal"] if r["modality"] == "dn")
  assert note["stays"] == "<11" and note["auroc"] is None
  assert note["gain"] is None and note["bayes"]["auprc"] is None
  pooled = found["patterns"][-1]
  assert pooled["group"] == subgroups.POOLED and pooled["modalities"] is None
  assert all(r["stays"].startswith("~") for r in found["patterns"])
  tiny = report.build(**cohort(rows=9, rule=SECRET))
  assert tiny["stays"] == "<11" and tiny["model"]["auroc"] is None
  assert all(r["positives"] in ("<11", 0) for r in tiny["per_label"])
  assert "0." not in table.text(tiny)


def test_of_open_data_everything_is_shown():
  given = cohort()
  found = report.build(**given)
  present = given["present"]
  note = next(r for r in found["unimodal"] if r["modality"] == "dn")
  assert 0 < note["stays"] == present[:, 3].sum() < 11
  assert note["auroc"]["value"] is not None
  sizes = [row["stays"] for row in found["patterns"]]
  assert sum(sizes) == 300 and min(sizes) < 11
  assert [row["positives"] for row in found["per_label"]] == list(
    given["label"].sum(axis=0)
  )
  given["label"][:, 0] = np.arange(300) < 5
  found = report.build(**given)
  assert found["per_label"][0]["positives"] == 5
  assert found["model"]["per_label"][0]["auroc"]["value"] is not None
  assert found["selective"]["per_label"][0]["missed"][0] is not None


def with_people(seed=3, **kwargs):
  given = cohort(**kwargs)
  rng, rows = np.random.default_rng(seed), len(given["label"])
  given["people"] = {
    "age": rng.uniform(18, 99, rows),
    "gender": rng.choice(["F", "M"], rows),
    "ethnicity": rng.choice(
      ["White", "Black", "Asian"], rows, p=[0.7, 0.28, 0.02]
    ),
  }
  return given


def groups(found):
  return {division["by"]: division["groups"] for division in found["subgroups"]}


def test_a_gap_is_over_labels_that_both_groups_have():
  given = with_people()
  women = given["people"]["gender"] == "F"
  largest = women if women.sum() > 150 else ~women
  other = ~largest
  given["label"][np.ix_(other, [2])] = 0  # A label the smaller group lacks.
  found = groups(report.build(**given))["gender"]
  assert [row["stays"] for row in found] == [largest.sum(), other.sum()]
  assert found[0]["gap"] is None
  scored = [
    metrics.auroc(given["logits"]["late"][rows], given["label"][rows])
    for rows in (other, largest)
  ]
  gap = found[1]["gap"]
  assert gap["labels"] == 2
  want = np.mean(scored[0][:2]) - np.mean(scored[1][:2])
  assert gap["auroc"]["value"] == pytest.approx(want)
  assert gap["auroc"]["low"] < gap["auroc"]["value"] < gap["auroc"]["high"]
  assert gap["auroc"]["p"] <= gap["auroc"]["holm"] <= 1


def test_a_gap_is_seen_where_there_is_one():
  given = with_people(labels=2)
  women = given["people"]["gender"] == "F"
  given["logits"]["late"][women] = np.random.default_rng(0).normal(
    size=(women.sum(), 2)
  )
  found = report.build(**{**given, "resamples": 1000})
  moved = next(r for r in groups(found)["gender"] if r["gap"])
  assert abs(moved["gap"]["auroc"]["value"]) > 0.3
  assert moved["gap"]["auroc"]["holm"] < 0.05
  assert " *" in table.text(found) and "Holm" in table.text(found)


def test_small_groups_of_people_are_shown_together():
  found = groups(report.build(**with_people(rule=SECRET)))
  assert [row["group"] for row in found["ethnicity"]][-1] == subgroups.POOLED
  for rows in found.values():
    assert all(row["stays"].startswith("~") for row in rows)
  shown = groups(report.build(**with_people()))["ethnicity"]
  assert [row["stays"] for row in shown][-1] < 11


def test_probabilities_of_the_reported_head():
  given = with_people(labels=4)
  label = given["label"]
  label[:, 1], label[:, 2] = 0, np.arange(300) < 6
  label[:, 3] = np.arange(300) >= 6
  found = report.build(**given)
  prob = calibration.probability(given["logits"]["late"])
  part = found["calibration"]
  want = calibration.brier(prob, label)
  assert part["undefined"] == 1
  assert part["brier"]["value"] == pytest.approx(np.mean(want[[0, 2, 3]]))
  assert part["brier"]["low"] < part["brier"]["value"] < part["brier"]["high"]
  assert part["ece"] == pytest.approx(
    np.mean(calibration.ece(prob, label)[[0, 2, 3]])
  )
  row = part["per_label"][0]
  assert row["observed"] == pytest.approx(label[:, 0].mean())
  assert sum(row["reliability"]["count"]) == 300
  assert found["net_benefit"]["per_label"][0]["model"] is not None
  # Six cases, or six stays without: nothing that would tell their number.
  found = report.build(**{**given, "rule": SECRET})
  part = found["calibration"]
  assert part["undefined"] == 3
  assert part["brier"]["value"] == round(float(want[0]), 3)
  for c in (1, 2, 3):
    assert part["per_label"][c]["brier"]["value"] is None
    assert part["per_label"][c]["ece"] is None

    assert part["per_label"][c]["observed"] is None
    assert part["per_label"][c]["reliability"] is None
    assert found["net_benefit"]["per_label"][c]["model"] is None
    rates = found["selective"]["per_label"][c]
    assert {*rates["risk"], *rates["cases"], *rates["missed"]} == {None}
  assert found["per_label"][3]["positives"] == ">289"
  # They are in no mean.
  scored = found["model"]
  assert [p["auroc"]["value"] is None for p in scored["per_label"]] == [
    False,
    True,
    True,
    True,
  ]
  only = metrics.auroc(given["logits"]["late"], label)[0]
  assert scored["undefined"] == 3
  assert scored["auroc"]["value"] == round(float(only), 3)
  assert "3 labels without both classes in 11 patients" in table.text(found)
  json.dumps(found, allow_nan=False)


def test_rates_do_not_tell_how_few_cases_are_rejected():
  """A head that never says yes is wrong at the cases, and only there."""
  given = with_people(labels=1)
  label = given["label"]
  label[:, 0] = np.arange(300) < 40
  logits = np.full((300, 1), -3.0)
  logits[:5], logits[40:80] = -0.5, -0.5  # Five cases are least certain.
  given["logits"]["late"] = logits + np.linspace(0, 0.1, 300)[:, None]
  given |= {"rule": SECRET, "subject": np.arange(300)}
  rates = report.build(**given)["selective"]["per_label"][0]
  assert rates["risk"][0] == round(40 / 300, 3)
  assert rates["missed"][2] == 1.0
  assert rates["risk"][2] is None and rates["cases"][2] is None


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
  shown = table.text(report.build(**with_people(labels=labels, bound=bound)))
  assert max(map(len, shown.split("\n"))) <= 100
  assert ("Bayes" in shown) == bound
  for word in (
    "EHR alone",
    "late = MedPatch",
    "EHR CXR RR --",
    "gain",
    "65 to 79",
  ):
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


def test_a_file_of_another_version_is_refused(tmp_path):
  path = tmp_path / "results.json"
  found = report.build(**with_people())
  path.write_text(json.dumps(found, sort_keys=True))
  assert report.read(path) == found
  assert table.text(report.read(path)) == table.text(found)
  for text, said in [
    (json.dumps(found | {"version": 99}), "of version 99, this code reads"),
    (json.dumps({"heads": []}), "of version None"),
    (json.dumps(found)[:100], "damaged"),
    ("[]", "damaged"),
  ]:
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
      report.read(path)
  with pytest.raises(ValueError, match="missing"):
    report.read(tmp_path / "none.json")


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


def test_long_patterns_of_presence_are_printed_whole():
  given = cohort()
  words = ("ehr", "examination", "history", "nursing")
  for kind in ("logits", "bayes"):
    given[kind] = {
      words[MODALITIES.index(k)] if k in MODALITIES else k: v
      for k, v in given[kind].items()
    }
  text = table.text(report.build(**given | {"modalities": words}))
  whole = text.partition("By group")[2]
  assert "EHR EXAMINATION HISTORY -------\n" in whole, whole[:900]
