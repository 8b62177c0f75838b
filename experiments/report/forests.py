"""Numbers with intervals, one under the other."""

from experiments.report import plots
from experiments.report.curve_figures import BOUND, MEAN, value
from experiments.report.facts import Facts
from experiments.report.plots import Drawing
from medpatch_jax.evaluate.names import shorten


def forest(name, title, groups, alt, bound="Bayes bound") -> Drawing | None:
  """Rows with intervals, one under the other.

  Args:
    name, title, alt: of the drawing.
    groups: (heading or None, [(row name, stays, AUROC cell, bound or None)]).
    bound: what the tick beside an interval stands for.
  """
  lines = []
  for heading, rows in groups:
    if heading:
      lines.append((heading, None, None, None, True))
    lines += [(*row, False) for row in rows]
  cells = [
    line[2] for line in lines if line[2] and line[2]["value"] is not None
  ]
  if not cells:
    return None
  height = 0.95 + 0.19 * len(lines)
  figure, (axes,) = plots.blank(height, left=1.75)
  some = False
  for i, (_, _, cell, best, _) in enumerate(lines):
    if cell and cell["value"] is not None:
      if cell["low"] is not None:
        axes.plot([cell["low"], cell["high"]], [i, i], color=MEAN, lw=1.6)
      axes.plot(cell["value"], i, "o", color=MEAN, ms=4)
    if best is not None:
      label = None if some else bound
      axes.plot(best, i, "|", color=BOUND, ms=8, mew=1.8, label=label)
      some = True
  axes.set_ylim(len(lines) - 0.4, -0.6)
  axes.set_yticks(range(len(lines)), [shorten(line[0], 26) for line in lines])
  for tick, line in zip(axes.get_yticklabels(), lines):
    if line[4]:
      tick.set_fontweight("bold")
  axes.tick_params(axis="y", length=0)
  axes.set_xlabel("AUROC (95 % interval)")
  if some:
    figure.subplots_adjust(top=1 - 0.3 / height)
    figure.legend(loc="upper right", bbox_to_anchor=(1.0, 1.0))
  rows = [_numbers(row[:4]) for row in lines if not row[4]]
  head = ["", "stays or cases", "AUROC", "low", "high", bound]
  return Drawing(name, title, alt, figure, head, rows)


def _numbers(row):
  name, stays, cell, best = row
  cell = cell or {}
  return [name, stays, *(cell.get(k) for k in ("value", "low", "high")), best]


def forests(facts: Facts) -> list[Drawing]:
  """AUROC of every model, label, presence pattern and subgroup."""
  result = facts.result
  if not result:
    return []
  return [d for d in (_models(result), _labels(result), _groups(result)) if d]


def _models(result):
  bound = value(result["bayes"] and result["bayes"]["auroc"])
  heads = [
    (
      row["head"] + (" (chosen)" if row["head"] == result["chosen"] else ""),
      row["stays"],
      row["auroc"],
      bound,
    )
    for row in result["heads"]
  ]
  alone = [
    (
      f"{row['modality'].upper()} alone",
      row["stays"],
      row["auroc"],
      value(row["bayes"] and row["bayes"]["auroc"]),
    )
    for row in result["unimodal"]
  ]
  return forest(
    "forest-models",
    "Every model",
    [("heads", heads), ("stays that have it", alone)],
    f"AUROC with 95 % intervals of {len(heads)} heads and {len(alone)}"
    " modalities alone.",
  )


def _labels(result):
  if len(result["labels"]) < 2 or not result["model"]["per_label"]:
    return None
  bounds = (result["bayes"] or {}).get("per_label")
  rows = [
    (
      shorten(name),
      result["per_label"][c]["positives"],
      result["model"]["per_label"][c]["auroc"],
      value(bounds and bounds[c]["auroc"]),
    )
    for c, name in enumerate(result["labels"])
  ]
  rows.sort(key=lambda row: -1 * (value(row[2]) or 0))
  return forest(
    "forest-labels",
    "By label",
    [(None, rows)],
    f"AUROC with 95 % intervals of {len(rows)} labels, the best ranked first.",
  )


def _groups(result):
  names = result["modalities"]
  patterns = [
    (
      row["group"]
      if row["modalities"] is None
      else " + ".join(m.upper() for m in names if m in row["modalities"]),
      row["stays"],
      row["auroc"],
      value(row["bayes"] and row["bayes"]["auroc"]),
    )
    for row in result["patterns"]
  ]
  groups = [("what the stay has", patterns)]
  groups += [
    (
      part["by"],
      [(g["group"], g["stays"], g["auroc"], None) for g in part["groups"]],
    )
    for part in result["subgroups"]
  ]
  return forest(
    "forest-groups",
    "Presence patterns and subgroups",
    groups,
    "AUROC with 95 % intervals by what the stay has and by group of patients.",
  )
