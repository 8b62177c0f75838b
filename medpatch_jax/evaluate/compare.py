"""Several models beside one, on the same stays, as a table.

METHOD.md section 8: that one model beats another needs a paired test. Means
over labels of AUROC, AUPRC and Brier score and every label's AUROC are
compared: intervals by the paired bootstrap over patients, p values of AUROC by
DeLong (which resamples do not limit to thousandths), of the others by the
bootstrap, all of a table corrected together by Holm.

Dims: N stays, C labels, R resamples.
"""

import dataclasses

import numpy as np

from medpatch_jax.evaluate import (
  bootstrap,
  calibration,
  disclosure,
  metrics,
  significance,
)
from medpatch_jax.evaluate.cells import difference, intervals, number
from medpatch_jax.evaluate.names import NAME, shorten
from medpatch_jax.evaluate.predictions import Predictions

METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier score"}
WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Scored:
  """One model's metrics under the draws that all share.

  Attributes:
    name: to be shown.
    logits: f[N C].
    points: metric -> f64[C], NaN without both classes and where suppressed.
    under: metric -> f64[R C].
    shown: bool[C], labels that are not suppressed.
  """

  name: str
  logits: np.ndarray
  points: dict[str, np.ndarray]
  under: dict[str, np.ndarray]
  shown: np.ndarray


def suppressed(models: list[np.ndarray], about: Predictions) -> np.ndarray:
  """Labels that may not be compared, by `disclosure`: bool[C].

  Args:
    models: logits f[N C] of each.
    about: labels, patients, and whether the data are open.
  """
  if about.open:
    return np.zeros(about.label.shape[1], bool)
  few = disclosure.few(about.label, about.subject)
  return np.any([few, *map(disclosure.tables, models)], axis=0)


def score(
  name: str,
  logits: np.ndarray,
  label: np.ndarray,
  draws: np.ndarray,
  hidden: np.ndarray,
) -> Scored:
  """Scores one model.

  Args:
    name: to be shown.
    logits: f[N C].
    label: [N C] in {0, 1}.
    draws: u[R N] of `bootstrap.draw`, the same for every model.
    hidden: bool[C] of `suppressed`, the same for every model.

  Raises:
    ValueError: see `metrics.check`.
  """
  roc, prc = metrics.scores(logits, label)
  resampled = bootstrap.resample(logits, label, draws)
  prob = calibration.probability(logits)
  # Labels that one metric leaves out all metrics leave out.
  brier = np.where(np.isnan(roc), np.nan, calibration.brier(prob, label))
  under = calibration.brier_resampled(prob, label, draws)
  points = {"auroc": roc, "auprc": prc, "brier": brier}
  under = {
    "auroc": resampled.auroc,
    "auprc": resampled.auprc,
    "brier": np.where(np.isnan(resampled.auroc), np.nan, under),
  }
  for values in (*points.values(), *under.values()):
    values[..., hidden] = np.nan
  return Scored(name, logits, points, under, ~hidden)


def build(
  models: list[Scored],
  reference: Scored,
  about: Predictions,
  seed: int = 0,
  partial: list[str] = (),
) -> dict:
  """Every model minus the reference.

  Args:
    models: one or more, scored under the same draws as the reference.
    reference: what they are compared with.
    about: labels, patients and names, the same for all models.
    seed: of the draws, to be told.
    partial: names of the models that do not predict every stay of the split;
      `about` is of those stays that all predict.

  Returns:
    A dict of JSON types: `reference` and `models`, each with its metrics;
    every model has `difference` (metric -> value, low, high, p, delong, holm)
    and `per_label`.

  Raises:
    ValueError: stays of fewer than 11 patients.
  """
  people = len(np.unique(about.subject))
  if not about.open and people < disclosure.SMALLEST_CELL:
    raise ValueError(
      f"there are stays of fewer than {disclosure.SMALLEST_CELL} patients;"
      " comparing takes as many or more."
    )
  size = disclosure.Sizes(
    disclosure.Rule(about.open), about.subject, about.whole
  )
  rows = [_against(model, reference, about) for model in models]
  _correct([row["difference"][name] for row in rows for name in METRICS])
  _correct([label["auroc"] for row in rows for label in row["per_label"]])
  found = {
    "task": about.task,
    "split": about.split,
    "open": about.open,
    "stays": size.rows,
    "patients": size.people,
    "partial": list(partial),
    "labels": list(about.label_names),
    "positives": size.labels(about.label == 1),
    "undefined": metrics.mean(reference.points["auroc"])[1],
    "resamples": len(reference.under["auroc"]),
    "seed": seed,
    "reference": {"name": reference.name, **_means(reference)},
    "models": rows,
  }
  return size.rule.numbers(found)


def _means(model):
  """Each metric's mean over labels with its interval, and per label."""
  return {
    name: {
      **intervals(
        [metrics.mean(model.points[name])[0]],
        bootstrap.nanmean(model.under[name]),
      )[0],
      "per_label": [number(v) for v in model.points[name]],
    }
    for name in METRICS
  }


