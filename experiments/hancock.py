"""HANCOCK's six modalities: repeated cross-validation, one table, paired tests.

  python -m experiments.hancock --hancock=DIR --workdir=RUN
      [--task=death|recurrence --folds=5 --repeats=3 --modalities=blood,..
       --models=medpatch,late,.. and flags of experiments.train]
  python -m experiments.hancock --hancock=DIR --workdir=RUN --predict=FILE.csv

DIR holds the public features of 763 head and neck cancer patients, as .csv and
.npz. They become own tables (docs/own_data.md) of six kinds; the eight stains
are embeddings of eight tokens (--stains=series: a series). Every model, each modality alone and logistic
regression learn from the same patients of a fold. Writes RUN/TASK.json and
RUN/TASK.txt; what is finished is read back when the command is given again.
--predict writes a probability for each patient whose outcome is not in DIR, the
mean of --folds trainings of --models' first, each with another fifth of the
patients held out to choose by.
"""

import pathlib

import jax
import numpy as np
import scipy.stats
from absl import flags

from data import hancock
from experiments import evaluate, train
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.real import apart, linear
from medpatch_jax import files
from medpatch_jax.evaluate import predictions
from medpatch_jax.input import places
from medpatch_jax.train.log import logger

MODELS = ("medpatch", "late", "early", "joint", "medfuse", "metra", "drfuse")
LICENSE = "Apache License 2.0"


def dataset(
  f, patients: hancock.Patients, name: str, test, salt: int
) -> np.ndarray:
  """Builds RUN/records/NAME unless it is there; returns each one's split."""
  root, split = pathlib.Path(f.workdir), hancock.held_out(patients, test, salt)
  known = ~np.isnan(patients.label) | test
  apart.records(
    root,
    name,
    (patients.ids, patients.label, *patients.values.values(), split, known),
    lambda folder: hancock.write(folder, patients, split, known, f.stains),
    open_license=LICENSE,
    quiet=True,
  )
  return split


def _stained(f) -> str:
  """End of a dataset's name: those of before hold the stains as a series."""
  return "" if f.stains == "series" else f"_{f.stains}"


def trained(f, name: str, model: str, modalities):
  """`Stages` of a complete run on RUN/records/NAME."""
  root = pathlib.Path(f.workdir)
  folder = root / name / f"{model}-{'-'.join(modalities)}"
  config = Config.from_flags(
    f, data_dir=root / "records", task=name, workdir=folder, model=model,
    modalities=list(modalities), share=f.share or root / "shared" / name,
  )  # fmt: skip
  return train.train(config)


def features(patients: hancock.Patients, modalities) -> np.ndarray:
  """Columns of the regression f64[N F]: numbers, and words one-hot."""
  columns = []
  for m in modalities:
    x = patients.values[m].reshape(len(patients.ids), -1)
    names = patients.names[m] if m != "stains" else [""] * x.shape[1]
    for name, own in zip(names, x.T):
      words = np.unique(own[~np.isnan(own)]) if name in hancock.CLASSES else ()
      columns += [np.where(np.isnan(own), own, own == w) for w in words]
      columns += [own] if name not in hancock.CLASSES else []
  return np.stack(columns, axis=1)


def regressed(
  f, patients: hancock.Patients, split, ids, modalities
) -> list[float]:
  """Logits of logistic regression for patients of test, in their order."""
  X = features(patients, modalities)
  found = linear.logits(X, patients.label, split)
  where = np.flatnonzero(split == "test")
  by_id = {int(patients.ids[n]): z for n, z in zip(where, found)}
  return [by_id[i] for i in ids]


def one_fold(
  f, patients: hancock.Patients, groups, repeat: int, k: int
) -> dict:
  """Name of a model -> logits f64[n]; "label" f64[n], of one fold's test."""
  name = f"{f.task}_{repeat}_{k}_of_{f.folds}{_stained(f)}"
  fold = hancock.folds(patients, f.folds, repeat)
  split = dataset(f, patients, name, fold == k, repeat * f.folds + k)
  split = np.where(fold < 0, "", split)  # Their outcomes are kept apart.
  out = {}
  for title, modalities in groups.items():
    for model in f.models:
      stages = trained(f, name, model, modalities)
      evaluate.evaluate(stages)
      jax.clear_caches()  # They would pile up, until none can be mapped.
      found = predictions.load(stages.config.results / predictions.NAME)
      own = {f"{model}, {title}": found.logits[found.chosen]}
      if title == next(iter(groups)):
        own |= {m: found.logits[m] for m in modalities if m in found.logits}
      out |= {n: x[:, 0].astype(float) for n, x in own.items()}
      out["label"] = found.label[:, 0].astype(float)
    path = pathlib.Path(f.workdir) / name / f"linear-{title}.json"
    if not path.exists():
      ids = apart.ids(stages.run)
      made = regressed(f, patients, split, ids, modalities)
      files.write_json(path, made)
    out[f"regression, {title}"] = np.array(files.read_json(path, [float], ""))
  return out


