"""Rows in an order that is a function of (seed, epoch) -> batches, by Grain.

The same loader serves records and cached pools: what differs is `fetch` (row
-> example) and `collate` (examples -> batch).
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Loader:
  """Batches of a fixed number of rows; the tail is padded with weight 0.

  Attributes:
    rows: i64[N] rows of the split, each visited once an epoch.
    batch_size: rows of one batch, over all processes.
    fetch: (row, rng) -> example; rng is None unless `augment`.
    collate: (list of examples, batch size) -> batch with field `weight`.
    seed: shuffles where given; None keeps the order of `rows`.
    lengths: i64[N] or None; where given, rows of similar length share a batch.
    augment: pass `fetch` a generator seeded by (seed, epoch, row).
    threads: parallel fetches.
    share: (i, n), read only the i-th of n equal parts of each batch.
  """

  rows: np.ndarray
  batch_size: int
  fetch: Callable[[int, Any], Any]
  collate: Callable[[list, int], Any]
  seed: int | None = None
  lengths: np.ndarray | None = None
  augment: bool = False
  threads: int = 4
  share: tuple[int, int] = (0, 1)

  @property
  def steps(self) -> int:
    """Batches of an epoch."""
    return -(-len(self.rows) // self.batch_size)

  def order(self, epoch: int) -> np.ndarray:
    """Positions in `rows`, i64[steps, batch_size], -1 where padded."""
    n, size = len(self.rows), self.batch_size
    positions = np.arange(n)
    if self.seed is not None:
      positions = np.random.default_rng((self.seed, epoch)).permutation(n)
    if self.lengths is not None and self.seed is None:
      positions = np.argsort(self.lengths, kind="stable")
    elif self.lengths is not None:
      # Sort within chunks of 8 batches: near lengths together, yet shuffled.
      chunk = 8 * size
      parts = [positions[i : i + chunk] for i in range(0, n, chunk)]
      positions = np.concatenate(
        [p[np.argsort(self.lengths[p], kind="stable")] for p in parts]
      )
    padded = np.full((self.steps * size,), -1, np.int64)
    padded[:n] = positions
    batches = padded.reshape(self.steps, size)
    if self.lengths is not None and self.seed is not None:
      rng = np.random.default_rng((self.seed, epoch, 1))
      batches = batches[rng.permutation(self.steps)]
    return batches

  def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yields (positions i64[batch_size] with -1 for padding, batch).

    The positions are those of the whole batch, `batch` holds this process's
    share of its rows.

    Args:
      epoch: chooses the order.
      start: batches to skip, for a resumed run.
    """
    import grain  # Absent on some GPU images.

    order = self.order(epoch)[start:]
    if not len(order):
      return

    part, parts = self.share
    size = self.batch_size // parts

    def example(position):
      row = int(self.rows[position])
      rng = None
      if self.augment:
        rng = np.random.default_rng((self.seed or 0, epoch, row))
      return self.fetch(row, rng)

    def batch(positions):
      mine = positions[part * size : (part + 1) * size]
      real = [example(position) for position in mine if position >= 0]
      return positions, self.collate(real, size)

    # One element per batch: threads work on whole batches.
    dataset = grain.MapDataset.source(order).map(batch)
    options = grain.ReadOptions(
      num_threads=self.threads, prefetch_buffer_size=2 * self.threads
    )
    yield from dataset.to_iter_dataset(options)