def _against(model, reference, about):
  label, subject, shown = about.label, about.subject, model.shown
  gaps = {}
  for name in METRICS:
    a, b = (bootstrap.nanmean(m.under[name]) for m in (model, reference))
    value, _ = metrics.mean(model.points[name] - reference.points[name])
    value = np.array([np.nan if value is None else value])
    gaps[name] = difference(significance.difference(value, a, b))
    gaps[name]["delong"] = None
  pair = model.logits, reference.logits, label, subject
  if shown.any():
    mean = (x[:, shown] for x in pair[:3])
    mean = significance.delong_mean(*mean, subject)
    gaps["auroc"]["delong"] = number(mean.p[0])
  closed = significance.delong(*pair)
  prc = significance.difference(
    model.points["auprc"] - reference.points["auprc"],
    model.under["auprc"],
    reference.under["auprc"],
  )
  per_label = []
  for c in range(len(shown)):
    roc, gap = (difference(found, c) for found in (closed, prc))
    if not shown[c]:
      roc, gap = dict.fromkeys(roc), dict.fromkeys(gap)
    roc["delong"] = roc.pop("p")
    per_label.append({"auroc": roc, "auprc": gap})
  return {
    "name": model.name,
    **_means(model),
    "difference": gaps,
    "per_label": per_label,
  }


def _correct(gaps):
  """Adds Holm's correction over all of a table; DeLong's p where it is."""
  p = [g.get("p") if g["delong"] is None else g["delong"] for g in gaps]
  p = np.array([np.nan if v is None else v for v in p], np.float64)
  for gap, adjusted in zip(gaps, significance.holm(p)):
    gap["holm"] = number(adjusted)


def text(result: dict) -> str:
  """The comparison as text of at most 100 columns, no final newline."""
  stays, patients = (
    f"{n:,}" if isinstance(n, int) else n
    for n in (result["stays"], result["patients"])
  )
  C = len(result["labels"])
  lines = [
    f"{result['task']}, {result['split']}: {stays} stays of {patients}"
    f" patients, {C} label{'s' if C > 1 else ''}",
    f"Differences are a model minus {_cut(result['reference']['name'], 60)},",
    f"with 95 % intervals from {result['resamples']:,} resamples of patients.",
  ]
  for name in result["partial"]:
    lines.append(f"Only stays that {_cut(name, 60)} predicts.")
  if result["undefined"]:
    few = "" if result["open"] else " in 11 patients each"
    lines.append(f"Left out, without both classes{few}: {result['undefined']}.")
  for name, title in METRICS.items():
    lines += _summary(result, name, title)
  lines += [
    "p: paired bootstrap. Holm: DeLong's p (AUROC) or that one, corrected for"
    " all rows above.",
  ]
  if C > 1:
    for row in result["models"]:
      lines += _per_label(result, row)
    lines.append(
      "AUROC: interval and p by DeLong, clustered by patient; Holm: for all"
      " labels and models."
    )
  return "\n".join(line.rstrip() for line in lines)


def _summary(result, name, title):
  if name == "brier":
    title += " (lower: better)"
  yield ""
  yield (
    f"{title:<28}{'(95 % int.)':<22}{'difference':<26}"
    f"{'p':>7}{'DeLong':>8}{'Holm':>8}"
  )
  yield "-" * WIDTH
  first = result["reference"]
  yield f"{_cut(first['name'], 27):<28}{_interval(first[name])}"
  for row in result["models"]:
    gap = row["difference"][name]
    yield (
      f"{_cut(row['name'], 27):<28}{_interval(row[name]):<22}"
      f"{_interval(gap, '+'):<26}"
      f"{_p(gap['p']):>7}{_p(gap['delong']):>8}{_p(gap['holm']):>8}"
    )


def _per_label(result, row):
  yield ""
  names = (_cut(n, 40) for n in (row["name"], result["reference"]["name"]))
  yield f"By label: {' minus '.join(names)}"
  yield (
    f"{'':<{NAME}}{'cases':>6}{'AUROC':>7}  {'difference':<24}"
    f"{'p':>6}{'Holm':>7}  AUPRC difference"
  )
  yield "-" * WIDTH
  for c, label in enumerate(result["labels"]):
    roc, prc = row["per_label"][c]["auroc"], row["per_label"][c]["auprc"]
    cases = result["positives"][c]
    cases = f"{cases:,}" if isinstance(cases, int) else cases
    point = row["auroc"]["per_label"][c]
    yield (
      f"{shorten(label):<{NAME}}{cases:>6}"
      f"{'-' if point is None else f'{point:.3f}':>7}"
      f"  {_interval(roc, '+'):<24}{_p(roc['delong']):>6}{_p(roc['holm']):>7}"
      f"  {_interval(prc, '+')}"
    )


def _cut(name, width):
  """The end of a name: what tells the folders of runs apart."""
  return name if len(name) <= width else "..." + name[3 - width :]


def _interval(found, sign=""):
  if found["value"] is None:
    return "-"
  shown = [
    f"{found[k]:{sign}.3f}" if found[k] is not None else "-"
    for k in ("value", "low", "high")
  ]
  return f"{shown[0]} ({shown[1]}, {shown[2]})"


def _p(value):
  if value is None:
    return "-"
  return "<.001" if value < 0.001 else f"{value:.3f}"
