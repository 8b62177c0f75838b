"""The best possible prediction on the twin, in closed form.

python -m data.synthetic.bayes --raw=RAW --data_dir=OUT --task=phenotyping \
  [--modalities=ehr,rr] [--split=test]

Reads truth.csv, which neither the builder nor training may, and of the built
records the stay ids, presence and labels.

Dims: N stays, M modalities (schema.MODALITIES), C labels of the task, K
channels (world.channels).
"""

import dataclasses
import functools
import json
import os

import numpy as np
from absl import flags, logging

from data import errors
from data.errors import InputError
from data.synthetic import information, model, tables, world
from medpatch_jax import schema
from medpatch_jax.evaluate import metrics
from medpatch_jax.input import dataset


@dataclasses.dataclass(frozen=True)
class Truth:
  """One task's part of truth.csv.

  Attributes:
    stay_id: i64[N], ascending.
    states: i8[N C K], as of `world.Source`; unknown where a source is not in
      the window.
    exists: bool[N M].
    items: world.Items, of which the states were drawn.
  """

  stay_id: np.ndarray
  states: np.ndarray
  exists: np.ndarray
  items: world.Items


@dataclasses.dataclass(frozen=True)
class Bound:
  """Bayes-optimal scores: f64[C] per label (NaN without both classes), means
  over the labels that have both (None if none), and N stays.
  """

  auroc: np.ndarray
  auprc: np.ndarray
  mean_auroc: float | None
  mean_auprc: float | None
  stays: int


def read(truth_csv, task):
  """Reads `task`'s rows of truth.csv as Truth.

  Raises:
    InputError: the file is missing or not as wanted.
  """
  path = os.fspath(truth_csv)
  if os.path.isdir(path):
    path = os.path.join(path, tables.TRUTH)
  if not os.path.isfile(path):
    raise InputError(
      f"{path}: found nothing, wanted the truth.csv of a synthetic twin."
    )
  return _read(path, os.stat(path).st_mtime_ns, task)


def world_of(folder):
  """Returns the World of a raw folder, of its world.json.

  Raises:
    InputError: the file is missing or not as wanted.
  """
  path = os.path.join(folder, tables.WORLD)
  try:
    with open(path, encoding="utf-8") as file:
      return world.World(**json.load(file))
  except (OSError, ValueError, TypeError, InputError) as error:
    raise InputError(
      f"{path}: wanted the world.json that the twin writes beside truth.csv"
      f" ({type(error).__name__}); write the twin again."
    ) from None


@functools.lru_cache(maxsize=4)
def _read(path, changed, task):
  del changed  # Of the key only: a rewritten file is read again.
  import pyarrow as pa
  import pyarrow.compute as pc
  from pyarrow import csv

  try:
    table = csv.read_csv(path)
  except pa.ArrowInvalid:
    raise InputError(f"{path}: is no comma-separated table.") from None
  if tuple(table.column_names) != tables.TRUTH_COLUMNS:
    raise InputError(
      f"{path}: wanted the columns {', '.join(tables.TRUTH_COLUMNS)}."
    )
  items = world.Items(world_of(os.path.dirname(path)), task)
  table = table.filter(pc.equal(table["task"], task))

  def index(column, names):
    found = pc.index_in(table[column], pa.array(names))
    if found.null_count:
      raise InputError(f"{path}: column {column} has an unknown name.")
    return found.to_numpy()

  label = index("label", schema.TASKS[task].labels)
  modality = index("modality", schema.MODALITIES)
  stays, row = np.unique(table["stay_id"].to_numpy(), return_inverse=True)
  exists = np.zeros((len(stays), len(schema.MODALITIES)), bool)
  exists[row, modality] = True
  shown, clear = (table[n].to_numpy() for n in ("shown", "clear"))
  labels = len(schema.TASKS[task].labels)
  states = np.full(
    (len(stays), labels, len(items.order)), world.UNKNOWN, np.int8
  )
  for k, (name, slot) in enumerate(items.order):
    mine = modality == schema.MODALITIES.index(name)
    bits = [(x[mine] >> slot) & 1 for x in (shown, clear)]
    states[row[mine], label[mine], k] = np.where(
      bits[1], bits[0], world.UNKNOWN
    )
  return Truth(stays, states, exists, items)


