"""Scores the mean of several runs' probabilities on the test split.

  python -m experiments.ensemble --runs=RUN,RUN,... --workdir=OUT
      [--kind=early|joint|late|diverse] [--truth=RAW/truth.csv]

Without --kind all runs are members; with it, the best three by validation of
that model, or the best of early, of joint and of late (diverse; the paper's
Table 3). --predict=FILE.csv, in the place of --workdir, writes each test stay's
id and mean probability, which needs no outcome. OUT gets results.json, results.txt and predictions.npz, so that
experiments.compare reads it like a run.
"""

import pathlib

import numpy as np
from absl import flags

from experiments import evaluate
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax.baselines import ensemble
from medpatch_jax.input import places
from medpatch_jax.train.log import logger


def score(stages: Stages) -> tuple[str, float]:
  """A run's model and validation AUROC, as `baselines.ensemble.choose` wants."""
  return stages.config.model, evaluate.validated(stages)["auroc"] or 0.0


def write(members: dict[str, Stages], folder, title, truth=None) -> str:
  """Scores the mean of the members' probabilities; writes the results.

  Args:
    members: name -> a run whose stages are complete.
    folder: of the results.
    title: name of the ensemble.
    truth: truth.csv of the synthetic twin, or None.

  Raises:
    ValueError: they are about different stays.
  """
  about = alike(members)
  evaluate.check_scorable(about)
  outputs = {"ensemble": averaged(members)}
  return evaluate.write(about, outputs, "ensemble", title, truth, folder)


def averaged(members) -> np.ndarray:
  """Logits f32[N C] of the mean of the members' probabilities, on test."""
  logits = [
    stages.predict("test")[evaluate.validated(stages)["head"]]
    for stages in members.values()
  ]
  return np.asarray(ensemble.mean(logits))


def alike(members) -> Run:
  """The run of the first member, if all are about its test stays.

  Raises:
    ValueError: they are about different stays.
  """
  first, *others = members
  about = members[first].run
  for name in others:
    run = members[name].run
    same = run.data.fingerprint == about.data.fingerprint
    if not same or not np.array_equal(run.rows("test"), about.rows("test")):
      raise ValueError(
        f"{name} and {first} predict different stays, so they have no mean:"
        " train both on one --data_dir and --task, with modalities that the"
        " same stays have."
      )
  return about


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  for name in ("runs", "predict" if values.predict else "workdir"):
    if not values[name].value:
      raise ValueError(f"--{name} is missing.")
  places.a_file("predict", values.predict)
  places.a_folder("workdir", values.workdir)
  places.readable("truth", values.truth)
  runs = {
    name: Stages(Run(Config.from_workdir(name, values.share)))
    for name in values.runs
  }
  for stages in runs.values():
    stages.check_complete()
  names = list(runs)
  if values.kind:
    scores = {name: score(stages) for name, stages in runs.items()}
    names = ensemble.choose(scores, values.kind)
  logger.info("members: %s", ", ".join(names))
  title = f"ensemble of {values.kind or len(names)}"
  members = {name: runs[name] for name in names}
  if values.predict:
    about = alike(members)
    evaluate.write_probabilities(
      about, lambda: averaged(members), values.predict
    )
    return
  print(write(members, pathlib.Path(values.workdir), title, values.truth))


if __name__ == "__main__":
  flags.DEFINE_list("runs", None, "Folders of trained runs.")
  flags.DEFINE_enum(
    "kind",
    None,
    (*ensemble.KINDS, "diverse"),
    "Which of them: the best three of a model, or the best of each of three;"
    " all of them by default.",
  )
  flags.DEFINE_string("workdir", None, "Folder of the results.")
  flags.DEFINE_string("share", None, "Folder the runs shared encoders in.")
  flags.DEFINE_string(
    "predict",
    None,
    "File.csv to write the test stays' ids and mean probabilities to; no scores"
    " and no --workdir.",
  )
  flags.DEFINE_string("truth", None, "truth.csv of the synthetic twin.")
  experiment_flags.run(main)
