"""Scores a trained run on the test split, once.

  python -m experiments.evaluate --workdir=RUN [--truth=RAW/truth.csv]

prints the table and writes it to RUN/results.json and RUN/results.txt, and what
was predicted for each stay to RUN/predictions.npz; a second call prints what
the first one found. With the synthetic twin's truth
file the Bayes-optimal prediction stands beside each number.

  python -m experiments.evaluate --workdir=RUN --predict=FILE.csv

scores nothing: it writes each test stay's id and probabilities, which needs no
outcome.
"""

import csv
import io
import pathlib

import numpy as np
from absl import flags

from data.records import GROUPS
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.report import bound, options
from experiments.training import temperature, windows
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.evaluate import (
  bootstrap,
  metrics,
  predictions,
  report,
  table,
  tokens,
)
from medpatch_jax.input import examples, places
from medpatch_jax.train import board
from medpatch_jax.train.log import logger

RESAMPLES = 200  # Of validation's patients, for a standard error.


def evaluate(stages: Stages, truth=None) -> str:
  """Scores the test split, or reads back what was found, as a table.

  Args:
    stages: a run whose stages are complete.
    truth: truth.csv of the synthetic twin, or None.

  Raises:
    ValueError: the test split is empty, its outcomes are not known, or it was
      scored by another version.
  """
  config = stages.config
  if (config.results / "results.txt").exists():
    return read_back(config.results)
  check_scorable(stages.run)
  title = "MedPatch" if config.model == "medpatch" else config.model
  chosen = validated(stages)["head"]
  return write(
    stages.run,
    stages.predict("test"),
    chosen,
    title,
    truth,
    token_calibration=token_calibration(stages),
  )


def token_calibration(stages: Stages) -> list[dict] | None:
  """Of each modality on validation and test, as `report.build` takes it.

  None of a model without token confidence.
  """
  if stages.config.model != "medpatch":
    return None
  run_ = stages.run

  def row(m, split):
    found, rows = temperature.errors(stages, m, split), run_.rows(split, m)
    return tokens.build(
      *(found[name] for name in ("before", "after", "sure")),
      label=run_.label(split)[rows],
      patient=run_.data.subject(split)[rows],
      rule=run_.rule,
    )

  splits = "validation", "test"
  return [
    {"modality": m} | {split: row(m, split) for split in splits}
    for m in run_.config.modalities
  ]


def read_back(folder: pathlib.Path) -> str:
  """The table of a test split that was scored before."""
  logger.info("%s: the test split was scored before", folder)
  result = report.read(folder / "results.json")
  try:
    text = table.text(result) + "\n"
  except (KeyError, TypeError, ValueError, AttributeError) as error:
    raise files.Damaged(
      f"{folder / 'results.json'}: is damaged, a field is missing or of another"
      f" kind ({error!r}); delete it and results.txt, and score the run again."
    ) from None
  path = folder / "results.txt"
  if path.read_text("utf-8", errors="replace") != text:
    logger.warning("%s: is not what results.json says; written anew", path)
    files.write_text(path, text)
  return text


def check_scorable(run_: Run) -> None:
  """Refuses a test split that holds no stay, or stays without outcomes.

  Raises:
    ValueError: says so and what to do.
  """
  rows = run_.rows("test")
  if not len(rows):
    raise ValueError(f"{run_.data.path}: the test split holds no stay.")
  if np.isnan(run_.label("test")[rows]).any():
    raise ValueError(
      f"{run_.data.path}: the outcomes of the test split are not known, so it"
      " cannot be scored; write predictions with --predict=FILE.csv."
    )


