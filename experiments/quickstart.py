"""The whole path on the synthetic twin of MIMIC, in one command.

  python -m experiments.quickstart [--task=in_hospital_mortality]

writes raw files in MIMIC's layout, builds records, trains every stage with the
tiny preset, evaluates, and prints where everything lies. Started again with
the same flags, it goes on where it stopped.
"""

import dataclasses
import pathlib
import time

from absl import flags

from data import build
from data.synthetic import model
from data.synthetic import world as worlds
from experiments import evaluate, train
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.report import options, write
from medpatch_jax.input import dataset, places
from medpatch_jax.train import workdir
from medpatch_jax.train.log import logger

FLAGS = flags.FLAGS


def main(argv) -> None:
  del argv
  began = time.monotonic()
  root = pathlib.Path(FLAGS.workdir or f"runs/quickstart-{FLAGS.task}")
  raw, records, trained = root / "raw", root / "records", root / "run"
  twin = {
    "subjects": FLAGS.subjects,
    "seed": FLAGS.seed,
    "layout": FLAGS.layout,
    "density": FLAGS.density,
  }
  config = Config.from_flags(FLAGS, data_dir=records, workdir=trained)
  build.check(source="synthetic", task=FLAGS.task)
  places.a_folder("workdir", root)
  world = worlds.of_flags(FLAGS)
  given = twin | dataclasses.asdict(world) | {"task": FLAGS.task}
  workdir.claim(root, given)
  if not dataset.built(records, FLAGS.task):
    _say(1, "raw files in MIMIC's layout, cohort, records", began)
    build.build(
      source="synthetic",
      task=FLAGS.task,
      data_dir=records,
      raw_dir=raw,
      world=world,
      **twin,
    )
  _say(2, "encoders, token confidence, calibration, fusion", began)
  opened = train.train(config)
  _say(3, "evaluation", began)
  known = FLAGS.task in model.EVIDENCE
  truth = raw / "truth.csv" if known else None
  print(evaluate.evaluate(opened, truth=truth))
  page = None
  if FLAGS.report:
    _say(4, "report", began)
    page = write.of_run(opened, truth, cases=FLAGS.cases)
  built = opened.run.data.path
  print(
    places.worded(f"""
raw files      {raw}
records        {records / FLAGS.task}
build report   {built / "report.txt"}
data quality   {built / "quality.html"} (open it in a browser)
checkpoints    {trained / "fuse"}
results        {trained / "results.json"}
report         {f"{page} (open it in a browser)" if page else "none"}
{time.monotonic() - began:.0f} s in all
next: python -m experiments.export --workdir={trained} --out={root / "model"}""")
  )


def _say(part: int, what: str, began: float) -> None:
  logger.info("[%d/4, %.0f s] %s", part, time.monotonic() - began, what)


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_integer(
    "subjects", 4000, "Patients of the synthetic twin.", lower_bound=50
  )
  flags.DEFINE_enum(
    "layout", "v2.2", ("v1.0", "v2.2", "v3.1"), "MIMIC-IV version imitated."
  )
  flags.DEFINE_float(
    "density", 0.05, "Share of MIMIC's chart rows written.", 0.0, 1.0
  )
  worlds.define(flags)
  options.define()
  experiment_flags.run(main)
