"""The EHR encoder on the Challenge 2012, cross-validated beside a plain model.

  python -m experiments.challenge2012 --challenge=DIR --workdir=RUN
      [--folds=5 --seeds=5, and flags of experiments.train]

Stays with outcomes (sets a and b) are cut into folds by a stable hash. The
encoder learns from all of a fold's other stays, once for each seed, for a number
of epochs that is fixed beforehand, and its probabilities are averaged. Beside
it stands logistic regression on mean, min, max, last and count of each series,
its penalty chosen on an eighth of the same stays and then fitted on all of
them. Writes RUN/results.json and RUN/results.txt; what is finished is
read back when the command is given again.
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
from experiments.run import Run
from experiments.stages import Stages
from medpatch_jax.evaluate import metrics
from medpatch_jax.train import checkpoint
from medpatch_jax.train.log import logger

EHR = "ehr"
PENALTIES = (1.0, 10.0, 100.0, 1000.0)
# Chosen on the inner stays of docs/own_data.md; each can be given.
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
    mean, std = np.nanmean(X[learn], axis=0), np.nanstd(X[learn], axis=0)
    std = np.where(std > 0, std, 1.0)
    Z = np.nan_to_num((X - mean[None]) / std[None])  # Missing: the mean.
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
  each, total = [], 0.0
  for seed in range(f.seeds):
    config = Config.from_flags(
      f, data_dir=data_dir, task=name, modalities=[EHR], seed=f.seed + seed,
      workdir=root / name / f"seed_{seed}",
    )  # fmt: skip
    run = Run(config)
    logits = encoder(Stages(run)).astype(np.float64)
    label = run.label("test")[:, 0]
    each.append(scores(logits, label))
    total = total + 1 / (1 + np.exp(-logits))
    logger.info("fold %d, seed %d: AUROC %.4f AUPRC %.4f", k, seed, *each[-1])
  found["each"] = each
  found["encoder"] = scores(total, label)
  return found


def table(results):
  """The folds' results as text."""
  lines = [
    f"{'':<22}{'AUROC':>10}{'AUPRC':>10}",
    *(_row(f"fold {k}, linear", *r["linear"]) for k, r in enumerate(results)),
    *(_row(f"fold {k}, encoder", *r["encoder"]) for k, r in enumerate(results)),
    "",
  ]
  linear_, whole = (
    np.array([r[name] for r in results]) for name in ("linear", "encoder")
  )
  single = np.array([np.mean(r["each"], axis=0) for r in results])
  for title, values in (
    ("linear", linear_),
    ("encoder, one seed", single),
    (f"encoder, {len(results[0]['each'])} seeds", whole),
    ("encoder - linear", whole - linear_),
  ):
    lines.append(_row(title, *values.mean(axis=0)))
    lines.append(_row("  spread of folds", *values.std(axis=0, ddof=1)))
  return "\n".join(lines) + "\n"


def _row(title, *values):
  return f"{title:<22}" + "".join(f"{v:>10.4f}" for v in values)


def main(argv) -> None:
  del argv
  f = flags.FLAGS
  if not f.challenge or not f.workdir:
    raise ValueError("--challenge and --workdir are needed: pass two folders.")
  root = pathlib.Path(f.workdir)
  with Progress("reading the charts") as progress:
    charts = read.known(read.read(f.challenge, progress.at))
  _, split = folds(charts.record, f.folds)
  X = summary.summary(charts)
  results = []
  for k in range(f.folds):
    results.append(one_fold(f, charts, X, split[:, k], k, root))
    logger.info("fold %d: %s", k, json.dumps(results[-1]))
  checkpoint.write_json(root / "results.json", results)
  checkpoint.write_text(root / "results.txt", table(results))
  print(table(results))


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_string("challenge", None, "The sets and outcomes of 2012.")
  flags.DEFINE_integer("folds", 5, "Parts of the stays.", lower_bound=2)
  flags.DEFINE_integer("seeds", 5, "Encoders averaged.", lower_bound=1)
  for name, value in CHOSEN.items():
    flags.FLAGS.set_default(name, value)
  experiment_flags.run(main)
