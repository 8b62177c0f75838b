"""EHR encoders and trees on the Challenge 2012, beside a plain model.

  python -m experiments.challenge2012 --challenge=DIR --workdir=RUN
      [--folds=5 --seeds=5 --encoders=lstm,additive,trees, and flags of
      experiments.train]
  python -m experiments.challenge2012 --challenge=DIR --workdir=RUN
      --predict=FILE.csv

Stays with outcomes (sets a and b) are cut into folds by a stable hash. Each
kind of encoder learns from all of a fold's other stays, once for each seed, for
a number of epochs that is fixed beforehand, as boosted trees do beside them, and
all probabilities are averaged. Beside them stands logistic regression on mean, min, max, last and count of each
series, its penalty chosen on an eighth of the same stays and then fitted on all
of them. Writes RUN/results.json and RUN/results.txt; what is finished is read
back when the command is given again.

--predict trains the same models on all stays of sets a and b whose outcome is
known, and writes the averaged probability of each other stay, as those of set c.
"""

import dataclasses
import json
import pathlib

import numpy as np
from absl import flags

from data import splits
from data.challenge2012 import read, summary, tables
from data.progress import Progress
from experiments import flags as experiment_flags
from experiments.real import apart, linear, members
from experiments.real.linear import scores
from medpatch_jax import files
from medpatch_jax.input import places
from medpatch_jax.train.log import logger

# Chosen on the inner stays of docs/challenge2012.md; each can be given.
ENCODERS = ["lstm", "additive", "trees"]
# --learning_rate is the LSTM's.
RATES = {"transformer": 1e-3, "additive": 3e-4}
CHOSEN = {
  "staleness": True,
  "deviation": True,
  "ehr_dropout": 0.3,
  "clip_z": 5.0,
  "classifier_norm": False,
  "batch_size": 64,
  "learning_rate": ["2e-3"],
  "epochs": ["9"],
}


def check(f):
  """Refuses flags that are missing, unknown or take no part (ValueError)."""
  if not f.challenge or not f.workdir:
    raise ValueError("--challenge and --workdir are needed: pass two folders.")
  if not f.encoders or not set(f.encoders) <= set(members.KINDS):
    raise ValueError(
      f"--encoders={','.join(f.encoders)}: wanted one or more of"
      f" {', '.join(members.KINDS)}."
    )
  if f.ehr != "lstm":
    raise ValueError(f"--ehr={f.ehr}: pass --encoders={f.ehr} instead.")


def check_outcomes(f, death):
  """Refuses stays, f64[R] with 1 for a death, that nobody can learn from."""
  if not {0, 1} <= set(death):
    raise ValueError(
      f"--challenge={f.challenge}: there are {len(death):,} stays with an"
      f" outcome, {int(death.sum()):,} of them deaths; wanted some who died and"
      " some who did not: put set-a and Outcomes-a.txt there, too."
    )


def folds(record, count):
  """Fold of each record i64[R], and split of each in each, str[R folds]."""
  place = np.array([splits.fraction(r, "fold") for r in record])
  held = np.array([splits.fraction(r, "held out") for r in record]) < 1 / 8
  fold = (place * count).astype(np.int64)
  test = fold[:, None] == np.arange(count)[None]
  split = np.where(held[:, None], "validation", "train")
  return fold, np.where(test, "test", split)


def averages(probability, label):
  """Scores of each seed, of each kind's seeds averaged, and of all averaged.

  Args:
    probability: f64[S N] of each kind of encoder.
    label: f32[N], 0 or 1.

  Returns:
    {kind: {"each": [(AUROC, AUPRC)] * S, "averaged": (AUROC, AUPRC)}}; where
    there are several kinds, of "all" of them averaged, too.
  """
  if len(probability) > 1:
    mean = np.mean(list(probability.values()), axis=0)
    probability = probability | {"all": mean}
  return {
    kind: {
      "each": [scores(p, label) for p in each],
      "averaged": scores(each.mean(axis=0), label),
    }
    for kind, each in probability.items()
  }


def one_fold(part, X, split, count):
  """Trains and scores everything in one fold -> a JSON-like dict.

  Args:
    part: the fold.
    X: columns of the regression, f64[R F].
    split: of each stay in the fold, str[R].
    count: `members.Count`.
  """
  label = part.charts.death[part.test]
  plain = linear.logits(X, part.charts.death, split)
  found = {"stays": len(label), "deaths": int(label.sum())}
  found["linear"] = scores(plain, label)

  def said(kind, seed, probability):
    logger.info(
      "%s, %s, seed %d: AUROC %.4f AUPRC %.4f",
      *(part.name, kind, seed, *scores(probability, label)),
    )

  probability = members.every(part, count, said)
  found["encoders"] = averages(probability, label)
  return found


