"""The paper's tables, with our numbers beside the published ones.

  python -m experiments.paper --table=3 --data_dir=OUT --workdir=PAPER
      [--tasks=in_hospital_mortality,phenotyping] [--draws=10] [--preset=base]

trains what is missing for the table and writes PAPER/table-3.md. --table takes
1, 2, 3, 4, 5, C1 to C8 or all (published.py says what their rows are). OUT
holds a dataset for each task (data.build). Every flag of experiments.train may
be given and holds for all rows. MedPatch is as published, but where
--late_pooling says otherwise.

Learning rates are drawn as in the paper: --draws times from 1e-5 to 1e-3,
log-uniformly, for each encoder, then for each model on the best encoders; the
best on validation is scored on test, once. --draws=0 takes the preset's.
"""

import pathlib
import time

import jax
import numpy as np
from absl import flags

from experiments import ablate, ensemble, evaluate, train
from experiments import compare as comparing
from experiments import flags as experiment_flags
from experiments.tables import published
from experiments.tables.published import MEDPATCH, MILLIONS, TABLES, Entry
from experiments.tables.sweeps import Row
from experiments.training import start
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.baselines.ensemble import KINDS, choose
from medpatch_jax.evaluate import compare, report
from medpatch_jax.evaluate.disclosure import HIDDEN, WORD
from medpatch_jax.evaluate.names import shorten
from medpatch_jax.input import dataset, places
from medpatch_jax.train.log import logger

NAMES = ("1", "2", "3", "4", "5", *(f"C{i}" for i in range(1, 9)))


class Paper:
  """Trains, chooses and scores the models of tables; each of them once."""

  def __init__(self, values, workdir, draws: int, truth=None):
    """Takes flags that hold for every model.

    Args:
      values: parsed absl flags.
      workdir: of all runs; it may be continued.
      draws: of the learning rate; 0 takes the preset's.
      truth: task -> truth.csv of the synthetic twin, or None.
    """
    self.values, self.workdir, self.truth = values, pathlib.Path(workdir), truth
    rng = np.random.default_rng(0)
    self.rates = [f"{10**x:.3g}" for x in rng.uniform(-5, -3, draws)]
    self._kept = {}

  def results(self, entry: Entry, task: str) -> pathlib.Path:
    """Folder with the results of a row, trained and scored if need be."""
    if entry.ensemble:
      return self._ensemble(entry, task)
    config = self._config(task, entry, self._best(task, entry))
    if not (config.results / "results.json").exists():
      evaluate.evaluate(train.train(config), self.truth)
      # Each run compiles its own programs; too many end in a crash.
      jax.clear_caches()
    return config.results

  def check(self, names, tasks) -> None:
    """Refuses what a table could not be made of, before anything trains.

    Raises:
      ValueError: a dataset, a modality or a file is missing, or does not fit.
    """
    places.readable("truth", self.truth)
    rows = {MEDPATCH}.union(*(TABLES[n].entries for n in names if n in TABLES))
    for task in tasks:
      dataset.Dataset(self.values.data_dir, task)
      for entry in sorted(rows, key=lambda entry: entry.name):
        if task in entry.tasks and not entry.ensemble:
          start.check(Run(self._config(task, entry, None)))

  def medpatch(self, task: str) -> Stages:
    """The chosen run of MedPatch on all modalities."""
    config = self._config(task, MEDPATCH, self._best(task, MEDPATCH))
    return train.train(config)

  def _config(self, task, entry, rate):
    words = (f"--task={task}", *entry.flags)
    name = "_".join(flag.lstrip("-") for flag in words)
    if rate:
      words += (f"--learning_rate={rate}",)
      name += f"/{rate}"
    if not self.values.late_pooling:
      words += ("--as_published",)
    return ablate.configure(
      Row(name, words), self.values.seed, self.values, self.workdir
    )

  def _validated(self, task, entry, rate) -> float:
    """The validation AUROC of one run, trained if need be."""
    key = (task, entry.flags, rate)
    if key not in self._kept:
      config = self._config(task, entry, rate)
      logger.info("paper: %s", config.workdir)
      found = evaluate.validated(train.train(config))
      self._kept[key] = found["auroc"] or 0.0
      jax.clear_caches()
    return self._kept[key]

  def _best(self, task, entry) -> str | None:
    """The learning rates of a row, as the flag: the best on validation."""
    candidates = self._candidates(task, entry)
    if len(candidates) == 1:
      return candidates[0]
    return max(candidates, key=lambda rate: self._validated(task, entry, rate))

  def _candidates(self, task, entry) -> list[str | None]:
    if not self.rates:
      return [None]
    if "--model=unimodal" in entry.flags:
      return list(self.rates)
    encoders = [
      f"{m}={self._best(task, _alone(m))}" for m in self.modalities(task, entry)
    ]
    if "--model=late" in entry.flags:
      return [",".join(encoders)]  # Nothing of it learns in stage 3.
    return [",".join([*encoders, f"fuse={rate}"]) for rate in self.rates]

  def modalities(self, task, entry) -> tuple[str, ...]:
    """Those a row takes: its flag's, else the dataset's."""
    return self._config(task, entry, None).modalities

  def _ensemble(self, entry, task):
    """An ensemble's results; members are chosen among all draws."""
    folder = self.workdir / "ensembles" / task / entry.ensemble
    if (folder / "results.json").exists():
      return folder
    members = {}
    for kind in KINDS:
      if entry.ensemble not in (kind, "diverse"):
        continue
      one = Entry(kind, (f"--model={kind}", *entry.flags))
      # The late model has no rate of its own: its encoders' are drawn.
      drawn = self.rates if kind == "late" else self._candidates(task, one)
      for rate in drawn:
        members[f"{kind} {rate}"] = self._config(task, one, rate)
    scores = {
      name: ensemble.score(train.train(config))
      for name, config in members.items()
    }
    chosen = choose(scores, entry.ensemble)
    opened = {name: train.train(members[name]) for name in chosen}
    ensemble.write(opened, folder, entry.name, self.truth)
    return folder


