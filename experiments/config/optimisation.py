"""How parameters are trained."""

import dataclasses

from experiments.config.flag import Affects, choice
from experiments.config.names import DTYPES
from medpatch_jax.train import optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimisation:
  """Choices of the training of stages 1 to 3."""

  seed: int = choice(
    0, int, Affects.ENCODER, "Of initialisation, order and dropout.", low=0
  )
  batch_size: int = choice(
    None,
    int,
    Affects.ENCODER,
    "Rows of an update over all devices.",
    low=1,
    preset="batch_size",
    unset="16",
    paper="16",
    released="16",
  )
  learning_rate: dict[str, float] = choice(
    None,
    list,
    Affects.ENCODER,
    "Adam's: one number for all stages, or modality=number for stages 1 and 2"
    " and fuse=number for stage 3.",
    values="above 0, one or modality=number and fuse=number",
    unset="1e-3 (tiny: its own)",
    paper="ten draws in 1e-5..1e-3",
    released="a flag",
    reaches="the modality's encoder; fuse=number stage 3",
    by_part=True,
  )
  schedule: str = choice(
    None,
    str,
    Affects.ENCODER,
    "Learning rate: halved on a plateau, or falling linearly to 0.",
    choices=tuple(optimizer.SCHEDULES),
    preset="schedule",
    unset="plateau (tiny: linear)",
    paper="plateau",
    released="plateau",
  )
  adam_b2: float = choice(
    0.999,
    float,
    Affects.ENCODER,
    "Adam's second decay.",
    low=0.0,
    high=1.0,
    paper="not said",
    released="0.9",
  )
  clip: float | None = choice(
    None,
    float,
    Affects.ENCODER,
    "Largest global norm of a gradient.",
    above=0.0,
    paper="none",
    released="none",
  )
  epochs: dict[str, int] = choice(
    None,
    list,
    Affects.ENCODER,
    "Most epochs of stages 1 and 3: one number, or modality=number and"
    " fuse=number.",
    values="0 or more, one or modality=number and fuse=number",
    unset="100 (tiny: fewer)",
    paper="not said",
    released="100",
    reaches="the modality's encoder; fuse=number stage 3",
    by_part=True,
  )
  patience: int = choice(
    None,
    int,
    Affects.ENCODER,
    "Epochs without a better validation score before stopping.",
    low=1,
    preset="patience",
    unset="15 (tiny: fewer)",
    paper="15",
    released="15",
  )
  dtype: str = choice(
    "float32",
    str,
    Affects.ENCODER,
    "Of matrix products and activations; parameters, sums, softmax, norms'"
    " statistics and losses are float32.",
    choices=DTYPES,
  )
