"""EHR encoders on the Challenge 2012, cross-validated beside a plain model.

  python -m experiments.challenge2012 --challenge=DIR --workdir=RUN
      [--folds=5 --seeds=5 --encoders=lstm,additive, and flags of
      experiments.train]
  python -m experiments.challenge2012 --challenge=DIR --workdir=RUN
      --predict=FILE.csv

Stays with outcomes (sets a and b) are cut into folds by a stable hash. Each
kind of encoder learns from all of a fold's other stays, once for each seed, for
a number of epochs that is fixed beforehand, and all probabilities are averaged.
Beside them stands logistic regression on mean, min, max, last and count of each
series, its penalty chosen on an eighth of the same stays and then fitted on all
of them. Writes RUN/results.json and RUN/results.txt; what is finished is read
back when the command is given again.

--predict trains the same encoders on all stays of sets a and b whose outcome is
known, and writes the averaged probability of each other stay, as those of set c.
"""

import dataclasses
import json
import pathlib

import numpy as np
import scipy.optimize
from absl import flags

from data import splits
from data.challenge2012 import read, summary, tables
from data.progress import Progress
from experiments import apart
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.evaluate import metrics
from medpatch_jax.input import discretise, places
from medpatch_jax.train import loop
from medpatch_jax.train.log import logger

EHR = "ehr"
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
# Chosen on the inner stays of docs/own_data.md; each can be given.
ENCODERS = ["lstm", "additive"]
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
  if not f.encoders or not set(f.encoders) <= set(experiment_flags.EHR):
    raise ValueError(
      f"--encoders={','.join(f.encoders)}: wanted one or more of"
      f" {', '.join(experiment_flags.EHR)}."
    )
  if f.ehr != "lstm":
    raise ValueError(f"--ehr={f.ehr}: pass --encoders={f.ehr} instead.")
  places.a_file("predict", f.predict)


def own(f, kind):
  """Flags of one kind of encoder that the others do not have, as a dict."""
  if kind == "lstm":
    return {"ehr": kind}
  # --ehr_dropout is the LSTM's.
  rate = [str(getattr(f, f"{kind}_rate"))]
  return {"ehr": kind, "learning_rate": rate, "ehr_dropout": 0.0}


def folds(record, count):
  """Fold of each record i64[R], and split of each in each, str[R folds]."""
  place = np.array([splits.fraction(r, "fold") for r in record])
  held = np.array([splits.fraction(r, "held out") for r in record]) < 1 / 8
  fold = (place * count).astype(np.int64)
  test = fold[:, None] == np.arange(count)[None]
  split = np.where(held[:, None], "validation", "train")
  return fold, np.where(test, "test", split)


def regression(X, y, penalty):
  """Logistic regression with an L2 penalty: (weights f64[F], bias)."""

  def loss(w):
    z = X @ w[:-1] + w[-1]
    value = np.logaddexp(0, z).sum() - y @ z + penalty / 2 * w[:-1] @ w[:-1]
    error = 1 / (1 + np.exp(-z)) - y
    return value, np.append(X.T @ error + penalty * w[:-1], error.sum())

  found = scipy.optimize.minimize(
    loss, np.zeros(X.shape[1] + 1), jac=True, method="L-BFGS-B"
  )
  return found.x[:-1], found.x[-1]


def linear(X, y, split):
  """Logits f64[N] of the test rows by logistic regression."""
  train, validation = split == "train", split == "validation"

  def logits(learn, apply, penalty):
    x = X[:, ~np.isnan(X[learn]).all(axis=0)]
    mean, std = np.nanmean(x[learn], axis=0), np.nanstd(x[learn], axis=0)
    std, _ = discretise.scale(mean, std)
    Z = np.nan_to_num((x - mean[None]) / std[None])  # Missing: the mean.
    w, bias = regression(Z[learn], y[learn], penalty)
    return Z[apply] @ w + bias

  best = max(
    PENALTIES,
    key=lambda p: scores(logits(train, validation, p), y[validation])[0],
  )
  return logits(train | validation, split == "test", best)


def encoder(stages):
  """Logits f32[N] of the test split by the EHR encoder alone."""
  run, model = stages.run, stages.architecture.unimodal(EHR)

  def forward(params, frozen, batch, key):
    return 0.0, 1.0, model.apply({"params": params}, batch)[0]

  params = stages.encoder(EHR)
  batches = stages.input("test", EHR)
  assert len(batches.rows) == run.data.size("test")
  return stages.outputs(forward, params, batches)[EHR][:, 0]


def scores(logits, label):
  """(AUROC, AUPRC)."""
  one = np.asarray(logits)[:, None], np.asarray(label)[:, None]
  return float(metrics.auroc(*one)[0]), float(metrics.auprc(*one)[0])


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


def folder_of(root, name, kind, seed):
  """Where one encoder is trained."""
  return root / name / kind / f"seed_{seed}"


