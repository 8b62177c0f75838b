"""Figures of training, of the late weights and of token confidence."""

import numpy as np

from experiments.report import plots
from experiments.report.curve_figures import clean
from experiments.report.facts import Facts
from experiments.report.plots import COLOURS, FAINT, MARKS, Drawing
from medpatch_jax.evaluate.names import shorten


def training(facts: Facts) -> list[Drawing]:
  """Loss and validation AUROC of every stage, epoch by epoch."""
  return [d for d in map(_training, facts.stages) if d]


def _training(stage):
  names = sorted({n for line in stage.epochs for n in line})
  shown = [n for n in ("train_loss", "loss") if n in names]
  ranks = [n for n in names if n.startswith("auroc")]
  panels = [p for p in (shown, ranks) if p]
  if not panels:
    return None
  figure, axes = plots.blank(2.2, columns=len(panels), left=0.5)
  words = {"train_loss": "train", "loss": "validation"}
  for panel, part in zip(axes, panels):
    for i, name in enumerate(part):
      points = [(e["epoch"] + 1, e.get(name)) for e in stage.epochs]
      if line := clean(points) or _single(points):
        panel.plot(
          *line,
          color=COLOURS[i % 6],
          marker=MARKS[i % 7],
          ms=2.5,
          lw=1.3,
          label=words.get(name, name.removeprefix("auroc_")),
        )
    if stage.best is not None and stage.best >= -1:
      panel.axvline(stage.best + 1, color=FAINT, lw=1, ls=":")
    panel.set_xlabel("epochs trained")
    panel.set_title("loss" if part is shown else "validation AUROC", loc="left")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(loc="best")
  figure.subplots_adjust(top=0.87)
  best = "" if stage.best is None else f" Kept: epoch {stage.best + 1}."
  return Drawing(
    "training-" + stage.name.replace("/", "-"),
    stage.name,
    f"Training of {stage.name}, {len(stage.epochs)} lines of its log.{best}",
    figure,
    ["epochs trained", *shown, *ranks],
    [
      [e["epoch"] + 1, *(e.get(n) for n in (*shown, *ranks))]
      for e in stage.epochs
    ],
  )


def _single(points):
  points = [p for p in points if p[1] is not None]
  return tuple(map(list, zip(*points))) if points else None


def late(facts: Facts) -> list[Drawing]:
  """Weight of every source for every label where all sources are there."""
  if not facts.late:
    return []
  sources, weight = facts.late["sources"], np.array(facts.late["weight"], float)
  names = [shorten(name) for name in facts.records["labels"]]
  figure, (axes,) = plots.blank(1.35 + 0.19 * len(names), left=1.75)
  for s, source in enumerate(sources):
    axes.plot(
      weight[s],
      range(len(names)),
      MARKS[s % 7],
      color=COLOURS[s % 7],
      ms=4.5,
      label=source,
    )
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.4, -0.6)
  axes.tick_params(axis="y", length=0)
  axes.set_xlabel("weight, where every source is there")
  top = 1 - 0.6 / figure.get_figheight()
  figure.subplots_adjust(top=top)
  figure.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.0))
  shown = ~np.isnan(weight).any(axis=0)
  if not shown.any():
    return []
  mean = weight[:, shown].mean(axis=1)
  return [
    Drawing(
      "late-weights",
      "Late weights by label",
      f"Weights of {len(sources)} sources for {len(names)} labels; the largest"
      f" on average is that of {sources[int(mean.argmax())]}"
      f" ({mean.max():.2f}).",
      figure,
      ["label", *sources],
      [
        [name, *([None] * len(sources) if np.isnan(column).any() else column)]
        for name, column in zip(names, weight.T.tolist())
      ]
      + [["mean", *mean.tolist()]],
    )
  ]


def tokens(facts: Facts) -> list[Drawing]:
  """Token confidence: its error, its distribution, and the high group."""
  result = facts.result or {}
  drawings = [_errors(result.get("token_calibration"))]
  drawings += [_confidence(m, x) for m, x in facts.tokens.items()]
  drawings.append(_high(facts))
  return [d for d in drawings if d]


