"""The folder of a run, before it holds a result: it is nobody's yet."""

import contextlib
import pathlib
import shutil

from medpatch_jax import files
from medpatch_jax.input import places
from medpatch_jax.train import checkpoint, lock
from medpatch_jax.train.log import logger

# Files that are written when something has come to its end: a stage, a store,
# scores, records, the twin's raw files.
RESULTS = (
  "done.json",
  "key.json",
  "results.json",
  "dataset_info.json",
  "arguments.json",
)
# All that is ever removed: what a run writes on its way to these.
OWN = (
  ".lock",
  "config.json",
  "machine.json",
  "wandb.json",
  "wandb",
  "records",
  "tokenizer",
  "init_from",
  "unimodal",
  "confidence",
  "calibrate",
  "hidden",
  "pools",
  "encodings",
  "fuse",
)


def holds_result(folder) -> bool:
  """Whether something in it would be lost: a save, a stage, a store, scores."""
  return any(
    path.name in RESULTS
    or (path.name.isdigit() and path.parent.name in checkpoint.KINDS)
    for path in pathlib.Path(folder).rglob("*")
    if not path.parent.name.endswith(".partial")
  )


def claim(folder, config: dict) -> None:
  """As `checkpoint.claim`, but a folder without results takes another config.

  What the configuration before has left there (a tokeniser, logs) is removed.

  Raises:
    ValueError: it holds results of another configuration; names each field.
  """
  folder = pathlib.Path(folder)
  try:
    checkpoint.claim(folder, config)
  except files.Damaged:
    raise
  except ValueError:
    # A file of the same name may be anybody's.
    old = files.read_json(folder / "config.json", dict, "delete it.")
    if set(old) != set(config) or holds_result(folder):
      raise
    logger.info(
      "%s: was of another configuration, which left no result: taken", folder
    )
    _clear(folder, keep={".lock"})
    checkpoint.claim(folder, config)


@contextlib.contextmanager
def untouched(folder):
  """Inside the `with`, bad input leaves the folder as it was.

  Unless it holds a result by then. A run that is stopped or killed leaves what
  it has: the same command goes on from there.
  """
  folder = pathlib.Path(folder)
  missing = [p for p in (folder, *folder.parents) if not p.exists()]
  before = set() if missing else {p.name for p in folder.iterdir()}
  try:
    yield
  except lock.Busy:
    raise  # What is new there is of the run that holds it.
  except ValueError:
    if folder.is_dir() and not holds_result(folder):
      _clear(folder, before)
      places.remove(missing)
    raise


def _clear(folder, keep) -> None:
  for name in set(OWN) - set(keep):
    path = folder / name
    if path.is_dir() and not path.is_symlink():
      shutil.rmtree(path)
    else:
      path.unlink(missing_ok=True)
