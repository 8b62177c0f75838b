"""Curves of the test split: of each label, their mean, and the bound's."""

import numpy as np

from experiments.report import plots
from experiments.report.facts import Facts
from experiments.report.plots import COLOURS, FAINT, INK, Drawing
from medpatch_jax.evaluate.names import shorten

MEAN, BOUND = COLOURS[0], COLOURS[1]


def curves(facts: Facts) -> list[Drawing]:
  """ROC, precision-recall, reliability, risk-coverage and decision curves."""
  if not facts.result or not facts.result["model"]["auroc"]:
    return []
  return [
    d
    for d in (
      _ranking(facts, "roc"),
      _ranking(facts, "precision"),
      _reliability(facts),
      _risk(facts),
      _benefit(facts),
    )
    if d
  ]


def _names(facts):
  return [shorten(name) for name in facts.result["labels"]]


def _bundle(name, title, axes_names, lines, mean, bound, facts, **more):
  """A curve of each label, thin, their mean, and the bound's, dashed.

  Args:
    name, title: of the drawing.
    axes_names: what is along x and y.
    lines: of each label (x, y) or None.
    mean: (x, y) or None; bound likewise.
    more: `alt`, `head`, `rows`, and `draw`: what else is drawn on the axes.
  """
  draw = more.pop("draw", lambda axes: None)
  figure, (axes,) = plots.blank(3.3)
  one = len(lines) == 1
  for c, line in enumerate(lines):
    if line is None:
      continue
    axes.plot(
      *line,
      color=MEAN if one else FAINT,
      lw=1.8 if one else 0.6,
      alpha=1.0 if one else 0.55,
      label=None if c or one else "each label",
      gid=f"{plots.LABEL}{c}",
    )
  if mean and not one:
    axes.plot(*mean, color=MEAN, lw=2.0, label="mean over labels")
  if bound:
    axes.plot(*bound, color=BOUND, lw=1.6, ls="--", label="Bayes bound, mean")
  draw(axes)
  axes.set_xlabel(axes_names[0])
  axes.set_ylabel(axes_names[1])
  if axes.get_legend_handles_labels()[1]:
    axes.legend(loc=more.pop("loc", "best"))
  more.pop("loc", None)
  return Drawing(name, title, figure=figure, pick=not one, **more)


def clean(pairs):
  """x and y of the points where both are numbers; None without two of them."""
  pairs = [p for p in pairs if None not in p]
  return tuple(map(list, zip(*pairs))) if len(pairs) > 1 else None


def _ranking(facts, which):
  """The ROC or the precision-recall curve."""
  roc = which == "roc"
  if not facts.curves:
    return None
  found = facts.curves[which]
  x = found["rate" if roc else "recall"]
  names = _names(facts)
  lines = [v and clean(zip(x, v)) for v in found["per_label"]]
  bayes = facts.bayes and facts.bayes["curves"][which]["mean"]
  at = [0.05, 0.1, 0.2, 0.5] if roc else [0.2, 0.4, 0.6, 0.8]
  places = [int(np.argmin(np.abs(np.array(x) - value))) for value in at]
  metric = "auroc" if roc else "auprc"
  scores = facts.result["model"]
  rows = [
    [name, value(scores["per_label"][c][metric])]
    + [v and v[i] for i in places for v in [found["per_label"][c]]]
    for c, name in enumerate(names)
  ]
  if len(names) > 1:
    mean = found["mean"] or [None] * len(x)
    rows.append(["mean", value(scores[metric]), *(mean[i] for i in places)])
  best = value(scores[metric])
  title = "ROC curve" if roc else "Precision-recall curve"
  y = "true positive rate" if roc else "precision"
  alt = (
    f"{title} of {len([x for x in lines if x])} labels; the mean"
    f" {metric.upper()} is {_say(best)}."
  )

  def draw(axes):
    if roc:
      axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))

  return _bundle(
    f"curve-{which}",
    title,
    ("false positive rate", y) if roc else ("recall", y),
    lines,
    found["mean"] and clean(zip(x, found["mean"])),
    bayes and clean(zip(x, bayes)),
    facts,
    draw=draw,
    loc="lower right" if roc else "lower left",
    alt=alt,
    head=["label", metric.upper()]
    + [f"{y} at {x_} {'FPR' if roc else 'recall'}" for x_ in at],
    rows=rows,
  )


