"""What a stage of training is: how long and how fast, model, loss and data."""

import dataclasses
from collections.abc import Callable
from typing import Any

from medpatch_jax.input.loader import Loader


@dataclasses.dataclass(frozen=True)
class Settings:
  """How long and how fast to train.

  Attributes:
    learning_rate: Adam's, at the start.
    schedule: of the learning rate, see optimizer.py.
    b2: Adam's decay of the second moment.
    clip: largest global gradient norm, or None.
    epochs: most epochs.
    patience: epochs without a better score before stopping.
    seed: of initialisation, order, augmentation and dropout.
    save_minutes: least time between two saves inside a stage.
    save_steps: updates between two saves, instead of `save_minutes`.
    accumulate: parts of a device's rows that are computed one by one.
    profile: updates [start, stop) of each stage to profile, or None.
  """

  learning_rate: float = 1e-3
  schedule: str = "plateau"
  b2: float = 0.999
  clip: float | None = None
  epochs: int = 100
  patience: int = 15
  seed: int = 0
  save_minutes: float = 1.0
  save_steps: int | None = None
  accumulate: int = 1
  profile: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
  """What a stage hands to the loop.

  Attributes:
    name: shown in the log.
    forward: see step.py.
    params: initial parameters that learn.
    frozen: parameters that do not.
    train: batches to learn from.
    validation: batches to choose by; may be empty.
    score: (validation loss, outputs of all rows) -> (value, the higher the
      better, and a dict of numbers to log).
    config: what the run was started with, kept in every checkpoint.
    shown: numbers -> those of them that may be logged or written.
    start_counts: the start is scored, too, and kept if no epoch is better.
  """

  name: str
  forward: Callable
  params: Any
  frozen: Any
  train: Loader
  validation: Loader
  score: Callable[[float, dict], tuple[float, dict]]
  config: dict = dataclasses.field(default_factory=dict)
  shown: Callable[[dict], dict] = dict
  start_counts: bool = False
