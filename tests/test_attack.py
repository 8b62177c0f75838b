"""An attacker with everything that is printed and written of random reports.

Subtraction, means, single labels, constant heads, full precision, log lines,
and a search over all counts that fit: none of it may tell 1 to 10 patients.
"""

import json
import logging
import re
import types

import numpy as np
import pytest

from experiments.training import cache
from experiments.training.run import Run
from medpatch_jax.evaluate import bootstrap, compare, disclosure, report, table
from medpatch_jax.evaluate.predictions import Predictions
from tests.test_disclosure import bounds

MODALITIES = ("ehr", "rr")
RESAMPLES = 10


def cohort(seed):
  """Arguments of `report.build` and how many rows the split has."""
  rng = np.random.default_rng(seed)
  N, C = int(rng.integers(40, 260)), int(rng.choice([1, 2, 3, 25]))
  rate = rng.choice([0.02, 0.06, 0.1, 0.3, 0.5, 0.97], size=C)
  label = (rng.random((N, C)) < rate).astype(np.float32)
  present = rng.random((N, 2)) < [rng.choice([0.93, 0.6]), rng.random()]
  present[~present.any(axis=1), 0] = True
  subject = np.arange(N)
  if seed % 2:  # Some patients have many stays, and one has the first.
    subject = rng.integers(N * 2 // 3, size=N)
    subject[: N // 5] = 0
  late = rng.normal(size=(N, C)) + rng.choice([0, 1, 3]) * label
  pattern = present @ [1.0, 2.0]
  heads = {
    "late": late,
    "missingness": np.repeat(pattern[:, None], C, axis=1),
    "constant": np.full((N, C), rng.choice([-2.0, 0.0, 1.0])),
    "perfect": label + 1e-3 * rng.normal(size=(N, C)),
    "ehr": late + rng.normal(size=(N, C)),
    "rr": np.zeros((N, C)),
  }
  given = {
    "logits": heads,
    "label": label,
    "present": present,
    "subject": subject,
    "label_names": tuple(f"label {c}" for c in range(C)),
    "modalities": MODALITIES,
    "chosen": str(rng.choice(["late", "late", "missingness", "constant"])),
    "people": {
      "gender": rng.choice(["F", "M", "X"], N, p=[0.5, 0.46, 0.04]),
      "age": rng.uniform(18, 95, N),
    },
    "resamples": RESAMPLES,
  }
  return given, N + int(rng.choice([0, 4, 30]))


def scored(found):
  """Every dict of both metrics that is in a report."""
  if isinstance(found, dict):
    if "auroc" in found and isinstance(found.get("per_label"), list):
      yield found
    found = found.values()
  if isinstance(found, (list, type({}.values()))):
    for value in found:
      yield from scored(value)


def floats(found):
  if isinstance(found, dict):
    found = list(found.values())
  if isinstance(found, list):
    for value in found:
      yield from floats(value)
  elif isinstance(found, float):
    yield found


def few_people(rows, subject):
  return 0 < len(np.unique(subject[rows])) < 11


def attack_precision(result):
  for value in floats(result):
    assert value == round(value, 3), value


def attack_means(result):
  """A mean less what is shown of the labels leaves nothing."""
  cells = [
    (row[m], [p[m] for p in row["per_label"]])
    for row in scored(result)
    for m in ("auroc", "auprc")
    if row["per_label"]
  ]
  if trusted := result["calibration"]:
    each = [row["brier"] for row in trusted["per_label"]]
    cells.append((trusted["brier"], each))
  for mean, each in cells:
    shown = [p["value"] for p in each if p["value"] is not None]
    assert (mean["value"] is None) == (not shown)
    if shown:
      assert abs(mean["value"] - np.mean(shown)) <= 1.01e-3


def attack_labels(result, given):
  """Labels of few patients: not a number of theirs is anywhere."""
  label, subject = given["label"], given["subject"]
  trusted = result["calibration"]
  for c, case in enumerate(label.T == 1):
    if not any(few_people(rows, subject) for rows in (case, ~case)):
      continue
    for row in scored(result):
      if row["per_label"]:
        assert row["per_label"][c]["auroc"]["value"] is None
        assert row["per_label"][c]["auprc"]["low"] is None
    for block in ("calibration", "selective", "net_benefit"):
      if trusted:
        assert not list(floats(result[block]["per_label"][c]))
    positives = result["per_label"][c]["positives"]
    low, high = bounds(positives, len(label))
    assert high - low >= 9, (positives, case.sum())


def attack_constant_heads(result):
  """The AUPRC of a constant head is the prevalence, in every group."""
  rows = [
    r for r in result["heads"] if r["head"] in ("missingness", "constant")
  ]
  rows += [r for r in result["unimodal"] if r["modality"] == "rr"]
  if result["chosen"] != "late":
    rows += result["patterns"] + [result["model"]]
    rows += [g for d in result["subgroups"] for g in d["groups"]]
    assert not result["calibration"] or not list(floats(result["calibration"]))
  for row in rows:
    assert not row["auprc"] or row["auprc"]["value"] is None


def attack_curves(result, given):
  """Counts of cases found, missed and of alarms, from shares and benefits."""
  if not result["calibration"]:
    return
  label, logits = given["label"], given["logits"][given["chosen"]]
  N, prob = len(label), 1 / (1 + np.exp(-logits))
  for c in range(label.shape[1]):
    case, P = label[:, c] == 1, int(label[:, c].sum())
    benefit = result["net_benefit"]["per_label"][c]["model"] or []
    for t, value in zip(result["net_benefit"]["threshold"], benefit):
      acted = prob[:, c] >= t
      counts = (case & acted).sum(), (~case & acted).sum()
      if value is None or not any(map(disclosure.small, counts)):
        continue
      hits, alarms = np.ogrid[: P + 1, : N - P + 1]
      fits = np.round((hits - t / (1 - t) * alarms) / N, 3) == value
      fits |= (
        np.round(
          (disclosure.step(hits) - t / (1 - t) * disclosure.step(alarms)) / N, 3
        )
        == value
      )
      assert fits.sum() != 1
    rates = result["selective"]["per_label"][c]
    order = np.argsort(-np.abs(logits[:, c]), kind="stable")
    for k, share in enumerate(result["selective"]["coverage"]):
      keep = order[: round(share * N)]
      cases = case[keep].sum()
      missed = (case[keep] & (logits[keep, c] < 0)).sum()
      for name, count in (("cases", cases), ("missed", missed)):
        if disclosure.small(count):
          assert rates[name][k] is None, (name, count)
      if disclosure.small(P - cases):
        assert rates["cases"][k] is None
    if curve := result["calibration"]["per_label"][c]["reliability"]:
      for n, share in zip(curve["count"], curve["observed"]):
        cases = round(n * (share or 0))
        assert not disclosure.small(cases) and not disclosure.small(n - cases)


def attack_sizes(result, given, whole):
  """Every size of the patterns that fits what is shown of them."""
  present, N = given["present"], len(given["label"])
  if isinstance(result["stays"], str):
    low, high = bounds(result["stays"], whole)
    assert high > low
    totals = range(low, min(high, whole) + 1)
  else:
    totals = [result["stays"]]
  ehr, rr = np.ogrid[: N + 1, : N + 1]  # Stays with one of them alone.
  true = [(present[:, 0] & ~present[:, 1]).sum()]
  true += [(present[:, 1] & ~present[:, 0]).sum(), present.all(axis=1).sum()]
  fits = [set(), set(), set()]
  for total in totals:
    both = total - ehr - rr
    sizes = {("ehr",): ehr, ("rr",): rr, MODALITIES: both}
    ok = both >= 0
    rest = total
    for row in result["patterns"]:
      if row["modalities"] is None:
        size = rest
      else:
        size = sizes[tuple(row["modalities"])]
        rest = rest - size
      low, high = bounds(row["stays"], total)
      ok = ok & (low <= size) & (size <= high)
    for row in result["unimodal"]:
      size = both + sizes[(row["modality"],)]
      low, high = bounds(row["stays"], total)
      ok = ok & (low <= size) & (size <= high)
    for at, size in zip(fits, (ehr, rr, both)):
      at.update(np.unique(np.broadcast_to(size, ok.shape)[ok]).tolist())
  for n, at in zip(true, fits):
    assert n in at
    assert not disclosure.small(n) or len(at) > 1, (n, result["patterns"])


def attack_counts(result):
  """No exact count but totals, and none of 1 to 10, on paper or in JSON."""
  rows = result["heads"] + result["unimodal"] + result["patterns"]
  rows += [g for d in result["subgroups"] for g in d["groups"]]
  counts = [row["stays"] for row in rows] + [result["patients"]]
  counts += [row["positives"] for row in result["per_label"]]
  for n in counts:
    assert isinstance(n, str) or n in (0, result["stays"])
  for line in table.text(result).split("\n"):
    for n in re.findall(r"(?<![.\d<>~,])(\d+) (?:stays|patients|cases)", line):
      assert not 0 < int(n) < 11, line


@pytest.mark.parametrize("seed", range(30))
def test_a_report_tells_no_small_count(seed):
  given, whole = cohort(seed)
  result = report.build(**given, whole=whole)
  result = json.loads(json.dumps(result, allow_nan=False))
  attack_precision(result)
  attack_means(result)
  attack_labels(result, given)
  attack_constant_heads(result)
  attack_curves(result, given)
  attack_sizes(result, given, whole)
  attack_counts(result)


@pytest.mark.parametrize("seed", range(8))
def test_a_comparison_tells_no_small_count(seed):
  given, whole = cohort(seed)
  label, logits = given["label"], given["logits"]
  about = Predictions(
    logits, label, given["subject"], np.arange(len(label)),
    given["label_names"], "late", "task", "test", {}, whole=whole,
  )  # fmt: skip
  draws = bootstrap.draw(about.subject, RESAMPLES)
  for other in ("ehr", "constant"):
    hidden = compare.suppressed([logits["late"], logits[other]], about)
    one, two = (
      compare.score(name, logits[name], label, draws, hidden)
      for name in ("late", other)
    )
    result = json.loads(json.dumps(compare.build([one], two, about)))
    attack_precision(result)
    assert other == "ehr" or hidden.all()
    few = disclosure.few(label, about.subject)
    for metric in compare.METRICS:
      cell = result["reference"][metric]
      shown = [v for v in cell["per_label"] if v is not None]
      assert not any(v is not None for v in np.array(cell["per_label"])[few])
      assert (cell["value"] is None) == (not shown)
      assert not shown or abs(cell["value"] - np.mean(shown)) <= 1.01e-3


def test_log_lines_and_table_tell_nothing_together(caplog):
  """The log's 64 stays beside the table's ~60 and a pattern of 55: nine."""
  subject = np.arange(300)
  data = types.SimpleNamespace(
    subject=lambda split: subject,
    size=lambda split: 300,
    description=types.SimpleNamespace(hourly=False),
  )
  said = []
  for rule in (disclosure.SECRET, disclosure.OPEN):
    run = types.SimpleNamespace(data=data, rule=rule)
    run.size = lambda split, rows, run=run: Run.size(run, split, rows)
    with caplog.at_level(logging.INFO, logger="medpatch_jax"):
      for stays in (64, 4, 296, 300):
        cache._announce(run, "pools", "rr", "test", subject[:stays])
    said.append([r.getMessage().split(": ")[1] for r in caplog.records])
    caplog.clear()
  secret, shown = said
  numbers = ["~60", "<11", ">289", "300"]
  assert secret == [f"{n} stays of test" for n in numbers]
  assert shown == [f"{n} stays of test" for n in (64, 4, 296, 300)]