def pooled(per_label) -> tuple | None:
  """One reliability curve of the bins of all labels, by their prediction."""
  bins = [
    (p, o, n)
    for row in per_label
    if row.get("reliability")
    for p, o, n in zip(
      *(row["reliability"][k] for k in ("predicted", "observed", "count"))
    )
    if None not in (p, o, n) and n > 0
  ]
  if not bins:
    return None
  predicted, observed, count = np.array(bins, np.float64).T
  place = np.minimum((predicted * 10).astype(int), 9)
  x, y = [], []
  for k in range(10):
    inside = place == k
    if inside.any():
      x.append(float(np.average(predicted[inside], weights=count[inside])))
      y.append(float(np.average(observed[inside], weights=count[inside])))
  return (x, y) if len(x) > 1 else None


def _reliability(facts):
  found = facts.result["calibration"]
  if not found:
    return None
  rows, lines = [], []
  for name, row in zip(_names(facts), found["per_label"]):
    bins = row["reliability"]
    lines.append(bins and clean(zip(bins["predicted"], bins["observed"])))
    numbers = [row["predicted"], row["observed"], row["ece"]]
    rows.append([name, value(row["brier"]), *numbers])
  bayes = facts.bayes and pooled(facts.bayes["calibration"])

  def draw(axes):
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))

  return _bundle(
    "curve-reliability",
    "Reliability",
    ("predicted probability", "share of cases"),
    lines,
    pooled(found["per_label"]),
    bayes,
    facts,
    draw=draw,
    loc="upper left",
    alt="Predicted probability against the share of cases: on the diagonal"
    " probabilities can be taken at their word. The mean calibration error is"
    f" {_say(found['ece'])}.",
    head=["label", "Brier", "mean probability", "share of cases", "ECE"],
    rows=rows,
  )


def averaged(rows) -> list | None:
  """Mean of the rows that have every number."""
  whole = [row for row in rows if row and None not in row]
  return np.mean(whole, axis=0).tolist() if whole else None


def _risk(facts):
  found = facts.result["selective"]
  if not found:
    return None
  x = found["coverage"]
  each = [row["risk"] for row in found["per_label"]]
  mean = averaged(each)
  bayes = facts.bayes and averaged(facts.bayes["risk"])
  rows = [
    [name, *row["risk"], row["missed"][0], row["missed"][2], row["area"]]
    for name, row in zip(_names(facts), found["per_label"])
  ]
  return _bundle(
    "curve-risk",
    "Risk against coverage",
    ("share of stays kept, the most confident", "share predicted wrongly"),
    [v and clean(zip(x, v)) for v in each],
    mean and clean(zip(x, mean)),
    bayes and clean(zip(x, bayes)),
    facts,
    loc="upper left",
    alt="Share of the kept stays that is predicted wrongly at 0.5, where only"
    " the most confident stays are kept."
    + (f" It falls from {mean[0]:.3f} to {mean[-1]:.3f}." if mean else ""),
    head=["label"]
    + [f"risk at {100 * c:.0f} %" for c in x]
    + ["cases missed at 100 %", "cases missed at 80 %", "area"],
    rows=rows,
  )


def _benefit(facts):
  found = facts.result["net_benefit"]
  if not found:
    return None
  x = found["threshold"]
  each = [row["model"] for row in found["per_label"]]
  mean = averaged(each)
  everyone = averaged([row["everyone"] for row in found["per_label"]])
  bayes = facts.bayes and averaged(facts.bayes["benefit"])
  rows = [
    [name, *(row["model"] or [None] * len(x))]
    for name, row in zip(_names(facts), found["per_label"])
  ]
  if everyone:
    rows.append(["acting on everyone, mean", *everyone])

  def draw(axes):
    axes.axhline(0, color=FAINT, lw=0.8)
    if everyone:
      axes.plot(x, everyone, color=INK, lw=1.2, ls=":", label="on everyone")
    tops = [v for row in each if row for v in row if v is not None]
    axes.set(xlim=(0, max(x)), ylim=(-0.05, max(tops, default=0.1) * 1.05))

  return _bundle(
    "curve-benefit",
    "Decision curve",
    ("probability from which one acts", "net benefit per stay"),
    [v and clean(zip(x, v)) for v in each],
    mean and clean(zip(x, mean)),
    bayes and clean(zip(x, bayes)),
    facts,
    draw=draw,
    loc="upper right",
    alt="Net benefit of acting on the model's predictions, beside acting on"
    " everyone, against the probability from which one acts; acting on nobody"
    " is 0.",
    head=["label", *(f"at {t:g}" for t in x)],
    rows=rows,
  )


def value(cell):
  """The number of a cell with an interval, or None."""
  return cell and cell["value"]


def _say(value):
  return "not shown" if value is None else f"{value:.3f}"
