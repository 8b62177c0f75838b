"""EHR encoders on the Challenge 2012, cross-validated beside a plain model.

  python -m experiments.challenge2012 --challenge=DIR --workdir=RUN
      [--folds=5 --seeds=5 --encoders=lstm,additive, and flags of
      experiments.train]

Stays with outcomes (sets a and b) are cut into folds by a stable hash. Each
kind of encoder learns from all of a fold's other stays, once for each seed, for
a number of epochs that is fixed beforehand, and all probabilities are averaged.
Beside them stands logistic regression on mean, min, max, last and count of each
series, its penalty chosen on an eighth of the same stays and then fitted on all
of them. Writes RUN/results.json and RUN/results.txt; what is finished is read
back when the command is given again.
"""

import json
import pathlib

import numpy as np
import scipy.optimize
from absl import flags

from data import build, splits
from data.challenge2012 import read, summary, tables
from data.progress import Progress
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.evaluate import metrics
from medpatch_jax.input import discretise
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


def one_fold(f, charts, X, split, k, root):
  """Trains and scores everything in one fold -> a JSON-like dict."""
  data_dir, name = root / "records", f"fold_{k}"
  if not (data_dir / name).exists():
    folder = root / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    # None is held out to stop by: what few stays choose is left to chance.
    learn = np.where(split == "validation", "train", split)
    tables.write(folder, charts, learn)
    build.build(source="tables", tables=folder, task=name, data_dir=data_dir)
  test = np.flatnonzero(split == "test")
  plain = linear(X, charts.death, split)
  found = {"stays": len(test), "deaths": int(charts.death[test].sum())}
  found["linear"] = scores(plain, charts.death[test])
  probability = {}
  for kind in f.encoders:
    each = []
    for seed in range(f.seeds):
      config = Config.from_flags(
        f, data_dir=data_dir, task=name, modalities=[EHR], seed=f.seed + seed,
        workdir=root / name / kind / f"seed_{seed}", **own(f, kind),
      )  # fmt: skip
      run = Run(config)
      logits = encoder(Stages(run)).astype(np.float64)
      each.append(1 / (1 + np.exp(-logits)))
      label = run.label("test")[:, 0]  # In record order, not the charts'.
      logger.info(
        "fold %d, %s, seed %d: AUROC %.4f AUPRC %.4f",
        *(k, kind, seed, *scores(each[-1], label)),
      )
    probability[kind] = np.array(each)
  found["encoders"] = averages(probability, label)
  return found


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


def main(argv) -> None:
  del argv
  f = flags.FLAGS
  check(f)
  root = pathlib.Path(f.workdir)
  with Progress("reading the charts") as progress:
    charts = read.known(read.read(f.challenge, progress.at))
  _, split = folds(charts.record, f.folds)
  X = summary.summary(charts)
  results = []
  for k in range(f.folds):
    results.append(one_fold(f, charts, X, split[:, k], k, root))
    logger.info("fold %d: %s", k, json.dumps(results[-1]))
  files.write_json(root / "results.json", results)
  files.write_text(root / "results.txt", table(results))
  print(table(results))


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_string("challenge", None, "The sets and outcomes of 2012.")
  flags.DEFINE_integer("folds", 5, "Parts of the stays.", lower_bound=2)
  flags.DEFINE_integer("seeds", 5, "Encoders of a kind.", lower_bound=1)
  flags.DEFINE_list(
    "encoders", ENCODERS, "Kinds that are trained with each seed and averaged."
  )
  for kind, rate in RATES.items():
    flags.DEFINE_float(
      f"{kind}_rate",
      rate,
      f"Learning rate of --encoders={kind}; --learning_rate is the LSTM's.",
      lower_bound=0.0,
    )
  for name, value in CHOSEN.items():
    flags.FLAGS.set_default(name, value)
  experiment_flags.run(main)