def _alone(m: str) -> Entry:
  return Entry(m, ("--model=unimodal", f"--modalities={m}"))


def models(paper: Paper, name: str, tasks) -> str:
  """A table whose rows are models, each task's columns side by side."""
  table = TABLES[name]
  head, lines = ["model"], []
  for task in tasks:
    head += [f"{task}, ours: AUROC / AUPRC", "published"]
  began = time.monotonic()
  for i, entry in enumerate(table.entries, 1):
    cells = [entry.name]
    for task in tasks:
      number = "-"
      if task in entry.tasks and not (entry.ensemble and len(paper.rates) < 3):
        number = _number(paper.results(entry, task))
      cells += [number, entry.published(task)]
    lines.append(cells)
    left = (time.monotonic() - began) / i * (len(table.entries) - i)
    logger.info(
      "table %s: %d of %d rows, about %.0f min left",
      name,
      i,
      len(table.entries),
      left / 60,
    )
  note = ""
  if any(e.ensemble for e in table.entries) and len(paper.rates) < 3:
    note = "\nEnsembles take three models: pass --draws=3 or more.\n"
  return f"{table.title}\n\n{_markdown(head, lines)}{note}"


def _number(folder) -> str:
  """`AUROC (low, high) / AUPRC (low, high)` of the reported head."""
  model = report.read(folder / "results.json")["model"]
  return " / ".join(_cell(model[metric]) for metric in ("auroc", "auprc"))


def _cell(cell) -> str:
  if not cell or cell["value"] is None:
    return "-"
  if cell.get("low") is None:
    return f"{cell['value']:.3f}"
  return f"{cell['value']:.3f} ({cell['low']:.3f}, {cell['high']:.3f})"


def conditions(paper: Paper, task: str) -> str:
  """Table 4: MedPatch and each modality alone, label by label."""
  result = report.read(paper.results(MEDPATCH, task) / "results.json")
  alone = [row for row in result["unimodal"] if row["stays"] != "0"]
  head = ["condition", "cases", "MedPatch AUROC", "AUPRC"]
  head += [f"{row['modality']} alone AUROC" for row in alone]
  lines = []
  for c, label in enumerate(result["labels"]):
    cells = [label, str(result["per_label"][c]["positives"])]
    cells += [_of_label(result["model"], c, m) for m in ("auroc", "auprc")]
    cells += [_of_label(row, c, "auroc") for row in alone]
    lines.append(cells)
  return (
    f"Per condition, {task}; a modality alone on the stays that have it\n\n"
    + _markdown(head, lines)
  )


