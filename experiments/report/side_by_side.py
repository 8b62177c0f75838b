"""Several runs on one page: on the same stays, with paired differences."""

import os
import pathlib
import time

from experiments.report import curve_figures, page, plots, tables
from experiments.report.plots import COLOURS, FAINT, Drawing
from experiments.tables import paired
from medpatch_jax import files
from medpatch_jax.evaluate import curves, disclosure
from medpatch_jax.evaluate.cells import Cells
from medpatch_jax.evaluate.names import shorten
from medpatch_jax.train.log import logger

METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "brier": "Brier score"}
STYLES = ("-", "--", "-.", ":")


def write(
  runs: list[str], out, figures=None, resamples: int = 1000
) -> pathlib.Path:
  """Writes the page of two runs or more.

  Args:
    runs: RUN or RUN:HEAD each, scored; all are held against the first.
    out: the file.
    figures: folder that gets every figure as SVG and PNG, or None.
    resamples: of patients.

  Raises:
    ValueError: a run cannot be read, or is about other stays.
  """
  began = time.monotonic()
  found = paired.compared(runs[1:], runs[0], resamples)
  names = short(runs)
  read = [paired.read(run) for run in runs]
  with plots.style():
    drawn = {
      "differences": [
        drawing
        for draw in (_differences, _labels)
        for m in METRICS
        if (drawing := draw(found, names, m))
      ],
      "curves": _curves(read, names),
    }
  path = pathlib.Path(out)
  files.write_text(path, html(found, names, runs, drawn))
  if figures:
    plots.save([d for some in drawn.values() for d in some], figures)
  took = time.monotonic() - began
  size = path.stat().st_size / 1e6
  logger.info("%s: %.1f MB in %.1f s", path, size, took)
  return path


def short(runs: list[str]) -> list[str]:
  """Names of runs without the folders that all of them are in."""
  if len({os.path.dirname(os.path.abspath(run)) for run in runs}) < 2:
    return [os.path.basename(os.path.normpath(run)) for run in runs]
  above = os.path.commonpath([os.path.abspath(run) for run in runs])
  return [os.path.relpath(os.path.abspath(run), above) for run in runs]


def html(found: dict, names: list[str], runs: list[str], drawn: dict) -> str:
  """The page.

  Args:
    found: of `compare.build`; its reference is the first run.
    names: what the runs are called; the first is the reference.
    runs: where they are.
    drawn: "differences" and "curves", figures.
  """
  models = [found["reference"], *found["models"]]
  scores = [
    [name, *(model[m] for m in METRICS)] for name, model in zip(names, models)
  ]
  head = [f"{title} (95 % interval)" for title in METRICS.values()]
  gaps = [
    [
      f"{name}: {METRICS[m]}",
      gap,
      *(_p(gap[k]) for k in ("p", "delong", "holm")),
    ]
    for name, model in zip(names[1:], found["models"])
    for m in METRICS
    for gap in [model["difference"][m]]
  ]
  minus = f"minus {names[0]}"
  columns = ["run and metric", minus, "p, bootstrap", "p, DeLong", "p, Holm"]
  partial = ""
  if found["partial"]:
    partial = (
      "<p>Only the stays that every run predicts; not all are predicted by"
      f" {tables.words(', '.join(found['partial']))}.</p>"
    )
  result = [
    partial,
    tables.table("Runs", ["run", *head], scores, shown=True),
    tables.table("Differences", columns, gaps, shown=True),
    tables.table(
      "Where they are", ["run", "folder"], list(zip(names, runs)), shown=True
    ),
  ]
  stays, patients = (
    f"{n:,}" if isinstance(n, int) else n
    for n in (found["stays"], found["patients"])
  )
  summary = (
    f"{len(names)} runs on the same {stays} {found['split']} stays of"
    f" {patients} patients, {len(found['labels'])} label(s). Both runs of a"
    " difference are resampled alike, by patients."
  )
  task = str(found["task"]).replace("_", " ")
  parts = [
    ("result", "Result", "\n".join(result)),
    ("groups", "Paired differences", page.all_figures(drawn["differences"])),
    ("curves", "Curves", page.all_figures(drawn["curves"])),
  ]
  summary = f"<p>{tables.words(summary)}</p>"
  return page.whole(f"Runs side by side: {task}", summary, parts, ["page.js"])


