"""Reads and writes torch.save's files without torch, or any pickle's code.

Two formats: since torch 1.6 a zip with `<root>/data.pkl`, a pickle whose
persistent ids name the storages `<root>/data/<key>`; before, one stream of
pickles (a magic number, the protocol, facts of the machine, what was saved,
the keys of the storages) and the storages in the order of these keys, each
after its int64 count. Numbers lie raw and little-endian in both.
"""

import io
import mmap
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np

from medpatch_jax import files
from medpatch_jax.export import torch_pickle, torch_values

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# Bytes of a zip's list of files, of which each takes about 70.
DIRECTORY = 4 << 20


def read(path):
  """Reads a checkpoint.

  Args:
    path: written by torch.save, of any version since 0.1.10.

  Returns:
    what was saved, tensors as read-only arrays, which share their memory
    where they shared a storage; objects of any class but tensors, dicts,
    lists, tuples, numbers and strings become `Ignored`.

  Raises:
    ValueError: no such file, not of this format, truncated, damaged, or
      beyond a limit of torch_pickle.py.
  """
  try:
    with open(path, "rb") as file:
      start = file.read(2)
      file.seek(0)
      return _zip(file) if start == b"PK" else _stream(file)
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file.") from None
  except IsADirectoryError:
    raise ValueError(f"{path}: is a folder, wanted a file.") from None
  except zipfile.BadZipFile:
    raise ValueError(f"{path}: truncated, or no zip of torch's.") from None
  except ValueError as e:
    # Messages of pickletools quote what they could not read.
    raise ValueError(f"{path}: {str(e)[:200]}.") from None
  # A damaged file can raise almost anything.
  except Exception as e:
    raise ValueError(f"{path}: damaged ({type(e).__name__}).") from None


class _Listing(io.FileIO):
  """A file of which ZipFile reads at most `DIRECTORY` bytes at once."""

  def read(self, size=-1):
    if size > DIRECTORY:
      raise ValueError(f"a zip whose list of files is over {DIRECTORY:,} bytes")
    return super().read(size)


def _zip(file):
  with _Listing(file.fileno(), closefd=False) as listing:
    with zipfile.ZipFile(listing) as archive:
      infos = archive.infolist()
  # Nothing is compressed there; what is could unpack to any size, and so
  # could entries that lie on top of each other.
  if any(i.compress_type != zipfile.ZIP_STORED for i in infos):
    raise ValueError("compressed, and torch.save compresses nothing")
  size = os.fstat(file.fileno()).st_size
  if sum(i.file_size for i in infos) > size:
    raise ValueError("its files are larger than the zip")
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    pickles = [n for n in names if n.endswith("data.pkl")]
    if len(pickles) != 1:
      raise ValueError("a zip, but not one of torch's")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in names and archive.read(order) != b"little":
      raise ValueError("big-endian, wanted little-endian")

    def storage(dtype, key, count):
      name = f"{root}data/{key}"
      if archive.getinfo(name).file_size != count * dtype.itemsize:
        held = archive.getinfo(name).file_size // dtype.itemsize
        raise ValueError(
          f"storage {key} holds {held} numbers, its entry says {count}"
        )
      return np.frombuffer(archive.read(name), dtype)

    pickled = io.BytesIO(archive.read(pickles[0]))
    return torch_pickle.load(pickled, _Storages(storage, size))


class _Storages:
  """Reads each storage once; refuses more of them than the file can hold.

  Args:
    read: (dtype, key, count of numbers) -> the numbers.
    size: bytes of the file.
  """

  def __init__(self, read: Callable, size: int):
    self._read, self._left = read, size
    self.found: dict[str, np.ndarray] = {}

  def __call__(self, dtype, key, count):
    if key not in self.found:
      self._left -= count * dtype.itemsize
      if self._left < 0:
        raise ValueError(
          f"storage {key} of {count} numbers is larger than the file"
        )
      self.found[key] = self._read(dtype, key, count)
    array = self.found[key]
    if (array.dtype, len(array)) != (dtype, count):
      raise ValueError(f"storage {key} is entered twice, and differently")
    return array


