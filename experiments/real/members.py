"""The models whose probabilities are averaged: encoders, each alone, and trees.

Each learns from all stays but some, with each seed, and is read back when it is
asked for again. None is held out to stop by: what few stays choose is left to
chance.

Dims: R stays, N of them that are predicted, F features of the trees, S seeds.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from data.challenge2012 import tables, trends
from experiments.config import Config, names
from experiments.real import apart, trees
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import files
from medpatch_jax.train import loop

EHR, TREES = "ehr", "trees"
KINDS = (*names.EHR, TREES)


@dataclasses.dataclass(frozen=True)
class Part:
  """Stays of which some are predicted by models that learn from the others.

  Attributes:
    f: flags.
    charts: `read.Charts` of all of them.
    test: those that are predicted, bool[R].
    name: of the part: of its records, and of its folder in RUN.
  """

  f: object
  charts: object
  test: np.ndarray
  name: str

  @property
  def root(self) -> pathlib.Path:
    return pathlib.Path(self.f.workdir)

  def place(self, kind: str, seed: int) -> pathlib.Path:
    """Where one model lies: an encoder's folder, a file of trees."""
    name = f"seed_{seed}" + (".json" if kind == TREES else "")
    return self.root / self.name / kind / name

  def complete(self, kind: str, seed: int) -> bool:
    """Whether a model is trained."""
    path = self.place(kind, seed)
    return path.exists() if kind == TREES else loop.complete(path / STAGE)

  @functools.cached_property
  def values(self) -> str:
    """Builds the records unless they are there; what they are made of."""
    split = np.where(self.test, "test", "train")
    fields = ("record", "death", "row", "hour", "variable", "value")
    return apart.records(
      self.root,
      self.name,
      (*(getattr(self.charts, n) for n in fields), self.test),
      lambda folder: tables.write(folder, self.charts, split),
    )

  @functools.cached_property
  def features(self) -> np.ndarray:
    """What trees read, f32[R F]."""
    return trends.features(self.charts)


STAGE = pathlib.Path("unimodal") / EHR


def models(f) -> list[tuple[str, int]]:
  """(kind, seed) of all that are averaged."""
  return [(kind, seed) for kind in f.encoders for seed in range(f.seeds)]


def predicted(part: Part, kind: str, seed: int) -> np.ndarray:
  """Probabilities f64[N] by one model, trained if it is not.

  A stay of which nothing is known gets the share of deaths.
  """
  learn = part.charts.death[~part.test]
  if kind == TREES:
    return apart.sigmoid(_trees(part, seed))
  _ = part.values
  config = Config.from_flags(
    part.f, data_dir=part.root / "records", task=part.name, modalities=[EHR],
    seed=part.f.seed + seed, workdir=part.place(kind, seed),
    **own(part.f, kind),
  )  # fmt: skip
  run = Run(config)
  found = dict(zip(apart.ids(run), apart.sigmoid(encoder(Stages(run)))))
  share = learn.mean()
  every = part.charts.record[part.test].tolist()
  return np.array([found.get(record, share) for record in every])


def own(f, kind):
  """Flags of one kind of encoder that the others do not have, as a dict."""
  if kind == "lstm":
    return {"ehr": kind}
  # --ehr_dropout is the LSTM's.
  rate = [str(getattr(f, f"{kind}_rate"))]
  return {"ehr": kind, "learning_rate": rate, "ehr_dropout": 0.0}


def encoder(stages):
  """Logits f32[N] of the test split by the EHR encoder alone."""
  rows = stages.run.rows("test", EHR, "encoders")
  assert len(rows) == stages.run.data.size("test")
  params = stages.encoder(EHR)
  return stages.unimodal_logits("test", EHR, params, rows)[:, 0]


def _trees(part: Part, seed: int) -> np.ndarray:
  """Logits f64[N], kept beside what they were made of."""
  path, settings = part.place(TREES, seed), trees.Settings()
  given = {"values": part.values, "settings": dataclasses.asdict(settings)}
  given |= {"seed": part.f.seed + seed}
  if path.exists():
    redo = "delete it and give the same command again."
    kept = files.read_json(path, {"given": dict, "logits": [float]}, redo)
    if kept["given"] == given:
      return np.array(kept["logits"])
  learn = ~part.test
  found = trees.logits(
    part.features[learn],
    part.charts.death[learn],
    part.features[part.test],
    part.f.seed + seed,
    settings,
  )
  files.write_json(path, {"given": given, "logits": found.tolist()})
  return found


def averaged(probability):
  """The mean f64[N] over kinds and seeds, of f64[S N] of each kind."""
  return np.mean(list(probability.values()), axis=(0, 1))


class Count:
  """Shows how many of the models that were not trained yet are."""

  def __init__(self, parts, progress):
    self._todo = [
      (part, *model)
      for part in parts
      for model in models(part.f)
      if not part.complete(*model)
    ]
    self._progress = progress

  def show(self) -> None:
    if self._todo:
      done = sum(part.complete(kind, seed) for part, kind, seed in self._todo)
      self._progress.at(done / len(self._todo))


def every(part: Part, count: Count, said=lambda *found: None):
  """{kind: probability f64[S N]} of all models of a part.

  Args:
    part: what they learn from and predict.
    count: shown after each.
    said: called with kind, seed and probability of each.
  """
  found = {kind: [] for kind in part.f.encoders}
  for kind, seed in models(part.f):
    found[kind].append(predicted(part, kind, seed))
    said(kind, seed, found[kind][-1])
    count.show()
  return {kind: np.array(each) for kind, each in found.items()}
