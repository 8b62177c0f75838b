"""The finished runs of a sweep as tidy results and as a table.

A row's number is the mean over its seeds, with the standard deviation over
them and the 95 % interval over patients: the mean's own, each seed scored
under the same 1,000 draws. A gain is taken seed by seed and draw by draw, so
that what a seed or a patient does to both drops out. The best row is bold
only if it beats every other row on the same stays, by the paired bootstrap
after Holm's correction.
"""

import csv
import dataclasses
import io
import time

import numpy as np

from medpatch_jax.evaluate import (
  bootstrap,
  compare,
  disclosure,
  metrics,
  predictions,
  report,
  significance,
)
from medpatch_jax.train.log import logger

METRICS = {"auroc": "AUROC", "auprc": "AUPRC"}
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Score:
  """The reported head of one run.

  Attributes:
    stays: what tells whether two runs are about the same stays.
    points: metric -> mean over labels.
    under: metric -> f64[R], that mean in each resample.
  """

  stays: tuple
  points: dict[str, float]
  under: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Number:
  """Mean over seeds; None where it is not known.

  Attributes:
    mean: of the seeds.
    spread: standard deviation over seeds.
    low, high: 95 % interval over patients.
    p: of a gain, two-sided, before correction.
    best: beats all other rows.
  """

  mean: float
  spread: float | None = None
  low: float | None = None
  high: float | None = None
  p: float | None = None
  best: bool = False


def tidy(folders) -> list[dict]:
  """One dict for each finished run and head.

  Args:
    folders: (row's name, seed) -> folder of the run's results.

  Raises:
    ValueError: a run was scored by another version.
  """
  found = []
  for (row, seed), folder in folders.items():
    if not (folder / "results.json").exists():
      continue
    result = report.read(folder / "results.json")
    for head in result["heads"]:
      line = {
        "row": row,
        "seed": seed,
        "head": head["head"],
        "chosen": head["head"] == result["chosen"],
        "stays": head["stays"],
      }
      for name in METRICS:
        cell, bayes = head[name] or {}, (result["bayes"] or {}).get(name) or {}
        line |= {
          name: cell.get("value"),
          f"{name}_low": cell.get("low"),
          f"{name}_high": cell.get("high"),
          f"{name}_bayes": bayes.get("value"),
        }
      found.append(line)
  return found


def scores(folders) -> dict[tuple, Score]:
  """Every finished run under the same draws; arguments as of `tidy`."""
  done = {k: f for k, f in folders.items() if (f / "results.json").exists()}
  found, kept, began = {}, {}, time.monotonic()
  for i, (key, folder) in enumerate(done.items(), 1):
    run = predictions.load(folder / predictions.NAME)
    logits, label = run.logits[run.chosen], run.label
    stays = (run.task, run.row.tobytes(), label.tobytes())
    if stays not in kept:
      kept[stays] = bootstrap.draw(run.subject)
    hidden = compare.suppressed([logits], run)
    draws = kept[stays]
    scored = compare.score(run.chosen, logits, label, draws, hidden)
    rule = disclosure.Rule(run.open)
    found[key] = Score(
      stays,
      rule.numbers({n: metrics.mean(scored.points[n])[0] for n in METRICS}),
      {n: bootstrap.nanmean(scored.under[n])[:, 0] for n in METRICS},
    )
    left = (time.monotonic() - began) / i * (len(done) - i)
    if left > 5:
      logger.info("table: %d of %d runs, %.0f s left", i, len(done), left)
  return found


def summarise(rows, found: dict[tuple, Score]) -> list[dict]:
  """One dict for each row: `row`, `reference`, `seeds` and a `Number` for
  each metric and for its gain over the reference (None without one)."""
  lines = []
  for row in rows:
    seeds = [seed for name, seed in found if name == row.name]
    line = {"row": row.name, "reference": row.reference, "seeds": len(seeds)}
    for metric in METRICS:
      line[metric] = number(found, metric, row.name, seeds)
      line[f"{metric}_gain"] = None
      if row.reference:
        line[f"{metric}_gain"] = gain(found, metric, row.name, row.reference)
    lines.append(line)
  for metric in METRICS:
    _mark_best(lines, found, metric)
  return lines


def number(found, metric, row, seeds) -> Number | None:
  """A row's metric over its seeds."""
  runs = [found[row, seed] for seed in seeds]
  points = [run.points[metric] for run in runs]
  if not runs or None in points:
    return None
  same = len({run.stays for run in runs}) == 1
  low, high = None, None
  if same:
    mean = np.mean([run.under[metric] for run in runs], axis=0)
    low, high = (float(x) for x in bootstrap.interval(mean))
  return Number(float(np.mean(points)), _spread(points), low, high)


def gain(found, metric, row, reference) -> Number | None:
  """A row minus another, over the seeds that both have."""
  pairs = [
    (run, found[reference, seed])
    for (name, seed), run in found.items()
    if name == row and (reference, seed) in found
  ]
  values = [(a.points[metric], b.points[metric]) for a, b in pairs]
  if not pairs or any(None in pair for pair in values):
    return None
  gaps = [a - b for a, b in values]
  mean, spread = float(np.mean(gaps)), _spread(gaps)
  if len({run.stays for pair in pairs for run in pair}) > 1:
    return Number(mean, spread)  # About different stays: not paired.
  first, second = (
    np.mean([run.under[metric] for run in side], axis=0) for side in zip(*pairs)
  )
  paired = significance.difference(mean, first, second)
  low, high, p = (float(x) for x in (paired.low, paired.high, paired.p))
  return Number(mean, spread, low, high, p)