def write(
  run_: Run,
  outputs: dict,
  chosen: str,
  title: str,
  truth=None,
  folder=None,
  token_calibration=None,
) -> str:
  """Scores what was predicted for the test split; writes the results.

  Args:
    run_: whose test split it is.
    outputs: head, or unimodal/modality -> logits f32[N C], rows in the order
      of `run_.rows("test")`.
    chosen: the head that is the model's number.
    title: name of the model.
    truth: truth.csv of the synthetic twin, or None.
    folder: where results.json, results.txt and predictions.npz go; the run's
      by default.
    token_calibration: of `report.build`.

  Returns:
    the table.
  """
  config, rows = run_.config, run_.rows("test")
  folder = folder or config.results
  logits = {
    name.removeprefix("unimodal/"): values
    for name, values in outputs.items()
    if name.startswith("unimodal/") or name not in config.modalities
  }
  present = run_.present("test")[rows]
  label, subject = run_.label("test")[rows], run_.data.subject("test")[rows]
  result = report.build(
    logits,
    label,
    present,
    subject,
    label_names=run_.labels,
    modalities=config.modalities,
    chosen=chosen,
    people=_people(run_, rows),
    title=title,
    bayes=bound.logits(run_, rows, present, truth) if truth else None,
    hourly=run_.data.description.hourly,
    left=_left(run_, rows),
    token_calibration=token_calibration,
    unread=(run_.shapes.max_windows, windows.of_test(run_)),
    rule=run_.rule,
    whole=run_.data.size("test"),
  )
  for m, has in zip(config.modalities, present.T):
    if m in logits:
      logits[m] = np.where(has[:, None], logits[m], np.nan)
  predictions.save(
    folder / predictions.NAME,
    predictions.Predictions(
      logits,
      label,
      subject,
      rows,
      run_.labels,
      chosen,
      config.task,
      "test",
      run_.data.fingerprint,
      run_.rule.open,
      run_.data.size("test"),
    ),
  )
  text = table.text(result) + "\n"
  files.write_json(folder / "results.json", result)
  files.write_text(folder / "results.txt", text)
  own = folder == config.results
  board.test(folder, _headline(result), config.workdir if own else None)
  return text


def _headline(result) -> dict[str, float]:
  """AUROC and AUPRC of a report's model, heads and modalities, by name."""
  rows = {"test": result["model"]}
  rows |= {f"test/{row['head']}": row for row in result["heads"]}
  rows |= {f"test/{row['modality']}": row for row in result["unimodal"]}
  return {
    f"{name}/{metric}": row[metric]["value"]
    for name, row in rows.items()
    for metric in ("auroc", "auprc")
    if row.get(metric) and row[metric]["value"] is not None
  }


def predict(stages: Stages, path) -> None:
  """As `write_probabilities`, of the chosen head of a complete run."""
  chosen = validated(stages)["head"]
  write_probabilities(stages.run, lambda: stages.predict("test")[chosen], path)


def write_probabilities(run_: Run, logits, path) -> None:
  """Writes id and probability of each label for the test split's stays.

  In a task that predicts at every hour a line is an hour of a stay.

  A stay without any modality of the run is left out: nothing is predicted from
  nothing.

  Args:
    run_: whose test split it is.
    logits: () -> f32[N C], rows in the order of `run_.rows("test")`.
    path: the .csv file, written whole or not at all.

  Raises:
    ValueError: the test split is empty.
  """
  rows = run_.rows("test")
  if not len(rows):
    raise ValueError(f"{run_.data.path}: the test split holds no stay.")
  source = run_.data.source("test", ("stay_id",))
  stays = np.array([int(source[int(row)]["stay_id"]) for row in rows])
  probability = 1 / (1 + np.exp(-logits().astype(np.float64)))
  one, at = len(run_.labels) == 1, run_.data.hour("test")
  hour = None if at is None else at[1][rows]
  out = io.StringIO()
  lines = csv.writer(out, lineterminator="\n")
  lines.writerow(
    [run_.data.id_name]
    + ([] if hour is None else ["hour"])
    + (["probability"] if one else list(run_.labels))
  )
  for i in np.argsort(stays, kind="stable"):
    row = [stays[i]] + ([] if hour is None else [hour[i]])
    lines.writerow([*row, *(f"{p:.6f}" for p in probability[i])])
  files.write_text(pathlib.Path(path), out.getvalue())
  left = run_.data.size("test") - len(rows)
  logger.info(
    "%s: %s stays of the test split%s",
    path,
    run_.size("test", rows).rows,
    "; those without any input left out" if left else "",
  )


