"""The only training loop: every stage and every model goes through `fit`."""

import contextlib
import functools
import json
import math
import pathlib
import time

import jax
import numpy as np

from medpatch_jax import files
from medpatch_jax.input.loader import Loader
from medpatch_jax.train import (
  checkpoint,
  memory,
  nonfinite,
  optimizer,
  state,
  step,
)
from medpatch_jax.train.log import Log, logger
from medpatch_jax.train.meter import Meter, Profile
from medpatch_jax.train.parallel import Parallel
from medpatch_jax.train.stage import Settings, Stage
from medpatch_jax.train.stop import Stopped

START = -1  # Epoch of the numbers from before training.


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
    parallel.poll()
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


@files.private()
def fit(
  stage: Stage, settings: Settings, workdir, parallel: Parallel, board=None
):
  """Trains a stage, or goes on where a killed run stopped.

  Args:
    stage: model, loss and data.
    settings: how long and how fast.
    workdir: of this stage; holds checkpoints, metrics.jsonl and TensorBoard
      files.
    parallel: devices.
    board: `board.Board` that gets the numbers too, or None.

  Returns:
    (best parameters on the host, progress dict of the loop).

  Raises:
    FloatingPointError: the loss is not finite; the state before is saved.
    Stopped: SIGTERM or Ctrl-C came; what was done is saved.
    TooLittle, DiskFull: memory or disk do not suffice.
  """
  parallel.check(stage.train.batch_size, settings.accumulate)
  if complete(workdir):
    logger.info("%s: complete, read back", stage.name)
  else:
    logger.info("%s: compiling", stage.name)
  with parallel.listening():
    return _Run(stage, settings, pathlib.Path(workdir), parallel, board).run()


def complete(workdir) -> bool:
  """Whether the stage in this folder ran to its end."""
  return (pathlib.Path(workdir) / "done.json").exists()


