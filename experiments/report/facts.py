"""What a page shows of a run: read from its workdir, as much as is there."""

import dataclasses
import json
import pathlib

import numpy as np

from experiments.config.config import RECORDED
from experiments.config.names import RAW
from experiments.training import models, temperature
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.evaluate import curves, disclosure, predictions, report
from medpatch_jax.evaluate import tokens as evaluate_tokens
from medpatch_jax.evaluate.cells import Cells, number
from medpatch_jax.train import loop, machine


@dataclasses.dataclass(frozen=True)
class Stage:
  """The log of a stage.

  Attributes:
    name: of the stage, with its modality.
    epochs: numbers of each, by name; `epoch` is -1 before training.
    seconds: of training; None where no times are logged.
    best: the epoch that was kept, None where the stage did not end.
  """

  name: str
  epochs: list[dict]
  seconds: float | None
  best: int | None


@dataclasses.dataclass
class Facts:
  """A run as far as it is there; what is missing is None or empty.

  Attributes:
    workdir: its folder.
    config: what it was started with.
    missing: (what, why, command that makes it) of all that is not there.
    result: of `report.build`.
    curves: of `curves.build`, of the chosen head.
    bayes: "curves" likewise, and `trust` of the bound; of the twin.
    stages: logs of the stages.
    late: {"sources", "weight" [S C]} of the late module.
    tokens: modality -> of `evaluate.tokens.shares`, and its `threshold`.
    quality: what data.page makes a page of.
    records: {"fingerprint", "source", "stays"}.
    machine: of `machine.describe`, of each process that trained it.
    cases: of `cases.build`.
  """

  workdir: pathlib.Path
  config: dict
  missing: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
  result: dict | None = None
  curves: dict | None = None
  bayes: dict | None = None
  stages: list[Stage] = dataclasses.field(default_factory=list)
  late: dict | None = None
  tokens: dict = dataclasses.field(default_factory=dict)
  quality: dict | None = None
  records: dict = dataclasses.field(default_factory=dict)
  machine: list[dict] = dataclasses.field(default_factory=list)
  cases: dict | None = None

  @property
  def open(self) -> bool:
    """Whether everything may be shown; only where the result says so."""
    return bool(self.result and self.result["open"])

  def lacks(self, what: str, why: str, command: str = "") -> None:
    """Remembers what is not there and what makes it."""
    self.missing.append((what, why, command))


def of_files(workdir, results=None) -> Facts:
  """What the workdir alone says.

  Args:
    workdir: its folder.
    results: that of the test results, where it is another.

  Raises:
    ValueError: nothing was trained there, or its files are damaged.
  """
  workdir = pathlib.Path(workdir or ".")
  path = workdir / "config.json"
  if not path.exists():
    raise ValueError(
      f"--workdir={workdir}: holds no run ({path.name} is missing); train first"
      " with python -m experiments.train."
    )
  again = "give the command of the training again, once it is deleted."
  facts = Facts(workdir, files.read_json(path, dict, again))
  evaluate = f"python -m experiments.evaluate --workdir={workdir}"
  facts.machine = machine.read(workdir)
  results = results or workdir
  if not (results / "results.json").exists():
    facts.lacks("test results", "the test split was not scored", evaluate)
  else:
    facts.result = report.read(results / "results.json")
    _curves(facts, results, evaluate)
  folders = {p.parent for p in workdir.rglob("metrics.jsonl")}
  for folder in sorted(folders, key=lambda p: _order(p.relative_to(workdir))):
    name = str(folder.relative_to(workdir))
    facts.stages.append(_stage(name, folder))
  if not (workdir / "fuse" / "done.json").exists():
    facts.lacks("trained fusion", "training did not end", command(facts.config))
  return facts


def _order(path):
  """The stages in the order they run."""
  names = ("unimodal", "confidence", "fuse")
  top = path.parts[0] if path.parts else ""
  return names.index(top) if top in names else len(names), str(path)


