"""Rows of arrays computed once and kept on disk, whole or not at all."""

import functools
import hashlib
import json
import os
import pathlib
import shutil

import jax
import ml_dtypes
import numpy as np

from medpatch_jax.train import disk

HALF = ".bfloat16"


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
    with disk.room(self.folder):
      array = np.lib.format.open_memmap(path, "w+", kind, shape)
      # Room is taken now: writing where there is none would end the process.
      if hasattr(os, "posix_fallocate"):  # Not on every system.
        with open(path, "r+b") as file:
          os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    self._arrays.append(array)
    return array.view(dtype)

  def finish(self, key: dict) -> None:
    """Flushes, writes the key the content depends on, and names the folder.

    Every process calls it, and finds the store there when it returns.
    """
    self._parallel.meet()  # None has yet to look whether the store is there.
    if self._parallel.first:
      for array in self._arrays:
        array.flush()
      (self._partial / "key.json").write_text(json.dumps(key, sort_keys=True))
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


def read(folder, key: dict) -> dict[str, np.ndarray] | None:
  """The arrays of a store, memory-mapped; None if absent or of another key."""
  folder = pathlib.Path(folder)
  path = folder / "key.json"
  if not path.exists() or json.loads(path.read_text()) != json.loads(
    json.dumps(key)
  ):
    return None
  found = {p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")}
  return {
    name.removesuffix(HALF): x.view(ml_dtypes.bfloat16)
    if name.endswith(HALF)
    else x
    for name, x in found.items()
  }
