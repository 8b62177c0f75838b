"""What stays of unlike length cost the LSTM: `benchmark --what=hours`.

One step of stage 1 (forward, backward, Adam) on batches that differ in nothing
but their padding, and the steps that an epoch of stays of drawn lengths takes.
"""

import os

import jax
import numpy as np

from experiments.bench import clock, encoders
from experiments.bench.feeding import BASE
from medpatch_jax.input import examples
from medpatch_jax.input.loader import Loader

# MIMIC's longest stay, and the lengths drawn: about half of the stays are
# shorter than the middle, the mean is 1.8 times it.
LONGEST, MIDDLE, SPREAD, STAYS = 2646, 50, 1.06, 42_628


def run(batch_size: int, steps: int) -> None:
  """Prints the step's time by length and padding, then steps of an epoch."""
  ours = encoders.Ours("train", "ehr", batch_size, "float32")
  print(
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, load"
    f" {os.getloadavg()[0]:.1f}, batch {batch_size}, float32"
  )
  bucket = examples.bucket(LONGEST, BASE.hour_buckets)
  for name, hours, padded in (
    ("all of 48 hours", [48] * batch_size, 48),
    ("the same, padded to 1,024", [48] * batch_size, 1024),
    ("all of 1,024 hours", [1024] * batch_size, 1024),
    (f"one of {LONGEST:,} hours among 48", [48] * (batch_size - 1), bucket),
    (f"all of {LONGEST:,} hours", [LONGEST] * batch_size, bucket),
  ):
    hours = np.array(hours + [LONGEST] * (batch_size - len(hours)))
    rows = ours.parallel.split(_batch(hours, padded))
    seconds = clock.median(lambda rows=rows: ours(rows), steps)
    taken = hours.max()
    print(
      f"{name:34} {1e3 * seconds:9.1f} ms {1e3 * seconds / taken:7.2f} ms for"
      " each of its longest stay's hours",
      flush=True,
    )
  _epoch(batch_size)


def _batch(hours, padded):
  batch = encoders.batch("ehr", len(hours))
  shape = len(hours), padded, batch.inputs["ehr"]["x"].shape[2]
  x = np.random.default_rng(0).standard_normal(shape, np.float32)
  mask = np.arange(padded)[None] < hours[:, None]
  return batch.replace(inputs={"ehr": {"x": x, "mask": mask}})


def _epoch(batch_size):
  """Steps of the LSTM over all batches of an epoch, beside what they need."""
  draw = np.random.default_rng(0).standard_normal(STAYS)
  hours = np.clip(MIDDLE * np.exp(SPREAD * draw), 5, LONGEST).astype(int)
  print(
    f"an epoch of {STAYS:,} stays, median {np.median(hours):.0f} hours, mean"
    f" {hours.mean():.0f}, longest {hours.max():,}; steps for each of"
    f" {hours.sum() / batch_size:,.0f} that no padding at all would take:"
  )
  for name, lengths in (("in any order", None), ("as the loader does", hours)):
    loader = Loader(
      np.arange(STAYS), batch_size, None, None, seed=0, lengths=lengths
    )
    most = np.where(loader.order(0) < 0, 0, hours[loader.order(0)]).max(axis=1)
    padded = [examples.bucket(n, BASE.hour_buckets) for n in most]
    least = hours.sum() / batch_size
    print(
      f"  batches {name}: {np.sum(padded) / least:.2f} padded to the bucket,"
      f" {most.sum() / least:.2f} stopped at the longest stay"
    )