def _errors(found):
  """Token calibration error before and after temperatures."""
  if not found:
    return None
  lines = [
    (
      f"{row['modality'].upper()}, {split}",
      row[split]["before"],
      row[split]["after"],
    )
    for row in found
    for split in ("validation", "test")
  ]
  if all(line[1] is None for line in lines):
    return None
  figure, (axes,) = plots.blank(0.95 + 0.24 * len(lines), left=1.25)
  for i, (_, before, after) in enumerate(lines):
    if None in (before, after):
      continue
    first = None if i else "before"
    axes.plot([before, after], [i, i], color=FAINT, lw=1)
    axes.plot(before, i, "o", mfc="none", mec=COLOURS[1], ms=6, label=first)
    last = None if i else "after temperatures"
    axes.plot(after, i, "o", color=COLOURS[0], ms=6, label=last)
  axes.set_yticks(range(len(lines)), [line[0] for line in lines])
  axes.set_ylim(len(lines) - 0.4, -0.6)
  axes.set_xlim(left=0)
  axes.set_xlabel("expected calibration error of tokens")
  axes.legend(loc="best")
  return Drawing(
    "token-calibration",
    "Token calibration error",
    "Expected calibration error of token confidence before and after its"
    " temperatures, of each modality on validation and test.",
    figure,
    ["modality, split", "before", "after"],
    [list(line) for line in lines],
  )


def _confidence(m, found):
  """How many tokens are how confident, before and after temperatures."""
  edges = np.array(found["edges"])
  figure, (axes,) = plots.blank(2.4, left=0.55)
  for i, name in enumerate(("before", "after")):
    values = [np.nan if v is None else 100 * v for v in found[name]]
    style = {"ls": "--"} if i == 0 else {}
    axes.stairs(
      values, edges, color=COLOURS[1 - i], lw=1.5, label=name, **style
    )
  axes.axvline(found["threshold"], color=FAINT, lw=1, ls=":")
  axes.set(xlim=(0.5, 1))
  axes.set_ylim(bottom=0)
  axes.set_xlabel("confidence of a token, over all labels")
  axes.set_ylabel("% of tokens")
  axes.legend(loc="upper left")
  return Drawing(
    f"confidence-{m}",
    f"Token confidence: {m.upper()}",
    f"Distribution of token confidence of {m.upper()} on test, before and after"
    f" calibration; the dotted line is the threshold {found['threshold']:g}.",
    figure,
    ["from", "to", "share before", "share after"],
    [
      [float(a), float(b), x, y]
      for a, b, x, y in zip(
        edges[:-1], edges[1:], found["before"], found["after"]
      )
    ],
  )


def _high(facts):
  """Share of tokens in the high group, by label and modality."""
  if not facts.tokens:
    return None
  names = [shorten(name) for name in facts.records["labels"]]
  figure, (axes,) = plots.blank(1.15 + 0.19 * len(names), left=1.75)
  for i, (m, found) in enumerate(facts.tokens.items()):
    points = [(v, c) for c, v in enumerate(found["high"]) if v is not None]
    if points:
      x, y = zip(*points)
      x = [100 * v for v in x]
      axes.plot(
        x, y, MARKS[i % 7], color=COLOURS[i % 7], ms=4.5, label=m.upper()
      )
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.4, -0.6)
  axes.set_xlim(-2, 102)
  axes.tick_params(axis="y", length=0)
  axes.set_xlabel("% of tokens in the high group, test")
  figure.subplots_adjust(top=1 - 0.4 / figure.get_figheight())
  figure.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, 1.0))
  return Drawing(
    "tokens-high",
    "Tokens in the high group",
    "Share of tokens whose confidence puts them into the high group, of every"
    " label and modality on test.",
    figure,
    ["label", *(m.upper() for m in facts.tokens)],
    [
      [name, *(found["high"][c] for found in facts.tokens.values())]
      for c, name in enumerate(names)
    ],
  )