def _p(value):
  """A p value; one that would be printed as 0 is told to be small."""
  return "<0.001" if value is not None and value < 0.0005 else value


def _differences(found, names, metric):
  """The mean difference of each run with its interval."""
  rows = [
    (name, model["difference"][metric])
    for name, model in zip(names[1:], found["models"])
  ]
  title = f"{METRICS[metric]}: minus {names[0]}"
  return _dots(f"difference-{metric}", title, rows, METRICS[metric])


def _labels(found, names, metric):
  """Differences by label, of the first two runs where there are more."""
  if metric == "brier" or len(found["labels"]) < 2:
    return None
  model = found["models"][0]
  rows = [
    (shorten(label), row[metric])
    for label, row in zip(found["labels"], model["per_label"])
  ]
  rows.sort(key=lambda row: -(row[1]["value"] or 0))
  title = f"{METRICS[metric]} by label: {names[1]} minus {names[0]}"
  return _dots(f"labels-{metric}", title, rows, METRICS[metric])


def _dots(name, title, rows, metric) -> Drawing | None:
  """Differences and their intervals, one under the other."""
  if all(gap["value"] is None for _, gap in rows):
    return None
  figure, (axes,) = plots.blank(0.8 + 0.19 * len(rows), left=1.75)
  axes.axvline(0, color=FAINT, lw=1)
  for i, (_, gap) in enumerate(rows):
    if gap["value"] is None:
      continue
    if gap["low"] is not None:
      axes.plot([gap["low"], gap["high"]], [i, i], color=COLOURS[0], lw=1.6)
    axes.plot(gap["value"], i, "o", color=COLOURS[0], ms=4)
  axes.set_ylim(len(rows) - 0.4, -0.6)
  axes.set_yticks(range(len(rows)), [shorten(name, 26) for name, _ in rows])
  axes.tick_params(axis="y", length=0)
  axes.locator_params(axis="x", nbins=5)
  axes.set_xlabel(f"difference of {metric} (95 % interval)")
  above = sum((gap["low"] or 0) > 0 for _, gap in rows)
  below = sum((gap["high"] or 0) < 0 for _, gap in rows)
  return Drawing(
    name,
    title,
    f"{title}: {len(rows)} differences with 95 % intervals, {above} above 0 and"
    f" {below} below it.",
    figure,
    ["", "difference", "low", "high"],
    [[n, gap["value"], gap["low"], gap["high"]] for n, gap in rows],
  )


def _curves(read, names) -> list[Drawing]:
  """Mean ROC and precision-recall curves of the runs, one over the other."""
  each = []
  for found, head in read:
    rule = disclosure.Rule(found.open)
    logits = found.logits[head]
    has = ~(logits != logits).any(axis=1)  # NaN where it predicts nothing.
    cells = Cells(found.label[has], found.subject[has], 1, rule=rule)
    each.append(curves.build(logits[has], cells))
  drawings = []
  for which, x, y in (
    ("roc", "rate", "true positive rate"),
    ("precision", "recall", "precision"),
  ):
    figure, (axes,) = plots.blank(3.3)
    some = [c[which] if c else {x: [], "mean": None} for c in each]
    for i, (name, curve) in enumerate(zip(names, some)):
      line = curve["mean"] and curve_figures.clean(zip(curve[x], curve["mean"]))
      if line:
        style = {"color": COLOURS[i % 7], "ls": STYLES[i % 4]}
        axes.plot(*line, label=shorten(name, 26), **style)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), ylabel=y)
    axes.set_xlabel("false positive rate" if which == "roc" else "recall")
    if axes.get_legend_handles_labels()[1]:
      axes.legend(loc="lower right" if which == "roc" else "lower left")
    title = "ROC curves" if which == "roc" else "Precision-recall curves"
    grid = next((c[x] for c in some if c["mean"]), [])
    means = [c["mean"] or [None] * len(grid) for c in some]
    drawings.append(
      Drawing(
        f"compared-{which}",
        f"{title}, means over labels",
        f"{title} of {len(names)} runs, each the mean over labels.",
        figure,
        [axes.get_xlabel(), *names],
        [[value, *row] for value, *row in zip(grid, *means)],
      )
    )
  return drawings
