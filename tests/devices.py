"""A process of tests/test_parallel.py: trains the toy problem, prints numbers.

python -m tests.devices FOLDER N[,N...] [COORDINATOR COUNT INDEX]
"""

import json
import pathlib
import sys

import jax
import numpy as np

from medpatch_jax.train import loop
from medpatch_jax.train.parallel import Parallel, connect
from tests.test_train import problem

# 3 updates an epoch, 21 in all; the last batch holds 4 rows of 8.
SETTINGS = loop.Settings(learning_rate=0.05, epochs=7)


def main(folder, numbers, coordinator=None, count=None, index=None) -> None:
  connect(coordinator, count and int(count), index and int(index))
  for kind in ("pmap", "shard_map"):
    for n in map(int, numbers.split(",")):
      parallel = Parallel(kind, jax.devices()[:n])
      stage, read = problem(ragged=True, share=parallel.share)
      workdir = pathlib.Path(folder, f"{kind}{n}")
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
