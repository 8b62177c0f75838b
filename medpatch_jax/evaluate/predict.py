"""Every row scored exactly once, collected on the host.

Batches have a static shape, so the last of a split is padded with rows of
weight 0 (STYLE.md 2.4). Nothing here knows of models or devices: `apply` is
any callable from a batch to logits per head.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Predictions:
  """What a model says of N rows, each there once.

  Attributes:
    logits: head -> f32[N C].
    label: f32[N C].
    present: bool[N M].
  """

  logits: dict[str, np.ndarray]
  label: np.ndarray
  present: np.ndarray


def predict(
  apply: Callable[[Any], Mapping[str, Any]],
  batches: Iterable[Any],
  *,
  rows: int | None = None,
  index: Callable[[Any], Any] | None = None,
) -> Predictions:
  """Collects logits of every row of weight above 0.

  The logits of a batch are fetched only when the next has been handed to
  `apply`, so that host and accelerator work at the same time.

  Args:
    apply: batch -> {head: logits f[B C]}, on any device.
    batches: `schema.Batch`-like values with `label` [B C], `present` [B M]
      and `weight` [B]; padding rows have weight 0. Consumed lazily.
    rows: how many rows there must be.
    index: batch -> i[B], each row's number in 0..rows-1. With it rows are
      returned in that order; without it, in the order they come.

  Raises:
    ValueError: a row is missing or comes twice, the heads change between
      batches, or there are no rows to tell the number of labels by.
  """
  collected, numbers = [], []
  waiting = collections.deque()
  heads = None

  def fetch():
    outputs, batch, real = waiting.popleft()
    fields = {"label": batch.label, "present": batch.present}
    values = {**{("logits", k): v for k, v in outputs.items()}, **fields}
    collected.append({k: np.asarray(v)[real] for k, v in values.items()})

  for batch in batches:
    real = np.asarray(batch.weight) > 0
    outputs = dict(apply(batch))
    if heads is None:
      heads = tuple(outputs)
    if set(heads) != set(outputs):
      raise ValueError(
        f"heads changed between batches: {sorted(heads)} and then"
        f" {sorted(outputs)}."
      )
    if index is not None:
      numbers.append(np.asarray(index(batch))[real])
    waiting.append((outputs, batch, real))
    if len(waiting) > 1:
      fetch()
  while waiting:
    fetch()

  if not collected:
    raise ValueError("there are no batches to predict.")
  joined = {
    k: np.concatenate([part[k] for part in collected]) for k in collected[0]
  }
  order = _order(numbers, len(joined["label"]), rows)
  joined = {k: v[order] for k, v in joined.items()}
  logits = {head: joined[("logits", head)] for head in heads}
  return Predictions(logits, joined["label"], joined["present"])


def _order(numbers: list, seen: int, rows: int | None) -> np.ndarray | slice:
  """The order that sorts rows by number, after checking each is there once."""
  if rows is not None and seen != rows:
    raise ValueError(
      f"{seen} rows were predicted, the split has {rows}. Padding rows must"
      " have weight 0 and all others weight 1."
    )
  if not numbers:
    return slice(None)
  numbers = np.concatenate(numbers)
  wrong = np.flatnonzero(np.sort(numbers) != np.arange(seen))
  if len(wrong):
    raise ValueError(
      f"rows must come exactly once each: number {int(wrong[0])} of {seen}"
      " is missing or comes twice."
    )
  return np.argsort(numbers)