def _of_label(scored, c: int, metric: str) -> str:
  each = scored["per_label"]  # None where stays are too few to be shown.
  return _cell(each and each[c][metric])


def late_weights(paper: Paper, task: str) -> str:
  """Tables C2 and C3: weights of the late module where all is present."""
  stages = paper.medpatch(task)
  sources = (*stages.config.modalities, "missingness", "low", "high")
  weights = np.asarray(jax.nn.softmax(stages.fuse()["late"]["score"], axis=0))
  lines = [
    [shorten(label), *(f"{w:.3f}" for w in column)]
    for label, column in zip(stages.run.labels, weights.T)
  ]
  if len(lines) > 1:
    lines.append(["mean", *(f"{w:.3f}" for w in weights.mean(axis=1))])
  return f"Late weights, {task}\n\n{_markdown(['label', *sources], lines)}"


def parameters(paper: Paper, tasks) -> str:
  """Table C4: parameters of MedPatch that learn in stage 3, in millions."""
  lines = []
  for (some, task), millions in MILLIONS.items():
    if task not in tasks:
      continue
    entry = Entry("MedPatch", (f"--modalities={','.join(some)}",))
    config = paper._config(task, entry, paper._best(task, entry))
    count = sum(x.size for x in jax.tree.leaves(train.train(config).fuse()))
    lines.append([", ".join(some), task, f"{count / 1e6:.2f}", f"{millions}"])
  head = ["modalities", "task", "ours, millions", "published"]
  return f"Parameters that learn in stage 3\n\n{_markdown(head, lines)}"


def significance(paper: Paper, task: str) -> str:
  """Table C7: every model minus MedPatch, by paired tests."""
  reference = paper.results(MEDPATCH, task)
  stays = report.read(reference / "results.json")["stays"]
  if stays in (HIDDEN, WORD):
    return f"Significance, {task}: {stays} stays are too few.\n"
  runs = [
    str(paper.results(entry, task))
    for entry in TABLES["3"].entries
    if entry is not MEDPATCH and not (entry.ensemble and len(paper.rates) < 3)
  ]
  found = comparing.compared(runs, str(reference))
  return f"Significance, {task}\n\n```\n{compare.text(found)}\n```\n"


def _markdown(head, lines) -> str:
  table = [head, ["---"] * len(head), *lines]
  return "".join(f"| {' | '.join(cells)} |\n" for cells in table)


def write(paper: Paper, name: str, tasks) -> str:
  """Makes a table of some tasks and writes it to the workdir.

  Raises:
    ValueError: a dataset or a modality is missing.
  """
  of_each = {"4": conditions, "C7": significance}
  if name in TABLES:
    text = models(paper, name, tasks)
  elif name == "C4":
    text = parameters(paper, tasks)
  elif name in ("C2", "C3"):
    task = published.MORTALITY if name == "C2" else published.PHENOTYPING
    text = "\n".join(late_weights(paper, t) for t in tasks if t == task)
  else:
    tasks = [t for t in tasks if name != "4" or t == published.PHENOTYPING]
    text = "\n".join(of_each[name](paper, task) for task in tasks)
  text = (
    f"Table {name}. {text}" if text else f"Table {name}: of another task.\n"
  )
  files.write_text(paper.workdir / f"table-{name}.md", text)
  return text


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  if not values.workdir:
    raise ValueError("--workdir is missing: pass a folder.")
  names = NAMES if values.table == "all" else (values.table,)
  paper = Paper(values, values.workdir, values.draws, values.truth)
  paper.check(names, values.tasks)
  for name in names:
    print(write(paper, name, values.tasks))


if __name__ == "__main__":
  experiment_flags.define()
  flags.DEFINE_enum("table", None, ("all", *NAMES), "Table.", required=True)
  flags.DEFINE_list(
    "tasks", [published.MORTALITY, published.PHENOTYPING], "Of the table."
  )
  flags.DEFINE_integer("draws", 10, "Of each learning rate.", lower_bound=0)
  flags.DEFINE_string("truth", None, "truth.csv of the synthetic twin.")
  experiment_flags.run(main)