def _spread(values) -> float | None:
  return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _mark_best(lines, found, metric) -> None:
  """Marks the best row, if it beats every other on the same stays."""
  known = [line for line in lines if line[metric] is not None]
  if len(known) < 2:
    return
  best = max(known, key=lambda line: line[metric].mean)
  gaps = [
    gain(found, metric, best["row"], line["row"])
    for line in known
    if line is not best
  ]
  p = [gap.p if gap and gap.p is not None else 1.0 for gap in gaps]
  if significance.holm(np.array(p)).max() < LEVEL:
    best[metric] = dataclasses.replace(best[metric], best=True)


def markdown(lines, found=()) -> str:
  """The summary as a Markdown table, last the Bayes bound of `tidy`."""
  bound = bounds(found)
  head = ["row", "seeds", *METRICS.values()]
  gains = any(line["reference"] for line in lines)
  if gains:
    head += ["than", *(f"{title} gain" for title in METRICS.values())]
  if bound:
    head += [f"Bayes {title}" for title in METRICS.values()]
  table = [head, ["---"] * len(head)]
  for line in lines:
    cells = [line["row"], str(line["seeds"]), *(show(line[m]) for m in METRICS)]
    if gains:
      cells.append(line["reference"] or "")
      cells += [show(line[f"{m}_gain"], "+") for m in METRICS]
    if bound:
      cells += [bound.get((line["row"], m), "") for m in METRICS]
    table.append(cells)
  return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def bounds(found) -> dict[tuple, str]:
  """(row, metric) -> the Bayes-optimal prediction's, where it is known."""
  out = {}
  for line in found:
    for m in METRICS:
      if line["chosen"] and line[f"{m}_bayes"] is not None:
        out[line["row"], m] = f"{line[f'{m}_bayes']:.4f}"
  return out


def by_presence(rows, folders, least: int = 200) -> str:
  """AUROC for each presence pattern as a Markdown table, mean over seeds.

  A line for each pattern with at least `least` test stays, a column for each
  row of the sweep that has all the modalities, the Bayes bound last.

  Args:
    rows: of the sweep.
    folders: (row's name, seed) -> folder of the run's results.
    least: stays, at least 11.
  """
  results = {
    key: report.read(folder / "results.json")
    for key, folder in folders.items()
    if (folder / "results.json").exists()
  }
  every = max((r["modalities"] for r in results.values()), key=len, default=[])
  results = {k: r for k, r in results.items() if r["modalities"] == every}
  cells: dict[tuple, dict[str, list]] = {}
  for (row, _), result in results.items():
    for one in result["patterns"]:
      # Patterns too rare to be shown have no name, a rounded count a sign.
      digits = "".join(filter(str.isdigit, str(one["stays"])))
      stays = int(digits or 0)
      scored = one["auroc"] and one["auroc"]["value"] is not None
      if not one["modalities"] or not scored or stays < least:
        continue
      found = cells.setdefault((tuple(one["modalities"]), stays), {})
      found.setdefault(row, []).append(one["auroc"]["value"])
      if one["bayes"]:
        found["Bayes"] = [one["bayes"]["auroc"]["value"]]
  names = [row.name for row in rows if any(r == row.name for r, _ in results)]
  if any("Bayes" in found for found in cells.values()):
    names.append("Bayes")
  table = [["present", "stays", *names], ["---"] * (2 + len(names))]
  for (modalities, stays), found in sorted(
    cells.items(), key=lambda item: (-len(item[0][0]), -item[0][1])
  ):
    means = [f"{np.mean(found[n]):.4f}" if n in found else "" for n in names]
    table.append([", ".join(modalities), f"{stays:,}", *means])
  return "".join(f"| {' | '.join(line)} |\n" for line in table)


def latex(lines) -> str:
  """The summary as a LaTeX tabular."""
  body = []
  for line in lines:
    cells = [line["row"].replace("_", r"\_")]
    cells += [show(line[m], tex=True) for m in METRICS]
    cells += [show(line[f"{m}_gain"], "+", tex=True) for m in METRICS]
    body.append(" & ".join(cells) + r" \\")
  head = r"row & AUROC & AUPRC & AUROC gain & AUPRC gain \\ \hline"
  return "\n".join(
    [r"\begin{tabular}{lrrrr}", head, *body, r"\end{tabular}", ""]
  )


def show(value: Number | None, sign: str = "", tex: bool = False) -> str:
  """`mean ± spread (low, high)`, the best in bold."""
  if value is None:
    return ""
  text = f"{value.mean:{sign}.4f}"
  if value.best:
    text = rf"\textbf{{{text}}}" if tex else f"**{text}**"
  if value.spread is not None:
    text += f" {'$' + chr(92) + 'pm$' if tex else '±'} {value.spread:.4f}"
  if value.low is not None:
    text += f" ({value.low:{sign}.4f}, {value.high:{sign}.4f})"
  return text


def csv_text(found) -> str:
  """The tidy results as CSV; a number that is not known is empty."""
  out = io.StringIO()
  writer = csv.DictWriter(out, found[0] if found else (), lineterminator="\n")
  writer.writeheader()
  writer.writerows(found)
  return out.getvalue()
