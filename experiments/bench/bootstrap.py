"""Intervals by patient at the size of MIMIC's test split: `--what=bootstrap`.

AUROC and AUPRC of every label under every resample of patients, and the
intervals of both.
"""

import os
import time

import numpy as np

from medpatch_jax.evaluate import bootstrap


def run(N: int, C: int, R: int, steps: int) -> None:
  """Draws, scores and intervals; the median of `steps` repeats."""
  rng = np.random.default_rng(0)
  label = rng.random((N, C)) < np.linspace(0.05, 0.45, C)
  logits = (rng.normal(size=label.shape) + label).astype(np.float32)
  subject = rng.integers(max(1, 3 * N // 4), size=N)
  load = os.getloadavg()[0]
  print(
    f"{N:,} stays, {C} labels, {R:,} resamples, {os.cpu_count()} cores, load"
    f" {load:.1f}"
  )
  seconds = []
  for _ in range(steps):
    start = time.perf_counter()
    under = bootstrap.resample(logits, label, bootstrap.draw(subject, R))
    for values in (under, under.mean()):
      bootstrap.interval(values.auroc)
      bootstrap.interval(values.auprc)
    seconds.append(time.perf_counter() - start)
  print(f"both metrics {np.median(seconds):9.2f} s")
