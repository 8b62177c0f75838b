"""A run as one page to look at in a browser.

  python -m experiments.report --workdir=RUN [--share=DIR]
      [--truth=RAW/truth.csv] [--out=FILE.html] [--figures=DIR] [--cases=N]

  python -m experiments.report --workdir=RUN1,RUN2,RUN3 --out=FILE.html

writes RUN/report.html, which loads nothing and opens from a disk. Of a run that
did not end it shows what is there and names the command for the rest. Several
runs are held against the first, on the same test stays.
"""

from absl import flags

from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.report import facts, options, side_by_side, write
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax.input import places


def main(argv) -> None:
  del argv
  f = flags.FLAGS
  places.readable("truth", f.truth)
  places.a_file("out", f.out)
  if f.figures:
    places.a_folder("figures", f.figures)
  if len(f.workdir or ()) > 1:
    out = f.out or "compared.html"
    print(side_by_side.write(f.workdir, out, f.figures))
    return
  workdir = f.workdir[0] if f.workdir else None
  found = facts.of_files(workdir)  # Names what is wrong with the folder.
  try:
    stages = Stages(Run(Config.from_workdir(workdir, f.share)))
  except ValueError as error:
    found.lacks("records and parameters", " ".join(str(error).split()))
    print(write.write(found, f.out, f.figures))
    return
  given = f.truth, f.out, f.figures, f.cases, f.disclose_cases
  print(write.of_run(stages, *given))


if __name__ == "__main__":
  flags.DEFINE_list(
    "workdir",
    None,
    "Folder of a run; of several (RUN or RUN:HEAD each), for a page that holds"
    " them against the first.",
  )
  flags.DEFINE_string("share", None, "Folder it shared its encoders in.")
  flags.DEFINE_string(
    "truth", None, "truth.csv of the synthetic twin: draws the Bayes bound."
  )
  flags.DEFINE_string(
    "out",
    None,
    "The file; RUN/report.html by default, of several runs ./compared.html.",
  )
  flags.DEFINE_string(
    "figures", None, "Folder that gets every figure as SVG and PNG."
  )
  options.define(last=False)
  experiment_flags.run(main)
