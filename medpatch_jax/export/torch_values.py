"""What a pickle of torch.save may build: tensors, dicts, what is ignored."""

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
# Greater numbers are no key, size or stride of a checkpoint; and integers of
# equal hashes, that would make a dict slow, are greater.
GREATEST = 2**60


class Ignored:
  """Stands in for an object of a class that is not let in; holds nothing."""


DICT, TENSOR, PARAMETER = object(), object(), object()
GLOBALS = {
  "collections OrderedDict": DICT,
  # _rebuild_tensor is that of before torch 0.4.
  "torch._utils _rebuild_tensor": TENSOR,
  "torch._utils _rebuild_tensor_v2": TENSOR,
  "torch._utils _rebuild_parameter": PARAMETER,
  **{f"torch {name}": np.dtype(dtype) for name, dtype in DTYPES.items()},
}


def checked(key):
  """A key whose hash is quick, and not of an enemy's choosing."""
  if isinstance(key, int) and abs(key) < GREATEST:
    return key
  if isinstance(key, (str, bytes, float, type(None), Ignored)):
    return key
  raise ValueError(f"a key of type {type(key).__name__}, or too large")


def call(function, arguments: tuple):
  """What a call of one of `GLOBALS` returns; of anything ignored, `Ignored`.

  Raises:
    ValueError: other arguments than torch.save writes, or no function.
  """
  if function is DICT:
    # Python 2 gave the items as an argument, [[key, value], ...].
    pairs = arguments[0] if arguments else []
    if not isinstance(pairs, list) or not all(
      isinstance(p, list) and len(p) == 2 for p in pairs
    ):
      raise ValueError("an OrderedDict of no items")
    return {checked(key): value for key, value in pairs}
  if function is TENSOR:
    return tensor(*arguments)
  if function is PARAMETER:
    if not (arguments and isinstance(arguments[0], np.ndarray)):
      raise ValueError("a parameter that is no tensor")
    return arguments[0]
  if isinstance(function, Ignored):
    return Ignored()
  raise ValueError(f"a call of a {type(function).__name__}")


def entry(pid) -> tuple[np.dtype, str, int]:
  """(dtype, key, count) of a storage's persistent id."""
  if len(pid) == 6 and pid[5] is not None:
    raise ValueError("a storage that is a view of another")
  if len(pid) not in (5, 6) or pid[0] != "storage":
    raise ValueError("a persistent id of no storage")
  _, dtype, key, _, count = pid[:5]
  if not isinstance(dtype, np.dtype):
    raise ValueError("a storage of unknown type")
  if not (isinstance(key, str) and key.isascii() and key.isdigit()):
    raise ValueError("a storage whose key is no number")
  if type(count) is not int or not 0 <= count < GREATEST:
    raise ValueError(f"storage {key[:20]} of {shown(count)} numbers")
  return dtype, key, count


def shown(value) -> str:
  """A value for a message: nothing in a file may say how long that gets."""
  short = type(value) is int and abs(value) < GREATEST
  return str(value) if short else f"a {type(value).__name__}"


def tensor(storage=None, offset=None, shape=None, stride=None, *_):
  """A view of a storage; refuses to look outside of it."""
  if not isinstance(storage, np.ndarray) or storage.ndim != 1:
    raise ValueError("a tensor without a storage")
  if not (isinstance(shape, tuple) and isinstance(stride, tuple)):
    raise ValueError("a tensor without sizes or strides")
  sizes = (offset, *shape, *stride)
  if not all(type(n) is int and 0 <= n < GREATEST for n in sizes):
    raise ValueError("a tensor with a negative or missing size or stride")
  if len(shape) != len(stride) or len(shape) > 32:
    raise ValueError("a tensor with a missing stride, or of over 32 axes")
  if 0 in shape:
    # The other sizes are of nothing, and could be of anything.
    return np.zeros([min(n, 1) for n in shape], storage.dtype)
  last = offset + sum((n - 1) * s for n, s in zip(shape, stride))
  # An expanded tensor (stride 0) could be of any size.
  size = 1
  for n in shape:
    size = min(size * n, GREATEST)
  if max(last + 1, size) > len(storage):
    raise ValueError("a tensor larger than its storage")
  bytes_ = tuple(s * storage.itemsize for s in stride)
  return np.lib.stride_tricks.as_strided(
    storage[offset:], shape, bytes_, writeable=False
  )
