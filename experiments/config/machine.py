"""Where a run lies and how a machine computes it: no result depends on it.

But for rounding, and for dropout, which is drawn for each device and part.
"""

import dataclasses
import pathlib

from experiments.config.flag import PATH, Affects, choice
from experiments.config.names import STAGES
from medpatch_jax.train import parallel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
  """Choices of places, memory, devices and saves."""

  workdir: pathlib.Path = choice(
    None,
    PATH,
    Affects.NOTHING,
    "Folder of the run: checkpoints, caches, results.",
    values="a folder",
    unset="none; it has to be given",
  )
  stage: str = choice(
    "all",
    str,
    Affects.NOTHING,
    "The stage to run; earlier ones must be complete.",
    choices=("all", *STAGES),
  )
  share: pathlib.Path | None = choice(
    None,
    PATH,
    Affects.NOTHING,
    "Folder of encoders, temperatures and pools that runs share; what another"
    " run left there is read back, where everything it depends on is equal.",
    values="a folder",
  )
  cache_gb: float | None = choice(
    None,
    float,
    Affects.NOTHING,
    "Most GB (1e9 bytes) on disk for what is cached of frozen encoders: the"
    " pools of a run, then what a frozen BERT makes of each note. What takes"
    " more is computed anew in every epoch, with the same results"
    " (docs/training.md).",
    low=0.0,
    unset="no bound",
  )
  parallel: str = choice(
    "pmap",
    str,
    Affects.NOTHING,
    "How devices share a batch.",
    choices=tuple(parallel.KINDS),
    released="one GPU",
  )
  accumulate: int = choice(
    1,
    int,
    Affects.NOTHING,
    "Parts of a batch that are computed one by one and added up, to save"
    " memory; they divide the rows of a device.",
    low=1,
  )
  remat: bool = choice(
    False,
    bool,
    Affects.NOTHING,
    "Transformer blocks are computed again in the backward pass instead of"
    " held in memory.",
  )
  save_minutes: float = choice(
    1.0, float, Affects.NOTHING, "Least time between two saves.", low=0.0
  )
  save_steps: int | None = choice(
    None,
    int,
    Affects.NOTHING,
    "Updates between two saves, instead of --save_minutes.",
    low=1,
  )
  profile: tuple[int, int] | None = choice(
    None,
    str,
    Affects.NOTHING,
    "Updates of each stage of which a JAX profile is written.",
    values="START:STOP",
  )
  wandb: str | None = choice(
    None,
    str,
    Affects.NOTHING,
    "Project of Weights & Biases to send numbers to; the package wandb must be"
    " installed.",
    values="a project",
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
  """Choices of a command that several processes may run together."""

  coordinator: str | None = choice(
    None,
    str,
    Affects.NOTHING,
    "Several processes: host:port of process 0, or auto for what SLURM, Open MPI"
    " or a Cloud TPU says. Of experiments.train only.",
    values="HOST:PORT, auto",
    unset="none: one process",
  )
  processes: int | None = choice(
    None,
    int,
    Affects.NOTHING,
    "How many there are; with --coordinator=HOST:PORT.",
    low=1,
    unset="as SLURM says",
  )
  process: int | None = choice(
    None,
    int,
    Affects.NOTHING,
    "The number of this one, from 0.",
    low=0,
    unset="as SLURM says",
  )
