"""Gaps between groups: rarely starred by chance, starred where they are real."""

import numpy as np

from medpatch_jax.evaluate import metrics, permutation, report

ETHNIC = ("White", "Black", "Hispanic", "Asian", "unknown")


def cohort(rng, stays, share, worse=None, labels=1):
  """Groups by lot; of those worse, scores say nothing of the outcome."""
  label = (rng.random((stays, labels)) < share).astype(int)
  people = {
    "gender": rng.choice(["F", "M"], size=stays),
    "ethnicity": rng.choice(ETHNIC, size=stays),
    "age": rng.choice([30.0, 50.0, 70.0, 85.0], size=stays),
  }
  signal = np.where((people["gender"] == worse)[:, None], 0.0, 1.5)
  logits = rng.normal(size=label.shape) + signal * label
  return logits, label, people


def stars(rng, seed, *of, **how):
  """Divisions with a star in the table of one report."""
  logits, label, people = cohort(rng, *of, **how)
  found = report.build(
    {"late": logits},
    label,
    rng.random((len(label), 2)) < [2, 0.5],
    np.arange(len(label)),
    label_names=tuple(f"l{c}" for c in range(label.shape[1])),
    modalities=("ehr", "cxr"),
    chosen="late",
    people=people,
    resamples=1000,
    seed=seed,
  )
  divisions = [("presence", found["patterns"])]
  divisions += [(d["by"], d["groups"]) for d in found["subgroups"]]
  return {
    by
    for by, groups in divisions
    for group in groups
    if group["gap"] and (group["gap"]["auroc"]["holm"] or 1) < 0.05
  }


def test_groups_by_lot_are_rarely_starred():
  """In at most 5 of 100 reports; the bootstrap starred some 20."""
  rng = np.random.default_rng(6)
  found = [bool(stars(rng, k, 320, 0.2)) for k in range(40)]
  assert sum(found) <= 2


def test_a_group_the_model_fails_on_is_starred():
  rng = np.random.default_rng(0)
  found = [stars(rng, k, 400, 0.3, worse="F") for k in range(10)]
  assert sum("gender" in divisions for divisions in found) >= 9
  assert sum(divisions != {"gender"} for divisions in found) <= 2


def test_the_gaps_are_those_of_the_metrics():
  """Ties, labels without both classes and groups of many sizes."""
  rng = np.random.default_rng(0)
  logits = np.round(rng.normal(size=(90, 3)), 1)
  label = rng.random((90, 3)) < [0.3, 0.5, 0.0]
  group = rng.choice(3, p=[0.6, 0.3, 0.1], size=90)
  for c in range(3):
    ranked = permutation._Sorted.of(logits[:, c], label[:, c])
    found = ranked.score(group[None], 3)[:, 0]
    for g in range(3):
      rows = group == g
      want = metrics.scores(logits[rows, c : c + 1], label[rows, c : c + 1] * 1)
      cases = label[rows, c].sum()
      assert tuple(found[2:, g]) == (cases, rows.sum() - cases)
      if cases:
        np.testing.assert_allclose(found[:2, g], np.ravel(want))


def test_many_stays_of_a_patient_are_one_patient():
  """Every stay five times over: p is what it was."""
  rng = np.random.default_rng(1)
  logits, label, people = cohort(rng, 120, 0.4, worse="F")
  group = (people["gender"] == "F").astype(int)
  division = permutation.Division(group, 0, (1,))
  once = permutation.test(logits, label, np.arange(120), [division])
  copies = np.repeat(np.arange(120), 5)
  many = permutation.Division(group[copies], 0, (1,))
  often = permutation.test(logits[copies], label[copies], copies, [many])
  np.testing.assert_array_equal(once.p[:, 0], often.p[:, 0])
  assert (once.adjusted >= once.p).all() and once.p[0, 0] < 0.05


def test_patients_exchange_with_those_of_as_many_stays():
  patient = np.repeat(np.arange(160), np.repeat([1, 2, 7], [100, 55, 5]))
  exchange = permutation._Exchange(patient, seed=0)
  np.testing.assert_array_equal(exchange.source(0), np.arange(len(patient)))
  source = exchange.source(1)
  count = np.bincount(patient)
  for i in range(160):
    given = patient[source[patient == i]]
    assert len(set(given)) == 1
    # Five patients are no stratum: they exchange with those of two stays.
    assert (count[given[0]] == 1) == (count[i] == 1)
  assert len({patient[s] for s in source}) == 160