def _stream(file):
  """The format of before torch 1.6."""
  if file.read(1) != b"\x80":
    file.seek(0)
    kind = "a tar of torch 0.1.9 or older" if _tar(file) else "no torch file"
    raise ValueError(f"{kind}, or truncated; save it anew with torch.save")
  with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
    # Type and value: a pickle may hold anything.
    magic = _plain(view)
    if not isinstance(magic, int) or magic != MAGIC:
      raise ValueError("a bare pickle, not written by torch.save")
    protocol = _plain(view)
    if not isinstance(protocol, int) or protocol != PROTOCOL:
      raise ValueError(
        f"torch.save's protocol {torch_values.shown(protocol)}, wanted"
        f" {PROTOCOL}"
      )
    machine = _plain(view)
    if not (isinstance(machine, dict) and machine.get("little_endian") is True):
      raise ValueError("big-endian, wanted little-endian")
    # The storages follow on the tensors, which are views of them: made
    # first, and filled then.
    storages = _Storages(lambda dtype, _, n: np.empty(n, dtype), len(view))
    content = torch_pickle.load(view, storages)
    _fill(view, _plain(view), storages.found)
  return content


def _plain(view):
  """A pickle without tensors."""
  return torch_pickle.load(view, _none)


def _none(dtype, key, count):
  raise ValueError("a storage out of place")


def _tar(file) -> bool:
  try:
    return tarfile.is_tarfile(file)
  except (OSError, EOFError):
    return False


def _fill(view, keys, storages: dict[str, np.ndarray]) -> None:
  """Reads the storages in the order of `keys`."""
  # Of Python 2: keys were numbers' names there, too.
  if not (isinstance(keys, list) and all(isinstance(k, str) for k in keys)):
    raise ValueError("a list of storages that holds something else")
  if sorted(keys) != sorted(storages):
    raise ValueError("the storages listed are not those in use")
  for key in keys:
    storage = storages[key]
    count = int.from_bytes(view.read(8), "little", signed=True)
    if count != len(storage):
      raise ValueError(
        f"storage {key} holds {count} numbers, its entry says {len(storage)}"
      )
    data = view.read(storage.nbytes)
    if len(data) != storage.nbytes:
      raise ValueError(f"truncated in storage {key}")
    storage.view(np.uint8)[:] = np.frombuffer(data, np.uint8)


def write(path, content: dict) -> None:
  """Writes nested dicts of arrays and scalars, for torch.load to read.

  The file appears whole or not at all.

  Args:
    path: file.
    content: str -> array (float32 or int64), int, float, str or such a dict.

  Raises:
    ValueError: something else is in it.
  """
  storages: list[np.ndarray] = []
  out = io.BytesIO()
  out.write(b"\x80\x02")  # Protocol 2.
  _emit(out, content, storages)
  out.write(b".")
  with (
    files.whole(path) as part,
    zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
  ):
    archive.writestr("archive/data.pkl", out.getvalue())
    archive.writestr("archive/byteorder", "little")
    for key, x in enumerate(storages):
      archive.writestr(f"archive/data/{key}", x.tobytes())
    archive.writestr("archive/version", "3\n")


def _emit(out, x, storages) -> None:
  if isinstance(x, dict):
    out.write(b"}(")
    for key, value in x.items():
      _emit(out, str(key), storages)
      _emit(out, value, storages)
    out.write(b"u")
  elif isinstance(x, str):
    data = x.encode("utf-8")
    out.write(b"X" + struct.pack("<I", len(data)) + data)
  elif isinstance(x, bool):
    out.write(b"\x88" if x else b"\x89")
  elif isinstance(x, int):
    data = pickle.encode_long(x)
    out.write(b"\x8a" + struct.pack("<B", len(data)) + data)
  elif isinstance(x, float):
    out.write(b"G" + struct.pack(">d", x))
  elif isinstance(x, np.ndarray) and x.dtype in (np.float32, np.int64):
    _emit_tensor(out, np.ascontiguousarray(x).reshape(x.shape), storages)
  else:
    raise ValueError(f"cannot write {type(x).__name__} into a checkpoint.")


def _emit_tensor(out, x, storages) -> None:
  """torch._utils._rebuild_tensor_v2(storage, 0, shape, stride, False, {})."""
  kind = "FloatStorage" if x.dtype == np.float32 else "LongStorage"
  out.write(b"ctorch._utils\n_rebuild_tensor_v2\n((")
  _emit(out, "storage", storages)
  out.write(f"ctorch\n{kind}\n".encode())
  for item in (str(len(storages)), "cpu", int(x.size)):
    _emit(out, item, storages)
  out.write(b"tQ")
  _emit(out, 0, storages)
  for sizes in (x.shape, tuple(s // x.itemsize for s in x.strides)):
    out.write(b"(")
    for n in sizes:
      _emit(out, int(n), storages)
    out.write(b"t")
  out.write(b"\x89ccollections\nOrderedDict\n)RtR")
  storages.append(x)
