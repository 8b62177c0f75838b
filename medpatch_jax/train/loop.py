"""The only training loop: every stage and every model goes through `fit`."""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from medpatch_jax.input.loader import Loader
from medpatch_jax.train import checkpoint, optimizer, state, step
from medpatch_jax.train.log import Log, logger
from medpatch_jax.train.parallel import Parallel


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
  """

  learning_rate: float = 1e-3
  schedule: str = "plateau"
  b2: float = 0.999
  clip: float | None = None
  epochs: int = 100
  patience: int = 15
  seed: int = 0
  save_minutes: float = 1.0


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
  """

  name: str
  forward: Callable
  params: Any
  frozen: Any
  train: Loader
  validation: Loader
  score: Callable[[float, dict], tuple[float, dict]]
  config: dict = dataclasses.field(default_factory=dict)


def batches(mapped, parallel: Parallel, params, frozen, loader: Loader):
  """Evaluates a loader's batches one by one.

  Args:
    mapped: `parallel.evaluate(step.eval_step(forward))`.
    parallel: places the batches.
    params, frozen: replicated.
    loader: batches.

  Yields:
    (positions i64[b] in `loader.rows` of the real rows, loss total, loss
    count, {output: array[b ...]}).
  """
  for positions, batch in loader.epoch():
    sums, rows = mapped(params, frozen, parallel.split(batch))
    real = positions >= 0
    total, count = (float(x) for x in parallel.one(sums))
    outputs = {k: v[real] for k, v in parallel.rows(rows).items()}
    yield positions[real], total, count, outputs


def evaluate(
  mapped,
  parallel: Parallel,
  params,
  frozen,
  loader: Loader,
  allocate=lambda name, shape, dtype: np.zeros(shape, dtype),
):
  """One pass over a loader, each row once; arguments as of `batches`.

  Args:
    allocate: (name, shape, dtype) -> array that takes an output's rows.

  Returns:
    (mean loss, {output: array[N ...] in the order of `loader.rows`}).
  """
  total = count = 0.0
  outputs: dict[str, np.ndarray] = {}
  seen = np.zeros(len(loader.rows), np.int64)
  for positions, loss, n, rows in batches(
    mapped, parallel, params, frozen, loader
  ):
    total, count = total + loss, count + n
    seen[positions] += 1
    for name, values in rows.items():
      if name not in outputs:
        shape = (len(loader.rows), *values.shape[1:])
        outputs[name] = allocate(name, shape, values.dtype)
      outputs[name][positions] = values
  if not (seen == 1).all():
    raise AssertionError("a row was evaluated more or less than once")
  return (total / count if count else math.nan), outputs


def fit(stage: Stage, settings: Settings, workdir, parallel: Parallel):
  """Trains a stage, or goes on where a killed run stopped.

  Args:
    stage: model, loss and data.
    settings: how long and how fast.
    workdir: of this stage; holds checkpoints, metrics.jsonl and TensorBoard
      files.
    parallel: devices.

  Returns:
    (best parameters on the host, progress dict of the loop).

  Raises:
    FloatingPointError: the loss is not finite.
  """
  parallel.check(stage.train.batch_size)
  if complete(workdir):
    logger.info("%s: complete, read back", stage.name)
  return _Run(stage, settings, pathlib.Path(workdir), parallel).run()


def complete(workdir) -> bool:
  """Whether the stage in this folder ran to its end."""
  return (pathlib.Path(workdir) / "done.json").exists()