def logits(truth_csv, task, stay_ids, present):
  """Posterior logits f64[N C] of the labels, given what is present.

  Args:
    truth_csv: the twin's truth.csv, or the folder that holds it.
    task: a name of model.EVIDENCE.
    stay_ids: i64[N].
    present: bool[N 4], columns in the order of schema.MODALITIES.

  Raises:
    InputError: stays, or sources that are said to be present, which the truth
      does not have: the records were built from other raw files.
  """
  truth = read(truth_csv, task)
  stay_ids, present = np.asarray(stay_ids), np.asarray(present, bool)
  row = np.searchsorted(truth.stay_id, stay_ids)
  row = np.minimum(row, max(len(truth.stay_id) - 1, 0))
  known = np.zeros(len(stay_ids), bool)
  if len(truth.stay_id):
    known = truth.stay_id[row] == stay_ids
  if not known.all():
    raise InputError(
      f"{truth_csv}: {int((~known).sum())} of {len(known)} stays are not in"
      f" the truth of {task}; were the records built from these raw files?"
    )
  if not len(row):
    return np.zeros((0, len(schema.TASKS[task].labels)))
  unknown = present & ~truth.exists[row]
  if unknown.any():
    counts = ", ".join(
      f"{m} {n}" for m, n in zip(schema.MODALITIES, unknown.sum(0)) if n
    )
    raise InputError(
      f"{truth_csv}: sources present in the records but not in the truth"
      f" ({counts} stays); were the records built from these raw files?"
    )
  of = [schema.MODALITIES.index(m) for m, _ in truth.items.order]
  states = np.where(
    present[:, None, of], truth.states[row], np.int8(world.UNKNOWN)
  )
  return model.prior_logit(task)[None] + truth.items.llr(states)


def break_ties(exact):
  """Orders equal posterior logits f64[N C] at random, always the same way.

  Equal posteriors are common here, and average precision is lower where ties
  are left: a model that breaks them by chance would pass the bound.
  """
  return exact + 1e-6 * np.random.default_rng(0).uniform(size=exact.shape)


def bound(truth_csv, task, stay_ids, present, label):
  """Scores of the best prediction on these stays, as Bound.

  Args:
    truth_csv, task, stay_ids, present: of `logits`.
    label: f[N C] in {0, 1}.
  """
  best, label = logits(truth_csv, task, stay_ids, present), np.asarray(label)
  auroc = metrics.auroc(best, label)
  auprc = metrics.auprc(break_ties(best), label)
  mean = metrics.mean(auroc)[0], metrics.mean(auprc)[0]
  return Bound(auroc, auprc, *mean, stays=len(stay_ids))


def records(data_dir, task, split):
  """stay_id i64[N], present bool[N 4], label f32[N C] of a built split.

  Raises:
    InputError: nothing was built there.
  """
  try:
    data = dataset.Dataset(data_dir, task)
  except ValueError as error:
    raise InputError(str(error)) from None
  source = data.source(split, ("stay_id", "present", "label"))
  rows = [source[i] for i in range(len(source))]
  labels = len(schema.TASKS[task].labels)
  return (
    np.array([r["stay_id"] for r in rows], np.int64),
    np.array([r["present"] for r in rows], bool).reshape(-1, 4),
    np.array([r["label"] for r in rows], np.float32).reshape(-1, labels),
  )


def subset(names):
  """Columns bool[4] of the modalities `names`."""
  for name in names:
    if name not in schema.MODALITIES:
      raise InputError(
        f"--modalities: {name!r} is none of {', '.join(schema.MODALITIES)}."
        + errors.nearest(name, schema.MODALITIES)
      )
  return np.isin(schema.MODALITIES, names)


def table(found, task):
  """Text of a Bound: the mean, then every label."""
  line = "{:<72} {:>6} {:>6}".format
  number = lambda x: "-" if x is None or np.isnan(x) else f"{x:.3f}"  # noqa: E731
  rows = [
    line(f"{found.stays:,} stays", "AUROC", "AUPRC"),
    line("mean", number(found.mean_auroc), number(found.mean_auprc)),
  ]
  for name, *scores in zip(schema.TASKS[task].labels, found.auroc, found.auprc):
    rows.append(line(name[:72], *map(number, scores)))
  return "\n".join(rows)


def _flags():
  f = flags
  f.DEFINE_string("raw", None, "The twin's raw files.", required=True)
  f.DEFINE_string("data_dir", None, "Built records.", required=True)
  f.DEFINE_enum("task", None, list(model.EVIDENCE), "Task.", required=True)
  f.DEFINE_list("modalities", list(schema.MODALITIES), "Those to use.")
  f.DEFINE_enum("split", "test", ["train", "validation", "test"], "Split.")


def main(argv):
  """Prints the bound of one split."""
  del argv
  logging.set_verbosity(logging.WARNING)  # TFDS tells of every open
  f = flags.FLAGS
  use = subset(f.modalities)
  stay_id, present, label = records(f.data_dir, f.task, f.split)
  path = os.path.join(f.raw, tables.TRUTH)
  found = bound(path, f.task, stay_id, present & use[None], label)
  print(f"Bayes-optimal {f.task}, {f.split}, from {', '.join(f.modalities)}")
  print(table(found, f.task))
  print(information.table(read(path, f.task).items, model.prior(f.task)))


if __name__ == "__main__":
  _flags()
  errors.run(main)