def predict(f, charts):
  """Writes RecordID and probability of each stay that is kept apart.

  Raises:
    ValueError: there is none, or there is nothing to learn from.
  """
  test = tables.apart(charts)
  if not test.any():
    raise ValueError(
      f"--challenge={f.challenge}: the outcome of every stay is known, so there"
      " is none to predict; put set-c there, too."
    )
  check_outcomes(f, charts.death[~test])
  # Whoever has the outcomes of set c, too: nothing is learned from them.
  death = np.where(test, np.nan, charts.death)
  charts = dataclasses.replace(charts, death=death)
  part = members.Part(f, charts, test, "apart")
  with Progress("training") as progress:
    probability = members.every(part, members.Count([part], progress))
  found = members.averaged(probability)
  by_id = dict(zip(charts.record[test].tolist(), found.tolist()))
  apart.write(f.predict, "RecordID", by_id)


def table(results):
  """The folds' results as text."""
  parts = {"linear": np.array([r["linear"] for r in results])}
  for kind in results[0]["encoders"]:
    of = [r["encoders"][kind] for r in results]
    seeds = len(of[0]["each"])
    parts[f"{kind}, one seed"] = np.array(
      [np.mean(x["each"], axis=0) for x in of]
    )
    parts[f"{kind}, {seeds} seeds"] = np.array([x["averaged"] for x in of])
  last = list(parts)[-1]
  parts[f"{last} - linear"] = parts[last] - parts["linear"]
  lines = [f"{'':<32}{'AUROC':>10}{'AUPRC':>10}"]
  for title in ("linear", last):
    lines += [
      _row(f"fold {k}, {title}", *values)
      for k, values in enumerate(parts[title])
    ]
  lines.append("")
  for title, values in parts.items():
    lines.append(_row(title, *values.mean(axis=0)))
    lines.append(_row("  spread of folds", *values.std(axis=0, ddof=1)))
  return "\n".join(lines) + "\n"


def _row(title, *values):
  return f"{title:<32}" + "".join(f"{v:>10.4f}" for v in values)


def define(values=flags.FLAGS):
  """Adds this command's flags to those of training, and its defaults."""
  own = {"flag_values": values}
  flags.DEFINE_string(
    "challenge", None, "The sets and outcomes of 2012.", **own
  )
  flags.DEFINE_integer("folds", 5, "Parts of the stays.", 2, **own)
  flags.DEFINE_integer("seeds", 5, "Encoders of a kind.", 1, **own)
  flags.DEFINE_string("predict", None, "File.csv of set c's stays.", **own)
  flags.DEFINE_list(
    "encoders", ENCODERS, "Kinds trained with each seed and averaged.", **own
  )
  for kind, rate in RATES.items():
    flags.DEFINE_float(
      f"{kind}_rate",
      rate,
      f"Learning rate of --encoders={kind}; --learning_rate is the LSTM's.",
      lower_bound=0.0,
      **own,
    )
  for name, value in CHOSEN.items():
    values.set_default(name, value)


def main(argv) -> None:
  del argv
  f = flags.FLAGS
  check(f)
  places.a_folder("workdir", f.workdir)
  places.a_file("predict", f.predict)
  root = pathlib.Path(f.workdir)
  with Progress("reading the charts") as progress:
    charts = read.read(f.challenge, progress.at)
  if f.predict:
    predict(f, charts)
    return
  charts = read.known(charts)
  check_outcomes(f, charts.death)
  _, split = folds(charts.record, f.folds)
  X = summary.summary(charts)
  parts = [
    members.Part(f, charts, s == "test", f"fold_{k}")
    for k, s in enumerate(split.T)
  ]
  results = []
  with Progress("training") as progress:
    count = members.Count(parts, progress)
    for part, of in zip(parts, split.T):
      results.append(one_fold(part, X, of, count))
      logger.info("%s: %s", part.name, json.dumps(results[-1]))
  files.write_json(root / "results.json", results)
  files.write_text(root / "results.txt", table(results))
  print(table(results))


if __name__ == "__main__":
  experiment_flags.define()
  define()
  experiment_flags.run(main)
