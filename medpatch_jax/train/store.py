"""Rows of arrays computed once and kept on disk, whole or not at all.

Of each file a checksum is kept, and compared once for each process that reads
the store: half a second for a gigabyte. A damaged store is made anew.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil

import jax
import ml_dtypes
import numpy as np

from medpatch_jax import files
from medpatch_jax.train.log import logger

HALF = ".bfloat16"
KEY = "key.json"


class _Nowhere:
  """Takes rows that another process writes."""

  def __init__(self, shape):
    self.shape = shape

  def __setitem__(self, rows, values):
    pass


class Writer:
  """Allocates .npy files in a folder that gets its name when all is written.

  Of several processes, 0 writes; the others do the same and write nothing.
  """

  def __init__(self, folder, parallel):
    """Starts the store `folder`; an unfinished one of before is dropped."""
    self.folder = pathlib.Path(folder)
    self._parallel = parallel
    self._partial = self.folder.with_name(self.folder.name + ".partial")
    self._arrays: list[np.memmap] = []
    if parallel.first:
      with files.private():
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)

  def allocate(self, name: str, shape, dtype):
    """A new array on disk, to be filled by rows."""
    if not self._parallel.first:
      return _Nowhere(shape)
    # .npy knows no bfloat16: its bits lie there as integers, the name tells.
    half = dtype == ml_dtypes.bfloat16
    path = self._partial / f"{name}{HALF if half else ''}.npy"
    kind = np.uint16 if half else dtype
    with files.room(self.folder), files.private():
      array = np.lib.format.open_memmap(path, "w+", kind, shape)
      # Room is taken now: writing where there is none would end the process.
      if hasattr(os, "posix_fallocate"):  # Not on every system.
        with open(path, "r+b") as file:
          os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    self._arrays.append(array)
    return array.view(dtype)

  def finish(self, key: dict) -> None:
    """Flushes, adds key and checksums, and gives the folder its name.

    Every process calls it, and finds the store there when it returns.
    """
    self._parallel.meet()  # None has yet to look whether the store is there.
    if self._parallel.first:
      for array in self._arrays:
        array.flush()
      files.write_json(self._partial / KEY, key)
      files.seal(self._partial)
      shutil.rmtree(self.folder, ignore_errors=True)
      self._partial.rename(self.folder)
    self._parallel.meet()

  def drop(self) -> None:
    """Removes the files; arrays that are still held stay readable."""
    if self._parallel.first:
      shutil.rmtree(self._partial)


def short(key: dict) -> str:
  """A name for a key: 12 hexadecimal digits."""
  text = json.dumps(key, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest(params) -> str:
  """A hash of every leaf of a tree and its path."""
  state = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    leaf = np.asarray(leaf)
    state.update(f"{jax.tree_util.keystr(path)} {leaf.shape}".encode())
    state.update(leaf.tobytes())
  return state.hexdigest()


def content(path) -> str:
  """A hash of a file, or of a folder's files and their names.

  Hidden files are left out; a file that has not changed is read once.
  """
  path, state = pathlib.Path(path), hashlib.sha256()
  files = sorted(path.rglob("*")) if path.is_dir() else [path]
  for file in files:
    name = file.relative_to(path)
    if file.is_file() and not any(part[0] == "." for part in name.parts):
      state.update(f"{name} {_hash(file, file.stat().st_mtime_ns)}".encode())
  return state.hexdigest()


@functools.cache
def _hash(file: pathlib.Path, changed: int) -> str:
  with open(file, "rb") as f:
    return hashlib.file_digest(f, "sha256").hexdigest()


def read(folder, key: dict, parallel=None) -> dict[str, np.ndarray] | None:
  """The arrays of a store, memory-mapped.

  None if it is absent, of another key, or damaged, which is logged. Process 0
  looks for all.
  """
  folder = pathlib.Path(folder)
  if parallel is None:
    names = _whole(folder, key)
  else:
    names = parallel.same_json(_whole(folder, key) if parallel.first else None)
  if names is None:
    return None
  found = {}
  for name in names:
    x = np.load(folder / f"{name}.npy", mmap_mode="r")
    half = name.endswith(HALF)
    found[name.removesuffix(HALF)] = x.view(ml_dtypes.bfloat16) if half else x
  return found


def _whole(folder, key: dict) -> list[str] | None:
  """Names of the arrays, None unless all is as it was written for this key."""
  if not folder.exists():
    return None
  redo = "made anew"
  try:
    if files.read_json(folder / KEY, dict, redo) != json.loads(json.dumps(key)):
      return None
    names = files.sealed(folder, redo)
  except files.Damaged as error:
    logger.warning("%s", error)
    return None
  return [n.removesuffix(".npy") for n in names if n.endswith(".npy")]
