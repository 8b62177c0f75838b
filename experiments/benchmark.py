"""Times and memory of each part of the pipeline: the figures of docs/benchmarks.md.

  python -m experiments.benchmark --what=joint|bootstrap
  python -m experiments.benchmark --what=extract [--scale=1,4,16]
  python -m experiments.benchmark --what=read [--data_dir=OUT --task=TASK]
  python -m experiments.benchmark --what=kill [--kills=20]
  python -m experiments.benchmark --what=predict [--preset=tiny,base]
  python -m experiments.benchmark --what=input|train|encode [--sizes=16]
  python -m experiments.benchmark --what=hours
  python -m experiments.benchmark --what=whole
  python -m experiments.benchmark --what=fuse [--task=mortality|phenotyping]

joint: a step of stage 3 beside the released formulation
(experiments/bench/joint.py).
bootstrap: intervals by patient (experiments/bench/bootstrap.py).
extract: raw files to records (experiments/bench/extract.py).
read: records to arrays (experiments/bench/read.py).
kill: a run killed again and again beside one that is not (experiments/bench/kill.py).
predict: raw batch to every prediction, beside PyTorch's encoders
(experiments/bench/predict.py).
input, train, encode: the encoders' input, their step beside PyTorch's, and both
(experiments/bench/encoders.py).
hours: what padding costs the LSTM (experiments/bench/hours.py).
whole: how long all of phenotyping takes (experiments/bench/whole.py).
fuse: an epoch of stage 3 from cached pools (experiments/bench/fuse.py).
"""

import os

from absl import app, flags

from experiments.bench import (
  bootstrap,
  encoders,
  extract,
  fuse,
  hours,
  joint,
  kill,
  predict,
  read,
  whole,
)


def define() -> None:
  flags.DEFINE_enum(
    "what",
    "joint",
    (
      "joint",
      "bootstrap",
      "extract",
      "read",
      "kill",
      "predict",
      "input",
      "train",
      "encode",
      "hours",
      "whole",
      "fuse",
    ),
    "Part to measure.",
  )
  flags.DEFINE_integer("stays", 12_000, "Of the bootstrap.", lower_bound=1)
  flags.DEFINE_integer("resamples", 1000, "Of patients.", lower_bound=1)
  flags.DEFINE_integer("batch_size", 16, "Stays.", lower_bound=1)
  flags.DEFINE_integer("labels", 25, "Labels.", lower_bound=1)
  flags.DEFINE_integer("steps", 5, "Timed repeats; the median counts.", 1)
  flags.DEFINE_list("preset", ["tiny", "base"], "predict: sizes of the model.")
  flags.DEFINE_list("scale", ["1", "4", "16"], "extract: sizes of the twin.")
  flags.DEFINE_integer(
    "records", 60_000, "extract: records of the last part; 0 for none.", 0
  )
  flags.DEFINE_string(
    "folder",
    None,
    "extract, read, kill, fuse, input, train, encode: where files are written and kept.",
  )
  flags.DEFINE_integer("films", 1024, "read: records to write.", 1)
  flags.DEFINE_string("data_dir", None, "read: a built dataset instead.")
  flags.DEFINE_string(
    "task", "phenotyping", "read: its name; fuse: mortality or phenotyping."
  )
  flags.DEFINE_list("sizes", ["16"], "input, train, encode: stays of a batch.")
  flags.DEFINE_enum(
    "dtype",
    "float32",
    ("float32", "bfloat16"),
    "train, encode, whole, fuse: of matrix products; of cached pools.",
  )
  flags.DEFINE_float(
    "share", 0.1, "fuse: of the stays that are timed.", 0.001, 1.0
  )
  flags.DEFINE_integer("threads", os.cpu_count(), "extract, read: cores.", 1)
  flags.DEFINE_string("memory", "2GB", "extract: what DuckDB may hold.")
  flags.DEFINE_integer("kills", 20, "kill: how many.", lower_bound=1)
  flags.DEFINE_integer("seed", 0, "kill: of the moments.", lower_bound=0)
  flags.DEFINE_enum(
    "only", None, tuple(joint.STEPS), "Run one way only, in this process."
  )


def _extract() -> None:
  values = flags.FLAGS
  extract.run(
    [float(s) for s in values.scale],
    values.records,
    values.folder,
    values.threads,
    values.memory,
  )


def main(argv) -> None:
  del argv
  values = flags.FLAGS
  sizes = values.batch_size, values.labels, values.steps
  if values.only:
    print(*joint.measure(values.only, *sizes))
  elif values.what == "joint":
    joint.run(*sizes)
  elif values.what == "predict":
    predict.run(values.preset, values.batch_size, values.steps)
  elif values.what == "bootstrap":
    bootstrap.run(values.stays, values.labels, values.resamples, values.steps)
  elif values.what == "read":
    read.run(
      values.films, values.data_dir, values.task, values.folder, values.threads
    )
  elif values.what in encoders.PARTS:
    batches = [int(size) for size in values.sizes]
    encoders.run(
      values.what, batches, values.dtype, values.steps, values.folder
    )
  elif values.what == "hours":
    hours.run(values.batch_size, values.steps)
  elif values.what == "whole":
    whole.run(values.batch_size, values.dtype, values.steps)
  elif values.what == "fuse":
    fuse.run(
      values.task, values.share, values.dtype, values.batch_size, values.folder
    )
  elif values.what == "kill":
    kill.run(values.kills, values.seed, values.folder)
  else:
    _extract()


if __name__ == "__main__":
  define()
  app.run(main)