def validated(stages: Stages) -> dict:
  """What validation says of a run: `head`, by `choose`, and its `auroc`.

  The mean over the labels that are not suppressed, None where it is undefined.
  Kept in the workdir as validation.json.
  """
  path = stages.config.workdir / "validation.json"
  kind = {"head": str, "auroc": (float, None)}
  if path.exists():
    try:
      return files.read_json(path, kind, "made anew")
    except files.Damaged as error:
      logger.warning("%s", error)
  rows, heads = stages.run.rows("validation"), stages.heads
  head, value = heads[0], None
  if len(rows):
    label = stages.run.label("validation")[rows]
    predicted = stages.predict("validation")
    outputs = {h: predicted[h] for h in heads}
    head = choose(outputs, label, stages.run.data.subject("validation")[rows])
    auroc = metrics.auroc(outputs[head], label)
    given = auroc, outputs[head], "validation", rows
    value = stages.run.shown_mean(*given)
  found = {"head": head, "auroc": value}
  files.write_json(path, found)
  return found


def choose(outputs, label, subject) -> str:
  """The first head that is no more than a standard error behind the best one.

  A few dozen positives cannot tell heads apart that rank nearly alike; then
  the simplest is as good a choice, and always the same (Breiman, Friedman,
  Olshen and Stone, *Classification and Regression Trees*, 1984).

  Args:
    outputs: head -> logits f32[N C], the simplest first.
    label: f32[N C].
    subject: whose the stays are, [N]; resampled for the standard error of the
      difference of two mean AUROCs.

  Returns:
    its name; the first one where no AUROC is defined.
  """
  first = next(iter(outputs))
  if len(outputs) == 1:
    return first
  each = {
    h: metrics.mean(metrics.auroc(x, label))[0] for h, x in outputs.items()
  }
  if None in each.values():
    return first
  counts = bootstrap.draw(subject, RESAMPLES)
  drawn = {
    h: bootstrap.resample(x, label, counts).mean().auroc
    for h, x in outputs.items()
  }
  best = max(each, key=each.get)
  return next(
    h
    for h in outputs
    if each[best] - each[h] <= np.nanstd(drawn[best] - drawn[h])
  )


def _people(run_, rows) -> dict[str, np.ndarray]:
  """What the records say of whom the test stays are of: words or f32 [N]."""
  kinds = run_.data.metadata.get("groups", GROUPS)
  source = run_.data.source("test", tuple(kinds))
  records = [source[int(row)] for row in rows]
  return {
    name: np.array([record[name] for record in records], np.float32)
    if kind == "number"
    else np.array([examples.string(record[name]) for record in records])
    for name, kind in kinds.items()
  }


def _left(run_, rows):
  """Hours left of the test rows and the mean of each bucket, or None."""
  if not run_.data.description.classes:
    return None
  return run_.data.targets_of("test")[rows, 0], run_.data.bucket_hours


def main(argv) -> None:
  del argv
  places.readable("truth", flags.FLAGS.truth)
  places.a_file("predict", flags.FLAGS.predict)
  config = Config.from_workdir(
    flags.FLAGS.workdir,
    flags.FLAGS.share,
    missing_test=flags.FLAGS.missing_test,
  )
  stages = Stages(Run(config))
  stages.check_complete()
  if flags.FLAGS.predict:
    predict(stages, flags.FLAGS.predict)
    return
  f = flags.FLAGS
  print(evaluate(stages, f.truth))
  if f.report:
    from experiments.report import write as write_page  # Loads Matplotlib.

    cases = {"cases": f.cases, "disclose": f.disclose_cases}
    print(f"report: {write_page.of_run(stages, f.truth, **cases)}")


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of a trained run.")
  flags.DEFINE_string("share", None, "Folder it shared its encoders in.")
  flags.DEFINE_string("truth", None, "truth.csv of the synthetic twin.")
  flags.DEFINE_list(
    "missing_test",
    [],
    "Share of the test stays that modalities are taken from, as of"
    " experiments.train; the results go to RUN/missing/.",
  )
  flags.DEFINE_string(
    "predict",
    None,
    "File.csv to write the test stays' ids and probabilities to; no scores.",
  )
  options.define()
  experiment_flags.run(main)
