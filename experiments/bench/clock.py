"""Times a call, for the benchmarks."""

import time

import numpy as np


def median(call, steps) -> float:
  """Seconds of a call; the first, which compiles, is not counted."""
  seconds = []
  for _ in range(steps + 1):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
  return float(np.median(seconds[1:]))