def corrected(difference, share: float) -> tuple[float, float]:
  """Half of the 95 % interval of a mean over folds, and p that it is 0.

  Of the corrected resampled t-test (Nadeau and Bengio 2003): folds share most
  of their patients.

  Args:
    difference: f64[K], of each fold.
    share: patients of test, for each one that is learned from.
  """
  K = len(difference)
  error = np.sqrt(np.var(difference, ddof=1) * (1 / K + share))
  p = 2 * scipy.stats.t.sf(abs(np.mean(difference)) / error, K - 1)
  return float(scipy.stats.t.ppf(0.975, K - 1) * error), float(p)


def table(found: list[dict], count: int) -> tuple[list[dict], str]:
  """Means over the folds, and the first model less each, paired.

  A modality alone is of the patients who have it, and so is its difference.
  """
  names = [n for n in found[0] if n != "label"]
  rows, lines = [], [f"{'':<28}{'AUROC':>14}{'AUPRC':>14}   first less it"]
  for n in names:
    scored, gap = [], []
    for fold in found:
      has = ~np.isnan(fold[n])
      label = fold["label"][has]
      scored.append(linear.scores(fold[n][has], label))
      first = linear.scores(fold[names[0]][has], label)
      gap.append(np.subtract(first, scored[-1]))
    mean, spread = np.mean(scored, axis=0), np.std(scored, axis=0)
    row = {"model": n, "mean": mean.tolist(), "spread": spread.tolist()}
    text = f"{n:<28}" + "".join(
      f"{m:>8.3f} ±{s:.3f}" for m, s in zip(mean, spread)
    )
    if n != names[0] and len(found) > 1:
      gap = np.array(gap)
      row["difference"] = gap.mean(axis=0).tolist()
      tests = [corrected(g, 1 / (count - 1)) for g in gap.T]
      row["half"], row["p"] = map(list, zip(*tests))
      text += "".join(
        f"  {m:+.3f} ±{half:.3f} (p {p:.2f})"
        for m, (half, p) in zip(gap.mean(axis=0), tests)
      )
    rows.append(row)
    lines.append(text)
  return rows, "\n".join(lines) + "\n"


def predict(f, patients: hancock.Patients, modalities) -> None:
  """Writes patient_id and probability of those without an outcome."""
  kept, probability = np.isnan(patients.label), []
  if not kept.any():
    raise ValueError(
      f"--hancock={f.hancock}: targets.csv has the outcome of every patient, so"
      " there is none to predict."
    )
  for k in range(f.folds):
    name = f"{f.task}_kept_apart_{k}{_stained(f)}"
    dataset(f, patients, name, kept, k)
    stages = trained(f, name, f.models[0], modalities)
    head = evaluate.validated(stages)["head"]
    p = apart.sigmoid(stages.predict("test")[head][:, 0])
    probability.append(dict(zip(apart.ids(stages.run), p)))
  mean = {i: np.mean([p[i] for p in probability]) for i in probability[0]}
  apart.write(f.predict, "patient_id", mean, digits=3)


def main(argv) -> None:
  del argv
  f = flags.FLAGS
  for name in ("hancock", "workdir"):
    if not getattr(f, name):
      raise ValueError(f"--{name} is missing: pass a folder.")
  if f.task not in hancock.TASKS:
    raise ValueError(f"--task={f.task}: wanted {' or '.join(hancock.TASKS)}.")
  places.a_folder("workdir", f.workdir)
  places.a_file("predict", f.predict)
  # All folds run the same programs; compiling them is most of the time.
  folder = str(pathlib.Path(f.workdir).absolute() / "compiled")
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  patients = hancock.read(f.hancock, f.task)
  groups = {"six": hancock.MODALITIES, "three": hancock.MODALITIES[:3]}
  if f.modalities:
    groups = {"+".join(f.modalities): tuple(f.modalities)}
  if f.predict:
    predict(f, patients, next(iter(groups.values())))
    return
  found = []
  for repeat in range(f.repeats):
    for k in range(f.folds):
      found.append(one_fold(f, patients, groups, repeat, k))
      rows, text = table(found, f.folds)
      logger.info("repeat %d, fold %d\n%s", repeat, k, text)
  root = pathlib.Path(f.workdir)
  files.write_json(root / f"{f.task}.json", rows)
  files.write_text(root / f"{f.task}.txt", text)
  print(text)


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_string("hancock", None, "Folder of HANCOCK's features.")
  flags.DEFINE_integer("folds", 5, "Parts of the patients.", lower_bound=2)
  flags.DEFINE_integer("repeats", 3, "Times they are cut.", lower_bound=1)
  flags.DEFINE_list("models", list(MODELS), "The first is compared with all.")
  flags.DEFINE_enum(
    "stains", "embeddings", hancock.STAINED, "What the stains become."
  )
  flags.DEFINE_string("predict", None, "File.csv of those kept apart.")
  flags.FLAGS.set_default("task", "death")
  experiment_flags.run(main)