def trained(f, charts, test, name, root, said):
  """Trains each kind with each seed on all stays but some.

  None is held out to stop by: what few stays choose is left to chance.

  Args:
    f: flags.
    charts: `read.Charts`.
    test: the stays bool[R] that are predicted.
    name: of their records and of the folder of the encoders.
    root: RUN.
    said: called with (kind, seed, probability, run) of each encoder.

  Returns:
    ({kind: probability f64[S N]}, the last one's `Run`), stays in its order.
  """
  split = np.where(test, "test", "train")
  fields = ("record", "death", "row", "hour", "variable", "value")
  apart.records(
    root,
    name,
    (*(getattr(charts, n) for n in fields), test),
    lambda folder: tables.write(folder, charts, split),
  )
  probability = {}
  for kind in f.encoders:
    each = []
    for seed in range(f.seeds):
      config = Config.from_flags(
        f, data_dir=root / "records", task=name, modalities=[EHR],
        seed=f.seed + seed, workdir=folder_of(root, name, kind, seed),
        **own(f, kind),
      )  # fmt: skip
      run = Run(config)
      each.append(apart.sigmoid(encoder(Stages(run))))
      said(kind, seed, each[-1], run)
    probability[kind] = np.array(each)
  return probability, run


def averaged(probability):
  """The mean f64[N] over kinds and seeds, of f64[S N] of each kind."""
  return np.mean(list(probability.values()), axis=(0, 1))


def counted(f, names, root, progress):
  """() -> shows how many of the encoders that are not trained yet are."""
  folders = [
    folder_of(root, name, kind, seed) / "unimodal" / EHR
    for name in names
    for kind in f.encoders
    for seed in range(f.seeds)
  ]
  todo = [path for path in folders if not loop.complete(path)]

  def show():
    if todo:
      progress.at(sum(loop.complete(path) for path in todo) / len(todo))

  return show


def one_fold(f, charts, X, split, k, root, show):
  """Trains and scores everything in one fold -> a JSON-like dict."""
  test = split == "test"
  plain = linear(X, charts.death, split)
  found = {"stays": int(test.sum()), "deaths": int(charts.death[test].sum())}
  found["linear"] = scores(plain, charts.death[test])

  def said(kind, seed, probability, run):
    logger.info(
      "fold %d, %s, seed %d: AUROC %.4f AUPRC %.4f",
      *(k, kind, seed, *scores(probability, run.label("test")[:, 0])),
    )
    show()

  probability, run = trained(f, charts, test, f"fold_{k}", root, said)
  # In record order, not the charts'.
  found["encoders"] = averages(probability, run.label("test")[:, 0])
  return found


def predict(f, charts, root):
  """Writes RecordID and probability of each stay that is kept apart.

  Raises:
    ValueError: there is none, or there is nothing to learn from.
  """
  test = tables.apart(charts)
  learn = charts.death[~test]
  where = f"--challenge={f.challenge}"
  if not test.any():
    raise ValueError(
      f"{where}: the outcome of every stay is known, so there is none to"
      " predict; put set-c there, too."
    )
  if not {0, 1} <= set(learn):
    raise ValueError(
      f"{where}: sets a and b hold {len(learn):,} stays with an outcome,"
      f" {int(learn.sum()):,} of them deaths; wanted some who died and some who"
      " did not: put set-a and Outcomes-a.txt there, too."
    )
  # Whoever has the outcomes of set c, too: nothing is learned from them.
  death = np.where(test, np.nan, charts.death)
  charts = dataclasses.replace(charts, death=death)
  with Progress("training the encoders") as progress:
    show = counted(f, ["apart"], root, progress)
    probability, run = trained(
      f, charts, test, "apart", root, lambda *found: show()
    )
  found = dict(zip(apart.ids(run), averaged(probability)))
  # Of those of whom nothing is known at all there is no record.
  share = float(learn.mean())
  every = {r: found.get(r, share) for r in charts.record[test].tolist()}
  if len(found) < len(every):
    logger.info(
      "%d stays without any valid value get the share of deaths, %.6f",
      *(len(every) - len(found), share),
    )
  apart.write(f.predict, "RecordID", every)


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
  root = pathlib.Path(f.workdir)
  with Progress("reading the charts") as progress:
    charts = read.read(f.challenge, progress.at)
  if f.predict:
    predict(f, charts, root)
    return
  charts = read.known(charts)
  _, split = folds(charts.record, f.folds)
  X = summary.summary(charts)
  results = []
  with Progress("training the encoders") as progress:
    show = counted(f, [f"fold_{k}" for k in range(f.folds)], root, progress)
    for k in range(f.folds):
      results.append(one_fold(f, charts, X, split[:, k], k, root, show))
      logger.info("fold %d: %s", k, json.dumps(results[-1]))
  files.write_json(root / "results.json", results)
  files.write_text(root / "results.txt", table(results))
  print(table(results))


if __name__ == "__main__":
  experiment_flags.define()
  define()
  experiment_flags.run(main)
