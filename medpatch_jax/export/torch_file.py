"""Reads and writes torch.save's files without torch, or any pickle's code.

Two formats: since torch 1.6 a zip with `<root>/data.pkl`, a pickle whose
persistent ids name the storages `<root>/data/<key>`; before, one stream of
pickles (a magic number, the protocol, facts of the machine, what was saved,
the keys of the storages) and the storages in the order of these keys, each
after its int64 count. Numbers lie raw and little-endian in both.
"""

import functools
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np

from medpatch_jax.export.torch_pickle import Reader

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read(path):
  """Reads a checkpoint.

  Args:
    path: written by torch.save, of any version since 0.1.10.

  Returns:
    what was saved, tensors as arrays; objects of any class but tensors,
    dicts, lists, tuples, numbers and strings become `Ignored`.

  Raises:
    ValueError: no such file, not of this format, truncated, or damaged.
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
    raise ValueError(f"{path}: {e}.") from None
  # A damaged pickle can raise almost anything.
  except Exception as e:
    raise ValueError(f"{path}: damaged ({type(e).__name__}).") from None


def _zip(file):
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    pickles = [n for n in names if n.endswith("data.pkl")]
    if len(pickles) != 1:
      raise ValueError("a zip, but not one of torch's")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in names and archive.read(order) != b"little":
      raise ValueError("big-endian, wanted little-endian")
    # Nothing is compressed there; what is could unpack to any size.
    if any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
      raise ValueError("compressed, and torch.save compresses nothing")

    def storage(dtype, key, count):
      array = np.frombuffer(archive.read(f"{root}data/{key}"), dtype)
      if len(array) != count:
        raise ValueError(
          f"storage {key} holds {len(array)} numbers, its entry says {count}"
        )
      return array

    return Reader(io.BytesIO(archive.read(pickles[0])), storage).load()


def _stream(file):
  """The format of before torch 1.6."""
  plain = functools.partial(Reader, file, _none)
  if file.read(1) != b"\x80":
    file.seek(0)
    kind = "a tar of torch 0.1.9 or older" if _tar(file) else "no torch file"
    raise ValueError(f"{kind}, or truncated; save it anew with torch.save")
  file.seek(0)
  # Type and value: a pickle may hold anything.
  if (magic := plain().load()) != MAGIC or not isinstance(magic, int):
    raise ValueError("a bare pickle, not written by torch.save")
  if (protocol := plain().load()) != PROTOCOL:
    raise ValueError(f"torch.save's protocol {protocol!r}, wanted {PROTOCOL}")
  machine = plain().load()
  if not (isinstance(machine, dict) and machine.get("little_endian") is True):
    raise ValueError("big-endian, wanted little-endian")
  start = file.tell()
  counts = _survey(file)
  storages = _storages(file, plain().load(), counts)
  file.seek(start)
  return Reader(file, lambda _, key, __: storages[key]).load()


def _none(dtype, key, count):
  raise ValueError("a storage out of place")


def _tar(file) -> bool:
  try:
    return tarfile.is_tarfile(file)
  except (OSError, EOFError):
    return False


def _survey(file) -> dict[str, tuple[np.dtype, int]]:
  """Which storages the pickle at hand names; the file then stands behind it."""
  counts: dict[str, tuple[np.dtype, int]] = {}
  size = os.fstat(file.fileno()).st_size

  def storage(dtype, key, count):
    if counts.setdefault(key, (dtype, count)) != (dtype, count):
      raise ValueError(f"storage {key} is entered twice, and differently")
    if count * dtype.itemsize > size:
      raise ValueError(
        f"storage {key} of {count} numbers is larger than the file"
      )
    return np.zeros(0, dtype)

  Reader(file, storage, tensors=False).load()
  return counts


def _storages(file, keys, counts) -> dict[str, np.ndarray]:
  if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(counts):
    raise ValueError("the storages listed are not those in use")
  storages = {}
  for key in map(str, keys):
    dtype, count = counts[key]
    found = int.from_bytes(file.read(8), "little", signed=True)
    if found != count:
      raise ValueError(
        f"storage {key} holds {found} numbers, its entry says {count}"
      )
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
      raise ValueError(f"truncated in storage {key}")
    storages[key] = np.frombuffer(data, dtype)
  return storages


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
  part = f"{path}.part"
  with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
    archive.writestr("archive/data.pkl", out.getvalue())
    archive.writestr("archive/byteorder", "little")
    for key, x in enumerate(storages):
      archive.writestr(f"archive/data/{key}", x.tobytes())
    archive.writestr("archive/version", "3\n")
  os.replace(part, path)


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