def _curves(facts, results, evaluate):
  """ROC and precision-recall curves of the chosen head."""
  try:
    found = predictions.load(results / predictions.NAME)
  except ValueError as error:
    facts.lacks("ROC and precision-recall curves", str(error), evaluate)
    return
  rule = disclosure.Rule(found.open and facts.open)
  cells = Cells(found.label, found.subject, 1, rule=rule)
  facts.curves = curves.build(found.logits[found.chosen], cells)


def _stage(name, folder) -> Stage:
  done, best = folder / "done.json", None
  if done.exists():
    best = files.read_json(done, dict, "train the stage anew.").get(
      "best_epoch"
    )
  times = [line.get("seconds") for line in _lines(folder / "speeds.jsonl")]
  times = [t for t in times if isinstance(t, (int, float))]
  epochs = _lines(folder / "metrics.jsonl")
  return Stage(name, epochs, sum(times) if times else None, best)


def _lines(path) -> list[dict]:
  """A log's lines; one that is cut short or damaged is left out."""
  out = []
  if path.exists():
    for line in path.read_text("utf-8", errors="replace").splitlines():
      try:
        value = json.loads(line)
      except ValueError:
        continue
      if isinstance(value, dict) and isinstance(value.get("epoch"), int):
        out.append(value)
  return out


def command(config: dict) -> str:
  """The command of a training, with every flag that has a value."""
  words = ["python -m experiments.train"]
  for name in RECORDED:
    value = config.get(name)
    if value is None or value == [] or value == "":
      continue
    if isinstance(value, list):
      value = ",".join(map(str, value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    quoted = f"'{text}'" if set(text) & set(" '\"$;&|()<>*?") else text
    words.append(f"--{name}={quoted}")
  return " ".join(words)


def of_stages(facts: Facts, stages: Stages) -> None:
  """Adds what takes the records and the checkpoints; trains nothing."""
  run, config = stages.run, stages.config
  data = run.data
  facts.records = {
    "path": str(data.path),
    "source": str(data.metadata.get("source_version", "")),
    "fingerprint": data.fingerprint,
    "modalities": list(config.modalities),
    "labels": list(run.labels),
  }
  quality = data.path / "quality.json"
  if quality.exists():
    facts.quality = files.read_json(quality, dict, "build the records anew.")
  if config.share:
    _shared_logs(facts, stages)
  if config.model != "medpatch":
    return
  if complete(stages, "calibrate"):
    for m in config.modalities:
      if len(run.rows("test", m)):
        found = temperature.errors(stages, m, "test")
        shown = evaluate_tokens.shares(found, run.rule)
        facts.tokens[m] = shown | {"threshold": config.threshold[m]}
  else:
    facts.lacks(
      "token confidence",
      "a stage before it did not end",
      command(facts.config),
    )
  if complete(stages, "fuse"):
    facts.late = late(stages)


def complete(stages, last: str = "fuse") -> bool:
  """Whether all stages up to and with `last` ended."""
  try:
    stages.check_complete(last)
  except ValueError:
    return False
  return True


def _shared_logs(facts, stages):
  """Logs of the encoders that runs share."""
  config = stages.config
  names = ("unimodal", "confidence")
  if config.model != "medpatch":
    names = names[:1]
  if config.authors or config.model == RAW:
    return
  found = []
  for stage in names:
    for m in config.modalities:
      folder = stages.folder(stage, m)
      if loop.complete(folder):
        found.append(_stage(f"{stage}/{m}", folder))
  facts.stages = found + facts.stages


def late(stages) -> dict:
  """Weights of the late module where every source is there."""
  module = stages.architecture.medpatch()
  params = models.parameters(stages)["medpatch"].get("late", {})
  S, C = len(module.sources), len(stages.run.labels)
  late_module = module.late_module()
  _, out = late_module.apply(
    {"params": params}, np.zeros((1, S, C), np.float32), np.ones((1, S), bool)
  )
  weight = np.asarray(out["weights"][0], np.float64).round(4)
  # They are fitted on train and validation: of a label that few patients have
  # there they would speak of these.
  run = stages.run
  for split in ("train", "validation"):
    weight[:, run.few(split, run.rows(split))] = np.nan
  return {
    "sources": list(module.sources),
    "weight": [[number(w) for w in row] for row in weight],
  }
