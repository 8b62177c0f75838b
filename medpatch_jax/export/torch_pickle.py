"""Unpickles what torch.save pickled, but can build nothing else.

No class is ever looked up: tensors become arrays, containers, numbers and
strings are themselves, and an object of any other class becomes `Ignored`.
"""

import collections
import io
import math
import pickle
from collections.abc import Callable

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


class Reader(pickle.Unpickler):
  """Finds no class but those below, so nothing can be executed.

  Args:
    file: read from where it stands to the end of one pickle.
    storage: (dtype, key, count of numbers) -> its numbers, one axis.
    tensors: whether tensors are built; else they become `Ignored`.
  """

  def __init__(
    self,
    file: io.IOBase,
    storage: Callable[[np.dtype, str, int], np.ndarray],
    tensors: bool = True,
  ):
    super().__init__(file, encoding="utf-8")  # Of Python 2.
    self._storage, self._tensors, self._storages = storage, tensors, {}

  def find_class(self, module, name):
    if module == "collections" and name == "OrderedDict":
      return collections.OrderedDict
    if module == "torch._utils" and self._tensors:
      # _rebuild_tensor is that of before torch 0.4.
      if name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        return _tensor
      if name == "_rebuild_parameter":
        return _parameter
    if module == "torch" and name in DTYPES:
      return np.dtype(DTYPES[name])
    return Ignored

  def persistent_load(self, pid):
    if not (isinstance(pid, tuple) and pid):
      raise ValueError("a persistent id of no storage")
    if pid[0] == "module":  # Its class and its source, before torch 1.6.
      return Ignored
    if len(pid) == 6 and pid[5] is not None:
      raise ValueError("a storage that is a view of another")
    if len(pid) not in (5, 6) or pid[0] != "storage":
      raise ValueError("a persistent id of no storage")
    _, dtype, key, _, count = pid[:5]
    if not isinstance(dtype, np.dtype):
      raise ValueError("a storage of unknown type")
    if not (str(key).isascii() and str(key).isdigit()):
      raise ValueError("a storage whose key is no number")
    if not isinstance(count, int) or count < 0:
      raise ValueError(f"storage {key} of {count!r} numbers")
    if (dtype, key, count) not in self._storages:
      self._storages[dtype, key, count] = self._storage(dtype, str(key), count)
    return self._storages[dtype, key, count]


def _tensor(storage, offset, shape, stride, *_):
  """A view on a storage, copied; refuses to look outside of it."""
  if not isinstance(storage, np.ndarray) or storage.ndim != 1:
    raise ValueError("a tensor without a storage")
  if min((*shape, *stride, offset, 0)) < 0 or len(shape) != len(stride):
    raise ValueError("a tensor with a negative or missing size or stride")
  if 0 in shape:
    return np.zeros(shape, storage.dtype)
  last = offset + sum((n - 1) * s for n, s in zip(shape, stride))
  # An expanded tensor (stride 0) could be of any size.
  if max(last + 1, math.prod(shape)) > len(storage):
    raise ValueError("a tensor larger than its storage")
  bytes_ = tuple(s * storage.itemsize for s in stride)
  view = np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_)
  return np.array(view)


def _parameter(data, *_):
  return data
