"""How long all of phenotyping takes: `benchmark --what=whole`.

A sum of measured rates, not a run: the size of MIMIC's train split times the
epochs that stages are assumed to take, at what one batch of each takes here.
"""

import os

import jax

from experiments.bench import clock, encoders, fuse

STAYS, FILMS, HOURS = 42_628, 7_756, 88  # Hours of a stay: about the mean.
# Windows of 512 pieces a stay: about five reports, one discharge note.
WINDOWS = 6
KINDS = 2  # Of notes, whose hidden states are cached (training/cache.py).
# Passes over the train split of stages 1, 2 and 3: assumed. The preset stops 15
# epochs after the best one.
EPOCHS = 20
GOAL = 1.0  # Hours, on one H100 in bfloat16.


def run(batch_size: int, dtype: str, steps: int) -> None:
  """Prints what each part takes, and the sum.

  Args:
    batch_size: of every stage.
    dtype: of the matrix products.
    steps: timed repeats; the median counts.
  """
  device = jax.devices()[0]
  print(
    f"{device.device_kind}, {os.cpu_count()} cores, load"
    f" {os.getloadavg()[0]:.1f}, batch {batch_size}, {dtype}"
  )

  def each(what, m):
    """Seconds of a stay, film or window."""
    call = encoders.Ours(what, m, batch_size, dtype)
    return clock.median(call, steps) / batch_size

  hours = HOURS / encoders.HOURS
  series = hours * each("encode", "ehr")
  notes = KINDS * each("encode", "hidden")
  encoded = STAYS * (series + notes) + FILMS * each("encode", "cxr")
  fusion = fuse.run("phenotyping", 0.02, dtype, batch_size, None)
  parts = {
    "BERT, frozen, once": STAYS * WINDOWS * each("encode", "rr"),
    "stage 1, LSTM": EPOCHS * STAYS * hours * each("train", "ehr"),
    "stage 1, ViT": EPOCHS * FILMS * each("train", "cxr"),
    "stage 1, text": EPOCHS * STAYS * KINDS * each("train", "hidden"),
    "stage 2": EPOCHS * encoded,
    "pools": encoded,
    "stage 3": EPOCHS * fusion,
  }
  print(
    f"{STAYS:,} stays of {HOURS} hours, {FILMS:,} films, {WINDOWS} windows of"
    f" text a stay, {EPOCHS} epochs of each stage (assumed):"
  )
  for name, seconds in parts.items():
    print(f"{name:30} {seconds / 3600:10.1f} hours")
  total = sum(parts.values()) / 3600
  goal = "" if device.platform == "cpu" else f", {total / GOAL:.1f} of the goal"
  print(f"{'sum':30} {total:10.1f} hours{goal}")
