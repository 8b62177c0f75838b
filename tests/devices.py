"""A process of tests/test_parallel.py: trains the toy problem, prints numbers.

python -m tests.devices FOLDER N[,N...] [COORDINATOR COUNT INDEX [BATCHES SIGNAL]]

After so many batches the first process gets the signal; each ends as a command
does then, and prints how many updates were saved.
"""

import dataclasses
import json
import pathlib
import signal
import sys

import jax
import numpy as np

from medpatch_jax.input.loader import Loader
from medpatch_jax.train import loop, stop
from medpatch_jax.train.parallel import Parallel, connect
from tests.test_train import problem

# 3 updates an epoch, 21 in all; the last batch holds 4 rows of 8.
SETTINGS = loop.Settings(learning_rate=0.05, epochs=7)


@dataclasses.dataclass(frozen=True)
class Ended(Loader):
  """Sends its own process a signal after so many batches, once."""

  left: list = dataclasses.field(default_factory=list)
  number: int = signal.SIGTERM

  def epoch(self, epoch=0, start=0):
    for item in super().epoch(epoch, start):
      self.left[0] -= 1
      if not self.left[0]:
        signal.raise_signal(self.number)
      yield item


def stopped(workdir, stage, parallel, batches, number) -> None:
  """Trains until the signal; prints at which step it was saved."""
  train = Ended(**vars(stage.train), left=[batches], number=number)
  settings = dataclasses.replace(SETTINGS, save_minutes=1e9)
  try:
    loop.fit(
      dataclasses.replace(stage, train=train), settings, workdir, parallel
    )
  except stop.Stopped as error:
    parallel.meet()  # The first has saved.
    saves = sorted(int(p.name) for p in workdir.glob("latest/*"))
    print("found", json.dumps({"saves": saves}), flush=True)
    sys.exit(error.code)


def main(
  folder,
  numbers,
  coordinator=None,
  count=None,
  index=None,
  batches="0",
  number=signal.SIGTERM,
) -> None:
  connect(coordinator, count and int(count), index and int(index))
  for kind in ("pmap", "shard_map"):
    for n in map(int, numbers.split(",")):
      parallel = Parallel(kind, jax.devices()[:n])
      stage, read = problem(ragged=True, share=parallel.share)
      workdir = pathlib.Path(folder, f"{kind}{n}")
      if batches != "0":
        # One process gets it; the other never does.
        mine = int(batches) if parallel.first else 10**9
        stopped(workdir, stage, parallel, mine, int(number))
      best, progress = loop.fit(stage, SETTINGS, workdir, parallel)
      found = {
        "kind": kind,
        "devices": n,
        "w": best["w"].ravel().tolist(),
        "best": progress["best"],
        "read": sorted(read),
      }
      print("found", json.dumps(found), flush=True)
      both = parallel.same({"a": np.arange(3) + parallel.index})
      assert both["a"].tolist() == [0, 1, 2]
      assert parallel.same_json({"i": parallel.index}) == {"i": 0}


if __name__ == "__main__":
  main(*sys.argv[1:])
