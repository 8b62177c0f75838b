"""A build's working folder: what a stopped build has finished is found again.

The folder's name is a hash of everything that a build's result depends on, so
parts made with another flag, file or version of the code are never taken up.
A part appears under its name only when it is whole.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import sys

import medpatch_jax
from data.errors import InputError
from medpatch_jax import files

_CODE = (
  "data",
  *(f"medpatch_jax/{n}" for n in ("schema.py", "files.py", "input")),
)


_NAMED = "named.json"
_READ = "dataset_info.json", "features.json", "metadata.json"


class OutOfRoom(InputError):
  """Disk or memory ran out: what is finished is kept for the next try."""


def key(given, files):
  """Name for what `given` (JSON-like) and `files` (paths) and the code make.

  A file counts by its path, size and time of change, as in `make`; the code
  of the builder and the versions of what it runs on by their content.
  """
  stamps = []
  for path in sorted(str(f) for f in files):
    try:
      found = os.stat(path)
    except OSError:
      continue  # Told by who reads it.
    stamps.append([os.path.abspath(path), found.st_size, found.st_mtime_ns])
  text = json.dumps([given, stamps, _code()], sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code():
  import duckdb
  import numpy
  import PIL

  total = hashlib.sha256()
  roots = pathlib.Path(__file__), pathlib.Path(medpatch_jax.__file__)
  for root, name in zip((roots[0], roots[1], roots[1]), _CODE):
    top = root.parent.parent / name
    for path in sorted([top, *top.rglob("*.py")]):
      if path.is_file():
        total.update(path.read_bytes())
  versions = duckdb.__version__, numpy.__version__, PIL.__version__
  return [total.hexdigest(), *versions]


@contextlib.contextmanager
def workplace(parent, name):
  """The folder `parent/.part-<name>`, for one build at a time.

  It is removed at the end, and after bad input; it stays after anything else
  that ends a build, even a kill. What builds of other names left is removed.

  Raises:
    InputError: another build works there.
  """
  folder = place(parent, name)
  lock = files.hold(folder)
  if lock is None:
    raise InputError(
      f"{parent}: another build of this dataset is running; wait for it, or"
      " stop it."
    )
  for other in pathlib.Path(parent).glob(".part-*"):
    if other != folder and (held := files.hold(other)):
      shutil.rmtree(other, ignore_errors=True)
      held.close()
  try:
    yield folder
  except OutOfRoom:
    raise
  except InputError:
    _remove(folder)
    raise
  except Exception as error:
    if files.full(error):
      raise OutOfRoom(
        f"{parent}: the disk is full; make room and give the same command"
        " again: what is finished is kept."
      ) from None
    raise
  else:
    _remove(folder)
  finally:
    lock.close()


def place(parent, name):
  """The working folder of a build: what `key` returned is its name."""
  return pathlib.Path(parent) / f".part-{name}"


def _remove(folder):
  """Removes a working folder; that its work is done is forgotten last."""
  last = folder / "lock", folder / _NAMED
  with contextlib.suppress(OSError):
    for path in folder.iterdir():
      if path.is_dir():
        shutil.rmtree(path)
      elif path not in last:
        path.unlink()
    for path in last:
      path.unlink(missing_ok=True)
    folder.rmdir()


def name(folder, final):
  """Checksums the dataset of a working folder and gives it its name, `final`.

  What is there already is replaced.
  """
  made, old = folder / "dataset", folder / "replaced"
  # What is read again; a report may be edited.
  files.seal(made, ("*.array_record-*", *_READ))
  files.write_json(folder / _NAMED, {"sums": files.crc(made / files.SUMS)})
  if final.exists():
    shutil.rmtree(old, ignore_errors=True)
    final.rename(old)
  made.rename(final)


def named(folder, final, empty=False):
  """Whether the working folder's dataset has got its name, `final`.

  Args:
    folder: of `workplace`.
    final: the dataset's.
    empty: what to think of a folder that is there and empty.
  """
  if not folder.is_dir() or not final.is_dir():
    return False
  if not any(folder.iterdir()):
    return empty
  try:
    found = files.read_json(folder / _NAMED, {"sums": int}, "made anew")
    return files.crc(final / files.SUMS) == found["sums"]
  except (files.Damaged, OSError):
    return False


def note(path, values, of):
  """Writes a note on the finished file `of`: a dict, with its checksum."""
  files.write_json(path, {"crc": files.crc(of), "of": values})


def noted(path, of=None):
  """What `note` wrote there, None where it or the file `of` is not whole."""
  try:
    found = files.read_json(path, {"crc": int, "of": dict}, "made anew")
  except files.Damaged:
    return None
  if of and not (of.is_file() and files.crc(of) == found["crc"]):
    return None
  return found["of"]


def check_disk(folder, needed, kept, quiet=False):
  """Says how much disk a build will take; refuses if there is less.

  Args:
    folder: an existing folder on the disk in question.
    needed: bytes at most while building.
    kept: bytes of them that stay.
    quiet: nothing on stderr.

  Raises:
    InputError: less is free.
  """
  there = sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*.parquet"))
  needed, free = max(needed - there, 0), shutil.disk_usage(folder).free
  if free < needed:
    # What an earlier build has finished stays.
    kind = OutOfRoom if there else InputError
    raise kind(
      f"--data_dir: about {size(needed)} of disk are needed while building"
      f" ({size(kept)} of it stay), {size(free)} are free; make room, or give"
      " a --data_dir on another disk."
    )
  if not quiet:
    print(
      f"disk: about {size(needed)} while building, {size(kept)} of it stay;"
      f" {size(free)} free",
      file=sys.stderr,
      flush=True,
    )


def bytes_of(memory):
  """Bytes of a size such as "2GB"."""
  return float(memory[:-2]) * {"MB": 1e6, "GB": 1e9}[memory[-2:]]


def size(count):
  """Bytes in words."""
  for unit, step in (("GB", 1e9), ("MB", 1e6)):
    if count >= step:
      return f"{count / step:,.1f} {unit}"
  return f"{count / 1e3:,.0f} kB"