class _Run:
  """One call of `fit`: its parts, so that each step of the loop is short."""

  def __init__(self, stage, settings, workdir, parallel, board=None):
    self.send = board and functools.partial(board.log, stage.name)
    self.stage, self.settings, self.parallel = stage, settings, parallel
    rate = optimizer.schedule(
      settings.schedule,
      settings.learning_rate,
      settings.epochs * stage.train.steps,
    )
    rule = optimizer.adam(rate, settings.b2, settings.clip)
    self.start = state.create(stage.params, rule, settings.seed)
    # Compiled, as it would be anew in every epoch.
    self.plateau = jax.jit(optimizer.plateau().update)
    self.train_step = parallel.train(
      step.train_step(stage.forward, rule, settings.accumulate)
    )
    self.eval_step = parallel.evaluate(step.eval_step(stage.forward))
    self.limits = stage.name, self.start, stage.frozen, parallel.memory()
    memory.check(*self.limits)
    self.frozen = parallel.replicate(stage.frozen)
    self.saves = checkpoint.Checkpoints(workdir, parallel)
    self.profile = Profile(
      settings.profile if parallel.first else None, workdir
    )
    self.workdir = workdir
    self.saved_at = time.monotonic()
    self.tried = None  # State and batch of the last update.

  def run(self):
    host, progress = self.restored()
    begins = self.stage.start_counts and progress["best"] is None
    log = Log(
      self.workdir,
      START if begins else progress["epoch"],
      self.parallel.first,
      self.send,
      progress.get("metrics"),
    )
    with contextlib.closing(log):
      current = self.parallel.replicate(host)
      if begins:
        progress = self.score_start(current, progress, log)
      for epoch in range(progress["epoch"], self.settings.epochs):
        if progress["stopped"]:
          break
        with memory.enough(*self.limits, self.planned):
          current, progress = self.epoch(epoch, current, progress, log)
    self.profile.close(current)
    host = self.parallel.one(current)
    self.saves.save("latest", host, progress)
    best = self.best(host, progress)
    self.saves.close()
    if self.parallel.first:
      score = self.stage.shown({"best": progress["best"]})
      done = progress | {"best": score.get("best")}
      files.write_json(self.workdir / "done.json", done)
    self.parallel.meet()
    return best.params, progress

  def restored(self):
    """State and progress to go on from: the last save, or the start."""
    found = self.saves.restore("latest", self.start)
    host, progress = found or (self.start, _progress(self.stage.config))
    changed = checkpoint.difference(
      progress["config"], json.loads(json.dumps(self.stage.config))
    )
    if changed:
      raise ValueError(
        f"{self.workdir}: its checkpoints were made with another configuration"
        f" ({'; '.join(changed)}); pass its flags, or another --workdir."
      )
    if not complete(self.workdir):
      if found:
        logger.info("%s: goes on from step %d", self.stage.name, host.step)
      self.saves.drop_after("best", int(host.step))
    return host, progress

  def score_start(self, current, progress, log):
    """Progress in which the start is the best so far."""
    if not len(self.stage.validation.rows):
      return progress
    loss, value, numbers = self.validate(current, 0.0)
    numbers = self.stage.shown({"loss": loss} | numbers)
    log.write(START, 0, numbers, {})
    shown = " ".join(f"{k} {v:.4f}" for k, v in numbers.items())
    logger.info("%s: before training, %s", self.stage.name, shown)
    return progress | {"best": value}

  def epoch(self, epoch, current, progress, log):
    """One pass over the training rows, then validation and bookkeeping."""
    train, done = self.stage.train, progress["batch"]
    meter = Meter(
      self.stage.name, epoch, self.settings.epochs, train, start=done
    )
    try:
      for _, batch in meter.data(train.epoch(epoch, start=done)):
        self.tried = current, batch
        number = epoch * train.steps + done
        self.profile.at(number, current)
        current = self.train_step(
          current, self.frozen, self.parallel.split(batch)
        )
        done += 1
        if meter.due():
          self.check(current, epoch, progress)
          meter.show(done)
        if done < train.steps and self.due(number + 1):
          self.save(current, epoch, progress, done)
        self.parallel.poll()
      host = self.check(current, epoch, progress)
      speeds = meter.speeds(done)
      train_loss = float(host.total) / max(float(host.count), 1.0)
      loss, value, numbers = self.validate(current, train_loss)
    except Stopped:
      self.save(current, epoch, progress, done)
      self.saves.close()
      raise Stopped(f", {self.stage.name} saved in epoch {epoch + 1}") from None
    numbers = {"train_loss": train_loss, "loss": loss} | numbers
    numbers = self.stage.shown(numbers)
    _, rule = self.plateau(host.params, host.plateau, value=loss)
    host = host.replace(
      plateau=jax.device_get(rule),
      total=np.zeros((), np.float32),
      count=np.zeros((), np.float32),
    )
    progress = _advance(progress, epoch, value, self.settings.patience)
    if progress["best_epoch"] == epoch:
      self.saves.save("best", host, progress)
    log.write(epoch, int(host.step), numbers, speeds)
    progress |= {"metrics": log.total}
    if self.due(int(host.step)):
      self.saves.save("latest", host, progress)
    meter.end(int(host.step), numbers, speeds, progress["stopped"])
    return self.parallel.replicate(host), progress

  def planned(self) -> int | None:
    """Bytes of a device for the activations of the last update tried."""
    if self.tried is None:
      return None
    current, batch = self.tried
    return self.parallel.planned(self.train_step, current, self.frozen, batch)

  def check(self, current, epoch, progress):
    """The state on the host, if all updates so far were finite."""
    host = self.parallel.one(current)
    if host.finite:
      return host
    name, train = self.stage.name, self.stage.train
    batch = int(host.step) - epoch * train.steps
    host = host.replace(finite=np.ones((), bool))
    self.saves.save("latest", host, progress | {"batch": batch})
    self.saves.close()
    _, rows = next(train.epoch(epoch, start=batch))
    parts = self.parallel.parts(rows)
    first = nonfinite.culprit(self.stage, host, parts)
    raise FloatingPointError(
      f"{name}: the loss of update {int(host.step) + 1} (epoch {epoch + 1},"
      f" batch {batch + 1}) is not finite; first that was not: {first}. The"
      f" state before it is saved in {self.workdir}; lower --learning_rate or"
      " pass --clip, in another --workdir."
    )

  def save(self, current, epoch, progress, done) -> None:
    """Saves in the middle of an epoch, after `done` of its batches."""
    host = self.check(current, epoch, progress)
    self.saves.save("latest", host, progress | {"batch": done})

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

  def best(self, host, progress):
    """The state of the best epoch; the start if none was better."""
    if progress["best_epoch"] < 0:
      return self.start
    self.saves.wait()
    found = self.saves.restore("best", host)
    if not found or found[1]["best_epoch"] != progress["best_epoch"]:
      raise ValueError(
        f"{self.workdir}: the save of its best epoch is lost; delete this folder"
        " and give the same command again to train the stage anew."
      )
    return found[0]

  def due(self, number: int) -> bool:
    """Whether a save is due after `number` updates."""
    if self.settings.save_steps:
      return number % self.settings.save_steps == 0
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
