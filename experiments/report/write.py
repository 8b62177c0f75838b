"""Writes the page of a run, and its figures for papers."""

import pathlib
import time

import numpy as np

from experiments.report import bound, page, plots
from experiments.report import cases as cases_
from experiments.report import facts as facts_
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.evaluate import (
  calibration,
  curves,
  decision,
  disclosure,
  selective,
)
from medpatch_jax.evaluate.cells import Cells, number
from medpatch_jax.train.log import logger

NAME = "report.html"


def of_run(
  stages: Stages,
  truth=None,
  out=None,
  figures=None,
  cases: int = 0,
  disclose: bool = False,
) -> pathlib.Path:
  """Writes the page of a run whose records are open.

  Args:
    stages: the run; nothing of it is trained.
    truth: truth.csv of the synthetic twin, or None.
    out: the file, RUN/report.html by default.
    figures: folder that gets every figure as SVG and PNG, or None.
    cases: stays that are shown one by one, of open data.
    disclose: shows them of other data, too.

  Returns:
    the file.
  """
  began, config = time.monotonic(), stages.config
  facts = facts_.of_files(config.workdir, config.results)
  facts_.of_stages(facts, stages)
  if truth and facts.result:
    facts.bayes = best(stages.run, truth)
  if may_show_cases(stages, disclose) and facts.result and cases:
    chosen = facts.result["chosen"]
    facts.cases = cases_.build(stages, cases, chosen, truth)
  return write(facts, out or config.results / NAME, figures, began)


def may_show_cases(stages: Stages, disclose: bool = False) -> bool:
  """Whether single stays may be shown, and the model has tokens to show."""
  shown = stages.run.rule.open or disclose
  return shown and stages.config.model == "medpatch" and facts_.complete(stages)


def write(facts, out=None, figures=None, began=None) -> pathlib.Path:
  """Writes the page of what there is; arguments as of `of_run`."""
  began = time.monotonic() if began is None else began
  drawn = page.drawings(facts)
  path = pathlib.Path(out or facts.workdir / NAME)
  files.write_text(path, page.html(facts, drawn))
  if figures:
    saved = plots.save([d for some in drawn.values() for d in some], figures)
    logger.info("%s: %d figures as SVG and PNG", figures, len(saved) // 2)
  logger.info(
    "%s: %.1f MB in %.1f s",
    path,
    path.stat().st_size / 1e6,
    time.monotonic() - began,
  )
  return path


def best(run, truth) -> dict:
  """Every curve of the twin's Bayes bound; the twin is open."""
  rows = run.rows("test")
  present = run.present("test")[rows]
  logits = bound.logits(run, rows, present, truth)["all"]
  label = run.label("test")[rows]
  cells = Cells(label, run.data.subject("test")[rows], 1, rule=disclosure.OPEN)
  prob = calibration.probability(logits)
  reliability = calibration.reliability(prob, label)
  benefit = decision.net_benefit(prob, label).model.T
  each = []
  for c in range(label.shape[1]):
    merged = calibration.merge(reliability, c, disclosure.SMALLEST_CELL)
    bins = {
      name: [number(v) for v in getattr(merged, name).reshape(-1)]
      for name in ("count", "predicted", "observed")
    }
    each.append({"reliability": bins})
  return {
    "curves": curves.build(logits, cells),
    "calibration": each,
    "risk": _lists(selective.curve(logits, label).risk.T),
    "benefit": _lists(benefit),
  }


def _lists(values):
  return [[number(v) for v in row] for row in np.asarray(values)]
