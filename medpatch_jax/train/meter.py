"""How fast an epoch goes, how long it will take, and what it waits for."""

import pathlib
import time
from collections.abc import Iterator

import jax

from medpatch_jax.train.log import logger

# Seconds between two lines within an epoch.
EVERY = 15.0


class Meter:
  """Times one epoch of a stage."""

  def __init__(self, name: str, epoch: int, epochs: int, loader, start: int):
    """Starts the clock.

    Args:
      name: of the stage.
      epoch: counted from 0.
      epochs: most there may be.
      loader: of the training rows.
      start: batches of this epoch that were done before.
    """
    self.name, self.epoch, self.epochs = name, epoch, epochs
    self.loader, self.start = loader, start
    self.began = self._said = time.monotonic()
    self.waited = 0.0

  def data(self, batches: Iterator) -> Iterator:
    """The same batches, while the time spent waiting for them is counted."""
    batches = iter(batches)
    while True:
      asked = time.monotonic()
      try:
        item = next(batches)
      except StopIteration:
        return
      finally:
        self.waited += time.monotonic() - asked
      yield item

  def due(self) -> bool:
    """Whether a line within the epoch is due."""
    if time.monotonic() - self._said < EVERY:
      return False
    self._said = time.monotonic()
    return True

  def show(self, done: int) -> None:
    """A line within the epoch, after `done` of its batches."""
    speeds = self.speeds(done)
    each = speeds["seconds"] / max(done - self.start, 1)
    logger.info(
      "%s: epoch %d/%d, update %d/%d, %.0f stays/s, %.0f %% waiting for data,"
      " %.0f s left of its updates",
      self.name,
      self.epoch + 1,
      self.epochs,
      done,
      self.loader.steps,
      speeds["stays_per_second"],
      100 * speeds["waiting"],
      each * (self.loader.steps - done),
    )

  def speeds(self, done: int) -> dict[str, float]:
    """Of the updates so far: seconds, stays a second, share spent waiting."""
    seconds = max(time.monotonic() - self.began, 1e-9)
    rows = min(done * self.loader.batch_size, len(self.loader.rows))
    rows -= self.start * self.loader.batch_size
    return {
      "seconds": seconds,
      # In two digits: times the seconds it would be the number of stays.
      "stays_per_second": float(f"{max(rows, 0) / seconds:.2g}"),
      "waiting": self.waited / seconds,
    }

  def end(self, step: int, numbers: dict, speeds: dict, stopped: bool) -> None:
    """The line of a finished epoch, with the most time that may be left."""
    seconds = time.monotonic() - self.began
    left = seconds * (self.epochs - self.epoch - 1)
    logger.info(
      "%s: epoch %d/%d, update %d, %s, %.0f stays/s, %.0f %% waiting for data,"
      " %s",
      self.name,
      self.epoch + 1,
      self.epochs,
      step,
      " ".join(f"{k} {v:.4f}" for k, v in numbers.items()),
      speeds["stays_per_second"],
      100 * speeds["waiting"],
      "stops" if stopped else f"at most {left:.0f} s left",
    )


class Profile:
  """A JAX profile of some updates of a stage, in its folder's `profile`."""

  def __init__(self, span: tuple[int, int] | None, workdir):
    """Takes [start, stop) in updates, or None for no profile."""
    self._span, self._on = span, False
    self._folder = pathlib.Path(workdir) / "profile"

  def at(self, step: int, state) -> None:
    """Called before update `step`; waits for `state` at either end."""
    if self._span is None:
      return
    start, stop = self._span
    if self._on and step >= stop:
      self.close(state)
    elif not self._on and step == start:
      jax.block_until_ready(state)
      jax.profiler.start_trace(str(self._folder))
      self._on = True

  def close(self, state) -> None:
    """Ends a profile that is still going."""
    if self._on:
      jax.block_until_ready(state)
      jax.profiler.stop_trace()
      self._on, self._span = False, None
      logger.info("profile of the updates in %s", self._folder)