class _Run:
  """One call of `fit`: its parts, so that each step of the loop is short."""

  def __init__(self, stage, settings, workdir, parallel):
    self.stage, self.settings, self.parallel = stage, settings, parallel
    rate = optimizer.schedule(
      settings.schedule,
      settings.learning_rate,
      settings.epochs * stage.train.steps,
    )
    rule = optimizer.adam(rate, settings.b2, settings.clip)
    self.start = state.create(stage.params, rule, settings.seed)
    self.plateau = optimizer.plateau()
    self.train_step = parallel.train(step.train_step(stage.forward, rule))
    self.eval_step = parallel.evaluate(step.eval_step(stage.forward))
    self.frozen = parallel.replicate(stage.frozen)
    self.saves = checkpoint.Checkpoints(workdir)
    self.workdir = workdir
    self.saved_at = time.monotonic()

  def run(self):
    restored = self.saves.restore("latest", self.start)
    current, progress = restored or (self.start, _progress(self.stage.config))
    changed = checkpoint.difference(
      progress["config"], json.loads(json.dumps(self.stage.config))
    )
    if changed:
      raise ValueError(
        f"{self.workdir}: its checkpoints were made with another configuration"
        f" ({'; '.join(changed)}); pass its flags, or another --workdir."
      )
    if restored and not complete(self.workdir):
      logger.info(
        "%s: goes on from step %d", self.stage.name, int(current.step)
      )
      self.saves.drop_after("best", int(current.step))
    log = Log(self.workdir, progress["epoch"])
    current = self.parallel.replicate(current)
    for epoch in range(progress["epoch"], self.settings.epochs):
      if progress["stopped"]:
        break
      current, progress = self.epoch(epoch, current, progress, log)
    host = self.parallel.one(current)
    self.saves.save("latest", host, progress)
    best, _ = self.best(host)
    self.saves.close()
    log.close()
    checkpoint.write_json(self.workdir / "done.json", progress)
    return best.params, progress

  def epoch(self, epoch, current, progress, log):
    """One pass over the training rows, then validation and bookkeeping."""
    began, name = time.monotonic(), self.stage.name
    done = progress["batch"]
    for _, batch in self.stage.train.epoch(epoch, start=done):
      current = self.train_step(
        current, self.frozen, self.parallel.split(batch)
      )
      done += 1
      if done < self.stage.train.steps and self.due():
        part = progress | {"batch": done}
        self.saves.save("latest", self.parallel.one(current), part)
    host = self.parallel.one(current)
    train_loss = float(host.total) / max(float(host.count), 1.0)
    if not math.isfinite(train_loss):
      raise FloatingPointError(
        f"{name}: the training loss of epoch {epoch} is {train_loss}; lower"
        " --learning_rate or pass --clip."
      )
    loss, value, numbers = self.validate(current, train_loss)
    numbers = {"train_loss": train_loss, "loss": loss} | numbers
    _, rule = self.plateau.update(host.params, host.plateau, value=loss)
    host = host.replace(
      plateau=jax.device_get(rule),
      total=np.zeros((), np.float32),
      count=np.zeros((), np.float32),
    )
    progress = _advance(progress, epoch, value, self.settings.patience)
    if progress["best_epoch"] == epoch:
      self.saves.save("best", host, progress)
    log.write(epoch, int(host.step), numbers)
    if self.due():
      self.saves.save("latest", host, progress)
    seconds = time.monotonic() - began
    _report(name, epoch, seconds, numbers, progress, self.stage, self.settings)
    return self.parallel.replicate(host), progress

  def validate(self, current, train_loss):
    """(loss, score, numbers); by the training loss if validation is empty."""
    if not len(self.stage.validation.rows):
      return train_loss, -train_loss, {}
    loss, outputs = evaluate(
      self.eval_step,
      self.parallel,
      current.params,
      self.frozen,
      self.stage.validation,
    )
    value, numbers = self.stage.score(loss, outputs)
    return loss, value, numbers

  def best(self, host):
    self.saves.wait()
    return self.saves.restore("best", host) or (host, {})

  def due(self) -> bool:
    if time.monotonic() - self.saved_at < 60 * self.settings.save_minutes:
      return False
    self.saved_at = time.monotonic()
    return True


def _progress(config: dict) -> dict:
  return {
    "config": json.loads(json.dumps(config)),
    "epoch": 0,  # The next epoch,
    "batch": 0,  # and its next batch.
    "best": None,
    "best_epoch": -1,
    "stopped": False,
  }


def _advance(progress: dict, epoch: int, value: float, patience: int) -> dict:
  """Progress after an epoch that scored `value`."""
  better = progress["best"] is None or value > progress["best"]
  best_epoch = epoch if better else progress["best_epoch"]
  return progress | {
    "epoch": epoch + 1,
    "batch": 0,
    "best": value if better else progress["best"],
    "best_epoch": best_epoch,
    "stopped": epoch - best_epoch >= patience,
  }


def _report(name, epoch, seconds, numbers, progress, stage, settings) -> None:
  """One line: numbers, speed and the most time that may be left."""
  left = seconds * (settings.epochs - epoch - 1)
  stays = len(stage.train.rows) / max(seconds, 1e-9)
  shown = " ".join(f"{k} {v:.4f}" for k, v in numbers.items())
  end = "stops" if progress["stopped"] else f"at most {left:.0f} s left"
  logger.info(
    "%s: epoch %d/%d %s, %.0f stays/s, %s",
    name,
    epoch + 1,
    settings.epochs,
    shown,
    stays,
    end,
  )
