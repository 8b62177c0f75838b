"""Compares finished runs on the same test stays, by paired tests.

  python -m experiments.compare --a=RUN --b=RUN
  python -m experiments.compare --a=RUN1,RUN2:late,RUN3 --b=RUN --out=FILE.json

prints each run of --a minus --b: intervals by paired bootstrap over patients,
p values by bootstrap and DeLong, Holm's correction over each table. A run is
the --workdir of a training that experiments.evaluate has scored; RUN:HEAD
takes another of its heads than the one chosen on validation, `ehr` for the
EHR alone; then only the stays with a series are compared. docs/statistics.md
says what the numbers mean.
"""

from absl import flags

from experiments import flags as experiment_flags
from experiments.tables.paired import compared
from medpatch_jax import files
from medpatch_jax.evaluate import compare
from medpatch_jax.input import places


def define() -> None:
  flags.DEFINE_list("a", None, "Runs to compare: RUN or RUN:HEAD each.")
  flags.DEFINE_string("b", None, "The run they are compared with.")
  flags.DEFINE_integer("resamples", 1000, "Of patients.", lower_bound=100)
  flags.DEFINE_integer("seed", 0, "Of the resampling.", lower_bound=0)
  flags.DEFINE_string("out", None, "JSON file for all numbers.")


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  for name in ("a", "b"):
    if not values[name].value:
      raise ValueError(f"--{name} is missing: pass the --workdir of a run.")
  places.a_file("out", values.out)
  result = compared(values.a, values.b, values.resamples, values.seed)
  print(compare.text(result))
  if values.out:
    files.write_json(values.out, result)


if __name__ == "__main__":
  define()
  experiment_flags.run(main)
