"""Trains and scores every row of a sweep for several seeds, and tabulates.

  python -m experiments.ablate --sweep=deviations --seeds=5 --data_dir=OUT
      --task=phenotyping --workdir=SWEEP [--truth=RAW/truth.csv] [--shard=1/4]

Every flag of experiments.train may be given and holds for all rows. What rows
have in common (encoders, temperatures, pools) is made once and shared. Started
again, it goes on where it stopped; several machines with the same workdir each
take their share of the runs (--shard). The table is made of what is finished:
SWEEP/results.csv, table.md and table.tex.
"""

import copy
import csv
import io
import pathlib
import re
import time

import numpy as np
from absl import flags

from experiments import evaluate, sweeps, train
from experiments import flags as experiment_flags
from experiments.config import Config
from medpatch_jax.evaluate import report
from medpatch_jax.train import checkpoint
from medpatch_jax.train.log import logger

METRICS = ("auroc", "auprc")


def run(rows, values, workdir, seeds: int, shard=(1, 1), truth=None) -> None:
  """Trains and scores the runs of a sweep that are not finished.

  Args:
    rows: of a sweep.
    values: parsed absl flags that every row starts from.
    workdir: of the sweep.
    seeds: runs of a row, seeds 0 to seeds - 1.
    shard: (i, n), take every n-th run, from the i-th (counted from 1).
    truth: truth.csv of the synthetic twin, or None.

  Raises:
    ValueError: a row has a flag that is unknown or out of range, or the
      workdir holds another sweep's runs under the same names.
  """
  runs = [(row, seed) for seed in range(seeds) for row in rows]
  configs = [configure(*one, values, workdir) for one in runs]
  mine = list(zip(runs, configs))[shard[0] - 1 :: shard[1]]
  began = time.monotonic()
  made = 0
  for i, ((row, seed), config) in enumerate(mine):
    if (config.workdir / "results.json").exists():
      checkpoint.claim(config.workdir, config.given)
      continue
    left = (time.monotonic() - began) / max(made, 1) * (len(mine) - i)
    logger.info(
      "[%d/%d] %s, seed %d%s",
      i + 1,
      len(mine),
      row.name,
      seed,
      f", about {left / 60:.0f} min left" if made else "",
    )
    evaluate.evaluate(train.train(config), truth)
    made += 1


def configure(row, seed, values, workdir) -> Config:
  """The configuration of one run of a sweep.

  Raises:
    ValueError: names the row and the flag that is not as it must be.
  """
  workdir = pathlib.Path(workdir)
  values = copy.deepcopy(values)
  try:
    values(["ablate", *row.flags])
    return Config.from_flags(
      values,
      seed=seed,
      workdir=workdir / "runs" / row.name / str(seed),
      share=workdir / "share",
    )
  except (flags.Error, ValueError) as error:
    raise ValueError(f"row {row.name!r} of the sweep: {error}") from None


def collect(rows, workdir, seeds: int) -> list[dict]:
  """One dict for each finished run and head: the tidy results.

  Raises:
    ValueError: a run was scored by another version.
  """
  found = []
  for row in rows:
    for seed in range(seeds):
      path = pathlib.Path(workdir, "runs", row.name, str(seed), "results.json")
      if not path.exists():
        continue
      result = report.read(path)
      for head in result["heads"]:
        line = {
          "row": row.name,
          "seed": seed,
          "head": head["head"],
          "chosen": head["head"] == result["chosen"],
          "stays": head["stays"],
        }
        for name in METRICS:
          cell = head[name] or {}
          line |= {
            name: cell.get("value"),
            f"{name}_low": cell.get("low"),
            f"{name}_high": cell.get("high"),
          }
        found.append(line)
  return found


def summarise(rows, found) -> list[dict]:
  """Mean and standard deviation over seeds, and the difference to reference.

  The difference is taken seed by seed, so that what a seed does to both
  drops out.
  """
  chosen = {(r["row"], r["seed"]): r for r in found if r["chosen"]}
  lines = []
  for row in rows:
    seeds = sorted(s for name, s in chosen if name == row.name)
    line = {"row": row.name, "reference": row.reference, "seeds": len(seeds)}
    for metric in METRICS:
      values = {s: chosen[row.name, s][metric] for s in seeds}
      line[metric] = _moments(values.values())
      pairs = [
        values[s] - chosen[row.reference, s][metric]
        for s in seeds
        if (row.reference, s) in chosen
      ]
      line[f"{metric}_gain"] = _moments(pairs) if row.reference else None
    lines.append(line)
  return lines


def _moments(values):
  values = [v for v in values if v is not None]
  if not values:
    return None
  spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return float(np.mean(values)), spread


def markdown(lines) -> str:
  """The summary as a Markdown table."""
  head = ("row", "seeds", "AUROC", "AUPRC", "than", "AUROC gain", "AUPRC gain")
  table = [head, ("---",) * len(head)]
  for line in lines:
    table.append(
      (
        line["row"],
        str(line["seeds"]),
        *(_cell(line[m]) for m in METRICS),
        line["reference"] or "",
        *(_cell(line[f"{m}_gain"], "+") for m in METRICS),
      )
    )
  return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def latex(lines) -> str:
  """The summary as a LaTeX tabular."""
  body = [
    " & ".join(
      (
        line["row"].replace("_", r"\_"),
        *(_cell(line[m]) for m in METRICS),
        *(_cell(line[f"{m}_gain"], "+") for m in METRICS),
      )
    ).replace("±", r"$\pm$")
    + r" \\"
    for line in lines
  ]
  head = r"row & AUROC & AUPRC & AUROC gain & AUPRC gain \\ \hline"
  return "\n".join(
    [r"\begin{tabular}{lrrrr}", head, *body, r"\end{tabular}", ""]
  )


def _cell(moments, sign="") -> str:
  if moments is None:
    return ""
  mean, spread = moments
  text = f"{mean:{sign}.4f}"
  return text if spread is None else f"{text} ± {spread:.4f}"


def tidy(found) -> str:
  """The tidy results as CSV; a number that is not known is empty."""
  out = io.StringIO()
  writer = csv.DictWriter(out, found[0] if found else (), lineterminator="\n")
  writer.writeheader()
  writer.writerows(found)
  return out.getvalue()


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  if not values.workdir:
    raise ValueError("--workdir is missing: pass a folder.")
  shard = re.fullmatch(r"(\d+)/(\d+)", values.shard)
  if not shard or not 1 <= int(shard[1]) <= int(shard[2]):
    raise ValueError(f"--shard={values.shard}: wanted i/n, as 1/4.")
  rows = sweeps.load(values.sweep)
  workdir = pathlib.Path(values.workdir)
  part = int(shard[1]), int(shard[2])
  run(rows, values, workdir, values.seeds, part, values.truth)
  found = collect(rows, workdir, values.seeds)
  lines = summarise(rows, found)
  checkpoint.write_text(workdir / "results.csv", tidy(found))
  checkpoint.write_text(workdir / "table.md", markdown(lines))
  checkpoint.write_text(workdir / "table.tex", latex(lines))
  print(markdown(lines))


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_string(
    "sweep", None, "Name of a sweep, or a JSON file.", required=True
  )
  flags.DEFINE_integer("seeds", 5, "Runs of each row.", lower_bound=1)
  flags.DEFINE_string("shard", "1/1", "This machine's share of the runs, i/n.")
  flags.DEFINE_string("truth", None, "truth.csv of the synthetic twin.")
  experiment_flags.run(main)
