"""Own tables some of whose stays are set apart: their records, what is said.

Of real data sets that a command cuts into parts (challenge2012, hancock).
"""

import pathlib
import zlib

import numpy as np

from data import build
from experiments.training.run import Run
from medpatch_jax import files
from medpatch_jax.input import dataset
from medpatch_jax.train.log import logger


def records(root, name: str, values, write, **how) -> str:
  """Builds RUN/records/NAME unless it is there whole, of the same values.

  Args:
    root: RUN.
    name: of the dataset.
    values: arrays of all that the tables are made of.
    write: folder -> writes the tables there.
    **how: of `build.build`.

  Returns:
    the checksum of the values.
  """
  total = 0
  for x in values:
    total = zlib.crc32(np.ascontiguousarray(x).tobytes(), total)
  data_dir, given = pathlib.Path(root) / "records", {"values": f"{total:08x}"}
  path = data_dir / f"{name}.json"
  there = dataset.built(data_dir, name)
  if there and path.exists():
    redo = "delete it and give the same command again."
    if files.read_json(path, {"values": str}, redo) == given:
      return given["values"]
  tables = data_dir.with_name("tables")
  tables.mkdir(parents=True, exist_ok=True)
  write(tables)
  build.build(
    source="tables", tables=tables, task=name, data_dir=data_dir,
    overwrite=there, **how,
  )  # fmt: skip
  files.write_json(path, given)
  return given["values"]


def ids(run: Run) -> list[int]:
  """Ids of the test split's stays, in the order of what is predicted."""
  source = run.data.source("test", ("stay_id",))
  return [int(source[int(row)]["stay_id"]) for row in run.rows("test")]


def sigmoid(logits) -> np.ndarray:
  """Probabilities f64, as they are averaged and written."""
  return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def write(path, id_name: str, probability: dict[int, float], digits: int = 1):
  """Writes an id and a probability a line, by id, whole or not at all.

  Args:
    path: the .csv file.
    id_name: of the first column.
    probability: id -> what is averaged over all models.
    digits: an id has at least, with zeros before it.
  """
  lines = [f"{id_name},probability"]
  lines += [f"{i:0{digits}},{p:.6f}" for i, p in sorted(probability.items())]
  files.write_text(path, "\n".join(lines) + "\n")
  logger.info("%s: %d rows", path, len(probability))
