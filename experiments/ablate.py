"""Trains and scores every row of a sweep for several seeds, and tabulates.

  python -m experiments.ablate --sweep=deviations --seeds=5 --data_dir=OUT
      --task=phenotyping --workdir=SWEEP [--truth=RAW/truth.csv] [--shard=1/4]

Every flag of experiments.train may be given and holds for all rows. What rows
have in common (encoders, temperatures, pools) is made once and shared. Started
again, it goes on where it stopped; several machines with the same workdir each
take their share of the runs (--shard). The table is made of what is finished:
SWEEP/results.csv, table.md and table.tex, and presence.md with a line for each
presence pattern of at least 200 test stays.
"""

import contextlib
import copy
import pathlib
import re
import time

import jax
from absl import flags

from experiments import evaluate, train
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.tables import sweeps, tabulate
from experiments.training import start
from experiments.training.run import Run
from medpatch_jax import files
from medpatch_jax.input import places
from medpatch_jax.train import checkpoint
from medpatch_jax.train.log import logger


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
    ValueError: a row has a flag that is unknown, out of range or does not fit
      the data: before anything is written; or the workdir holds another sweep's runs under the same names.
  """
  runs = [(row, seed) for seed in range(seeds) for row in rows]
  configs = [configure(*one, values, workdir) for one in runs]
  mine = list(zip(runs, configs))[shard[0] - 1 :: shard[1]]
  places.readable("truth", truth)
  for row, config in zip(rows, configs):  # All rows, of one seed.
    with _row(row):
      start.check(Run(config))
  began = time.monotonic()
  made = 0
  for i, ((row, seed), config) in enumerate(mine):
    if (config.results / "results.json").exists():
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
    # Each run compiles its own programs; they would pile up, 0.4 GB a run.
    jax.clear_caches()


def configure(row, seed, values, workdir) -> Config:
  """The configuration of one run of a sweep.

  Raises:
    ValueError: names the row and the flag that is not as it must be.
  """
  workdir = pathlib.Path(workdir)
  values = copy.deepcopy(values)
  with _row(row):
    values(["ablate", *row.flags])
    return Config.from_flags(
      values,
      seed=seed,
      workdir=workdir / "runs" / (row.trained or row.name) / str(seed),
      share=workdir / "share",
    )


@contextlib.contextmanager
def _row(row):
  """Inside the `with`, bad input names the row."""
  try:
    yield
  except (flags.Error, ValueError) as error:
    raise ValueError(f"row {row.name!r} of the sweep: {error}") from None


def modalities(values) -> tuple[str, ...]:
  """Those of the dataset, or of --modalities."""
  return Config.from_flags(values).modalities


def folders(rows, values, workdir, seeds: int) -> dict:
  """(row's name, seed) -> folder of that run's results."""
  return {
    (row.name, seed): configure(row, seed, values, workdir).results
    for row in rows
    for seed in range(seeds)
  }


def tabulate_runs(rows, values, workdir, seeds: int) -> str:
  """Writes results.csv, table.md, table.tex and presence.md of what is finished.

  Returns:
    the Markdown tables.
  """
  where = folders(rows, values, workdir, seeds)
  found = tabulate.tidy(where)
  lines = tabulate.summarise(rows, tabulate.scores(where))
  text = tabulate.markdown(lines, found)
  files.write_text(workdir / "results.csv", tabulate.csv_text(found))
  files.write_text(workdir / "table.md", text)
  files.write_text(workdir / "table.tex", tabulate.latex(lines))
  presence = tabulate.by_presence(rows, where)
  files.write_text(workdir / "presence.md", presence)
  return f"{text}\n{presence}"


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  if not values.workdir:
    raise ValueError("--workdir is missing: pass a folder.")
  shard = re.fullmatch(r"(\d+)/(\d+)", values.shard)
  if not shard or not 1 <= int(shard[1]) <= int(shard[2]):
    raise ValueError(f"--shard={values.shard}: wanted i/n, as 1/4.")
  rows = sweeps.load(values.sweep, modalities(values))
  workdir = pathlib.Path(values.workdir)
  part = int(shard[1]), int(shard[2])
  run(rows, values, workdir, values.seeds, part, values.truth)
  print(tabulate_runs(rows, values, workdir, values.seeds))


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_string(
    "sweep", None, "Name of a sweep, or a JSON file.", required=True
  )
  flags.DEFINE_integer("seeds", 5, "Runs of each row.", lower_bound=1)
  flags.DEFINE_string("shard", "1/1", "This machine's share of the runs, i/n.")
  flags.DEFINE_string("truth", None, "truth.csv of the synthetic twin.")
  experiment_flags.run(main)
