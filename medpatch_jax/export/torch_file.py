"""Reads and writes PyTorch's zip checkpoints without PyTorch, or any pickle's
code: tensors, numbers, strings and containers only.

The format: a zip with `<root>/data.pkl`, a pickle whose persistent ids name
the storages `<root>/data/<key>`, raw little-endian bytes.
"""

import collections
import io
import math
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

DTYPES = {
  "DoubleStorage": np.float64,
  "FloatStorage": np.float32,
  "HalfStorage": np.float16,
  "BFloat16Storage": ml_dtypes.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}


class Ignored:
  """Stands in for an object of a class that is not let in; holds nothing."""

  def __init__(self, *args, **kwargs):
    pass

  def __setstate__(self, state):
    pass

  def __setitem__(self, key, value):
    pass

  def __hash__(self):
    return id(self)

  def append(self, value):
    pass

  def extend(self, values):
    pass

  def add(self, value):
    pass


def read(path):
  """Reads a checkpoint.

  Args:
    path: written by torch.save since version 1.6.

  Returns:
    what was saved, tensors as arrays; objects of any class but tensors,
    dicts, lists, tuples, numbers and strings become `Ignored`.

  Raises:
    ValueError: no such file, not of this format, truncated, or damaged.
  """
  try:
    with zipfile.ZipFile(path) as archive:
      pickles = [n for n in archive.namelist() if n.endswith("data.pkl")]
      if len(pickles) != 1:
        raise ValueError(f"{path}: a zip, but not one of PyTorch's.")
      root = pickles[0].removesuffix("data.pkl")
      order = f"{root}byteorder"
      if order in archive.namelist() and archive.read(order) != b"little":
        raise ValueError(f"{path}: big-endian; wanted little-endian.")
      return _Reader(archive, root).load()
  except zipfile.BadZipFile:
    raise ValueError(
      f"{path}: not a zip checkpoint of PyTorch (1.6 or later), or truncated."
      " An older one can be saved anew with torch.save."
    ) from None
  except FileNotFoundError:
    raise ValueError(f"{path}: no such file.") from None
  except ValueError:
    raise
  # A damaged pickle can raise almost anything.
  except Exception as e:
    raise ValueError(f"{path}: damaged ({type(e).__name__}).") from None


class _Reader(pickle.Unpickler):
  """Finds no class but those below, so nothing can be executed."""

  def __init__(self, archive, root):
    super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
    self._archive, self._root, self._storages = archive, root, {}

  def find_class(self, module, name):
    if module == "collections" and name == "OrderedDict":
      return collections.OrderedDict
    if module == "torch._utils" and name == "_rebuild_tensor_v2":
      return _tensor
    if module == "torch._utils" and name == "_rebuild_parameter":
      return _parameter
    if module == "torch" and name in DTYPES:
      return np.dtype(DTYPES[name])
    return Ignored

  def persistent_load(self, pid):
    if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
      raise ValueError("a persistent id that is no storage")
    _, dtype, key, _, size = pid
    if not isinstance(dtype, np.dtype) or not str(key).isdigit():
      raise ValueError("a storage of unknown type")
    if key not in self._storages:
      data = self._archive.read(f"{self._root}data/{key}")
      array = np.frombuffer(data, dtype)
      if len(array) != size:
        raise ValueError(
          f"storage {key} holds {len(array)} numbers, its entry says {size}"
        )
      self._storages[key] = array
    return self._storages[key]


def _tensor(storage, offset, shape, stride, *_):
  """A view on a storage, copied; refuses to look outside of it."""
  if min((*shape, *stride, offset, 0)) < 0:
    raise ValueError("a tensor with a negative size or stride")
  last = offset + sum((n - 1) * s for n, s in zip(shape, stride))
  if 0 in shape:
    return np.zeros(shape, storage.dtype)
  # An expanded tensor (stride 0) could be of any size.
  if max(last + 1, math.prod(shape)) > len(storage):
    raise ValueError("a tensor larger than its storage")
  bytes_ = tuple(s * storage.itemsize for s in stride)
  view = np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_)
  return np.array(view)


def _parameter(data, *_):
  return data


def write(path, content: dict) -> None:
  """Writes nested dicts of arrays and scalars, for torch.load to read.

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
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
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
