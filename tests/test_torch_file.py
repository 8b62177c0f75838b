"""Torch's files read and written without torch; nothing is ever executed."""

import argparse
import collections
import contextlib
import io
import pickle
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from medpatch_jax.export import torch_file, torch_pickle, torch_values


def _zip(path, pickled, storage=b"\x00" * 16):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", pickled)
    archive.writestr("archive/data/0", storage)
  return path


def _text(text):
  return b"X" + len(text).to_bytes(4, "little") + text.encode()


FLOATS = np.arange(4, dtype="<f4").tobytes()


def _stream(
  path,
  pickled,
  storages=((4, FLOATS),),
  keys=("0",),
  magic=torch_file.MAGIC,
  protocol=torch_file.PROTOCOL,
  little=True,
):
  """A file as torch before 1.6 wrote it."""
  machine = {"protocol_version": 1001, "little_endian": little}
  parts = [pickle.dumps(x, 2) for x in (magic, protocol, machine)]
  parts += [pickled, pickle.dumps(list(keys), 2)]
  for count, data in storages:
    parts += [struct.pack("<q", count), data]
  path.write_bytes(b"".join(parts))
  return path


def _tensor(
  shape, stride, offset=0, count=4, kind="FloatStorage", key="0", view=b""
):
  """The pickle of one tensor, every number below 128.

  `view` is pickled behind the count: None, as b"N", before torch 1.6.
  """

  def numbers(values):
    return b"(" + b"".join(b"K" + bytes([v]) for v in values) + b"t"

  return (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(("
    + _text("storage")
    + f"ctorch\n{kind}\n".encode()
    + _text(key)
    + _text("cpu")
    + b"K"
    + bytes([count])
    + view
    + b"tQK"
    + bytes([offset])
    + numbers(shape)
    + numbers(stride)
    + b"\x89ccollections\nOrderedDict\n)RtR."
  )


@pytest.mark.parametrize("old", [False, True])
def test_a_view_of_a_storage_by_hand(tmp_path, old):
  def read(*args, **kwargs):
    pickled = _tensor(*args, **kwargs, view=b"N" * old)
    if old:
      return torch_file.read(_stream(tmp_path / "a.bin", pickled))
    return torch_file.read(_zip(tmp_path / "a.bin", pickled, FLOATS))

  np.testing.assert_array_equal(read((2, 2), (1, 2)), [[0, 2], [1, 3]])
  np.testing.assert_array_equal(read((2,), (1,), offset=2), [2, 3])
  np.testing.assert_array_equal(read((), (), offset=3), 3)


def test_storages_of_the_old_format_come_in_their_own_order(tmp_path):
  """Keys are sorted as strings, so storage 10 lies before storage 2."""

  def tensor(kind, key, count):
    pickled = _tensor((count,), (1,), 0, count, kind, key, b"N")
    return pickled.removeprefix(b"\x80\x02").removesuffix(b".")

  pickled = b"\x80\x02}(" + _text("a") + tensor("FloatStorage", "2", 2)
  pickled += _text("b") + tensor("LongStorage", "10", 1)
  # Of Python 2: a plain string, and the tensor of before torch 0.4.
  pickled += b"U\x04c\xc3\xa4c" + tensor("FloatStorage", "2", 2) + b"u."
  storages = (
    (1, np.array([7], "<i8").tobytes()),
    (2, np.array([1, 2], "<f4").tobytes()),
  )
  path = tmp_path / "a.bin"
  read = torch_file.read(_stream(path, pickled, storages, ("10", "2")))
  np.testing.assert_array_equal(read["a"], [1, 2])
  np.testing.assert_array_equal(read["b"], [7])
  np.testing.assert_array_equal(read["cäc"], [1, 2])


@pytest.mark.parametrize(
  "pickled",
  [
    _tensor((5,), (1,)),
    _tensor((2, 2), (2, 2)),
    _tensor((4,), (1,), offset=1),
    _tensor((99, 99), (0, 0)),
    _tensor((4,), (1,), count=5),
    _tensor((4,), (1,), kind="ComplexFloatStorage"),
    _tensor((4,), (1,), key="1"),
    _tensor((4,), (1,), key="../0"),
    b"\x80\x02X\x01\x00\x00\x00aQ.",
    b"\x80\x02}(",
    b"",
  ],
)
def test_what_does_not_fit_its_storage_is_refused(tmp_path, pickled):
  with pytest.raises(ValueError) as e:
    torch_file.read(_zip(tmp_path / "a.bin", pickled))
  assert "\n" not in str(e.value)


OLD = _tensor((4,), (1,), view=b"N")
VIEW = b"(" + _text("1") + b"K\x00K\x04t"  # Of another storage.


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(pickled=_tensor((5,), (1,), view=b"N")), "larger than its storage"),
    (dict(pickled=_tensor((99, 99), (0, 0), view=b"N")), "larger than its"),
    (dict(pickled=_tensor((4,), (1,), view=VIEW)), "a view of another"),
    (
      dict(pickled=_tensor((4,), (1,), kind="ComplexStorage", view=b"N")),
      "unknown type",
    ),
    (dict(pickled=_tensor((4,), (1,), count=5, view=b"N")), "says 5"),
    (
      dict(pickled=OLD.replace(b"K\x04N", b"J\xff\xff\xff\x7fN")),
      "2147483647 numbers is larger than the file",
    ),
    (dict(pickled=OLD.replace(b"K\x04N", b"J\xff\xff\xff\xffN")), "of -1 num"),
    (dict(pickled=b"\x80\x02" + b"(" + _text("other") + b"tQ."), "no storage"),
    (dict(pickled=b"\x80\x02}("), "damaged"),
    (dict(storages=((-1, FLOATS),)), "holds -1 numbers, its entry says 4"),
    (dict(storages=((2**62, FLOATS),)), "its entry says 4"),
    (dict(storages=((4, FLOATS[:15]),)), "truncated in storage 0"),
    (dict(storages=()), "holds 0 numbers"),
    (dict(keys=()), "not those in use"),
    (dict(keys=("0", "1")), "not those in use"),
    (dict(magic=1), "a bare pickle"),
    (dict(protocol=1000), "protocol 1000, wanted 1001"),
    (dict(little=False), "big-endian"),
  ],
)
def test_damaged_files_of_the_old_format_are_refused(tmp_path, change, message):
  file = _stream(tmp_path / "a.bin", **{"pickled": OLD} | change)
  with pytest.raises(ValueError, match=message) as e:
    torch_file.read(file)
  assert str(e.value).startswith(str(file)) and "\n" not in str(e.value)


def test_cut_short_anywhere_is_refused(tmp_path):
  whole = _stream(tmp_path / "a.bin", OLD).read_bytes()
  np.testing.assert_array_equal(torch_file.read(tmp_path / "a.bin"), range(4))
  for n in range(len(whole)):
    (tmp_path / "a.bin").write_bytes(whole[:n])
    with pytest.raises(ValueError, match="a.bin"):
      torch_file.read(tmp_path / "a.bin")


def test_other_kinds_of_files_are_refused(tmp_path):
  file = tmp_path / "a.bin"
  with tarfile.open(file, "w") as archive:
    archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
  with pytest.raises(ValueError, match="tar of torch 0.1.9"):
    torch_file.read(file)
  file.write_bytes(pickle.dumps({"a": 1}))
  with pytest.raises(ValueError, match="bare pickle"):
    torch_file.read(file)
  with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("archive/data.pkl", b"\x80\x02N.")
  with pytest.raises(ValueError, match="compressed"):
    torch_file.read(file)
  file.write_bytes(file.read_bytes()[:-8])
  with pytest.raises(ValueError, match="truncated"):
    torch_file.read(file)
  with pytest.raises(ValueError, match="a folder"):
    torch_file.read(tmp_path)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
  "call",
  [
    b"cos\nsystem\n(" + _text("touch executed") + b"tR.",
    b"cposix\nsystem\n(" + _text("touch executed") + b"tR.",
    b"cbuiltins\nexec\n(" + _text("open('executed', 'w')") + b"tR.",
    b"\x80\x02csubprocess\nPopen\n(" + _text("touch executed") + b"t\x81.",
    b"(" + _text("touch executed") + b"ios\nsystem\n.",
    b"cbuiltins\nopen\n(" + _text("executed") + _text("w") + b"tR.",
  ],
)
def test_nothing_is_executed(tmp_path, monkeypatch, call, old):
  monkeypatch.chdir(tmp_path)
  if old and not call.startswith(b"\x80"):
    call = b"\x80\x02" + call
  make = dict(storages=(), keys=()) if old else {}
  file = (_stream if old else _zip)(tmp_path / "a.bin", call, **make)
  content = torch_file.read(file)
  assert isinstance(content, torch_values.Ignored)
  assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


# Files that an unpickler dies of, hangs over or fills the memory for.
DEEP = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
DEEP_KEY = b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns."
# x = (x, x), 40 times: few opcodes, 2 ** 40 values to visit.
DOUBLED = b"N" + b"2\x86" * 40
DOUBLED_LIST = b"]q\x00" + b"](h\x00h\x00eq\x00" * 40
ITSELF = b"\x80\x02]q\x00h\x00a."
LARGE_MEMO = b"\x80\x02Nr\xff\xff\xff\xff."
# A GLOBAL of ours, and a state for it.
STATE = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
STATE += b"}X\x01\x00\x00\x00aK\x01sb."
EQUAL_HASHES = b"\x80\x02}(" + b"".join(
  b"\x8a\x09" + (i * (2**61 - 1)).to_bytes(9, "little") + b"N"
  for i in range(1, 100)
)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
  "pickled, message",
  [
    (DEEP, "deep"),
    (DEEP_KEY, "a key of type tuple"),
    (b"\x80\x02}" + DOUBLED + b"Ns.", "a key of type tuple"),
    (b"\x80\x02" + DOUBLED + b".", "more than 50,000 values"),
    (b"\x80\x02" + DOUBLED_LIST + b".", "more than 50,000 values"),
    (b"\x80\x02}]Ns.", "a key of type list"),
    (ITSELF, "deep"),
    (STATE, "changed as another"),
    (EQUAL_HASHES + b"u.", "a key of type int, or too large"),
    (b"\x80\x02" + b"N0" * 200_000 + b".", "300,000 opcodes"),
    # Lengths of what is not there.
    (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fa.", "remain"),
    (b"\x80\x04X\xff\xff\xff\xffa.", "remain"),
    (b"\x80\x02\x8b\xff\xff\xff\x7fa.", "not enough data"),
    # Read from where nothing is, or what is not written.
    (b"\x80\x02.", "empty stack"),
    (b"\x80\x02(.", "empty stack"),
    (b"\x80\x020.", "damaged"),
    (b"\x80\x02t.", "damaged"),
    (b"\x80\x02h\x07.", "damaged"),
    (b"\x80\x02\x82\x01.", "opcode EXT1"),
    (b"S" + b"x" * 5000 + b"\n.", "quotes"),
    (b"P0\n.", "opcode PERSID"),
    # Tensors whose arguments are something else.
    (b"\x80\x02ctorch._utils\n_rebuild_tensor\n)R.", "without a storage"),
    (b"\x80\x02ctorch._utils\n_rebuild_parameter\nN\x85R.", "no tensor"),
    (b"\x80\x02K\x01)R.", "a call of a int"),
  ],
)
def test_no_file_ends_hangs_or_fills_the_process(
  tmp_path, monkeypatch, pickled, message, old
):
  """Each is refused in one line, and at once."""
  monkeypatch.setattr(torch_pickle, "OPCODES", 300_000)
  monkeypatch.setattr(torch_pickle, "VALUES", 50_000)
  if old and not pickled.startswith(b"\x80"):
    pickled = b"\x80\x02" + pickled
  make = dict(storages=(), keys=()) if old else {}
  file = (_stream if old else _zip)(tmp_path / "a.bin", pickled, **make)
  with pytest.raises(ValueError, match=message) as e:
    torch_file.read(file)
  assert str(e.value).startswith(f"{file}: ") and len(str(e.value)) < 300
  assert "\n" not in str(e.value)
  assert vars(torch_values.tensor) == {}


@pytest.mark.parametrize("old", [False, True])
def test_a_number_at_a_great_place_of_the_memo_takes_no_room(tmp_path, old):
  make = dict(storages=(), keys=()) if old else {}
  file = (_stream if old else _zip)(tmp_path / "a.bin", LARGE_MEMO, **make)
  tracemalloc.start()
  assert torch_file.read(file) is None
  assert tracemalloc.get_traced_memory()[1] < 1e6
  tracemalloc.stop()


@pytest.mark.parametrize("old", [False, True])
def test_a_shared_storage_stays_shared(tmp_path, old):
  """A thousand tensors over one storage take the room of one."""
  data, count = np.arange(125_000, dtype="<f4").tobytes(), 125_000
  one = _tensor((4,), (1,), view=b"N" * old)
  count_ = b"J" + count.to_bytes(4, "little")
  one = one.replace(b"cpuK\x04", b"cpu" + count_)
  one = one.replace(b"(K\x04t", b"(" + count_ + b"t")[2:-1]
  pickled = b"\x80\x02](" + one * 1000 + b"e."
  make = dict(storages=((count, data),)) if old else dict(storage=data)
  file = (_stream if old else _zip)(tmp_path / "a.bin", pickled, **make)
  tracemalloc.start()
  read = torch_file.read(file)
  assert tracemalloc.get_traced_memory()[1] < 20e6
  tracemalloc.stop()
  assert len(read) == 1000 and np.shares_memory(read[0], read[-1])
  np.testing.assert_array_equal(read[7], np.arange(count))
  assert not read[0].flags.writeable


def test_views_that_are_never_done_with_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(torch_pickle, "VIEWED", 0)
  one = _tensor((4,), (1,))[2:-1]
  for times, refused in ((16, False), (17, True)):
    file = _zip(tmp_path / "a.bin", b"\x80\x02](" + one * times + b"e.")
    with (
      pytest.raises(ValueError, match="of one storage again and again")
      if refused
      else contextlib.nullcontext()
    ):
      torch_file.read(file)


def test_zips_that_hold_more_than_they_are_long_are_refused(tmp_path):
  """Entries on top of each other, and a list of files without an end."""
  file = _zip(tmp_path / "a.bin", b"\x80\x02N.", b"\0" * 4096)
  whole = file.read_bytes()
  start = whole.index(b"PK\x01\x02")
  end = whole.rindex(b"PK\x05\x06")
  listing = whole[start:end]
  last = listing[listing.rindex(b"PK\x01\x02") :]

  def repeated(times):
    listed = listing + last * times
    size = struct.pack("<HHHHIIH", 0, 0, 0, 0, len(listed), start, 0)
    return whole[:start] + listed + b"PK\x05\x06" + size

  file.write_bytes(repeated(500))
  with pytest.raises(ValueError, match="larger than the zip"):
    torch_file.read(file)
  file.write_bytes(repeated(80_000))
  with pytest.raises(ValueError, match="list of files is over"):
    torch_file.read(file)


def test_keys_and_classes_of_other_files_are_read(tmp_path):
  """Optimizers' numbers, thresholds, classes and their states, sets."""
  content = {1: [3], 0.5: None, False: 2, None: (4, (5,)), "set": {6, 7}}
  content["tuple"] = (collections.OrderedDict(a=1), b"bytes", -(2**40))
  content["space"] = argparse.Namespace(a=1)
  for protocol in range(6):
    file = _zip(tmp_path / "a.bin", pickle.dumps(content, protocol))
    read = torch_file.read(file)
    assert isinstance(read.pop("set"), torch_values.Ignored)
    assert isinstance(read.pop("space"), torch_values.Ignored)
    a, _, n = read.pop("tuple")
    assert (a, n) == ({"a": 1}, -(2**40))
    assert read == {1: [3], 0.5: None, False: 2, None: (4, (5,))}
  python2 = b"ccollections\nOrderedDict\n](](" + _text("a") + b"K\x01ee\x85R."
  assert torch_file.read(_zip(tmp_path / "a.bin", python2)) == {"a": 1}


def test_what_was_written_is_read(tmp_path):
  content = {
    "state_dict": {"a": np.arange(6, dtype=np.float32).reshape(2, 3)},
    "step": np.arange(3),
    "scalar": np.array(2.5, np.float32),
    "epoch": -3,
    "loss": 0.25,
    "name": "späť",
    "best": True,
  }
  torch_file.write(tmp_path / "a.pth.tar", content)
  read = torch_file.read(tmp_path / "a.pth.tar")
  assert read.keys() == content.keys()
  np.testing.assert_array_equal(
    read["state_dict"]["a"], content["state_dict"]["a"]
  )
  np.testing.assert_array_equal(read["step"], [0, 1, 2])
  assert read["scalar"] == 2.5 and read["scalar"].shape == ()
  for key in ("epoch", "loss", "name", "best"):
    assert read[key] == content[key]


@pytest.mark.extra
@pytest.mark.parametrize("new", [True, False])
def test_torch_reads_ours_and_we_read_torch(tmp_path, new):
  import torch

  ours = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": 3, "x": -0.5}
  torch_file.write(tmp_path / "ours.pth", ours)
  read = torch.load(tmp_path / "ours.pth", weights_only=True)
  np.testing.assert_array_equal(read["a"].numpy(), ours["a"])
  assert (read["n"], read["x"]) == (3, -0.5)
  layer = torch.nn.Linear(3, 2)
  layer.register_buffer("count", torch.tensor(7))
  optimizer = torch.optim.Adam(layer.parameters())
  layer(torch.ones(1, 3)).sum().backward()
  optimizer.step()
  whole = torch.arange(12.0).reshape(3, 4)
  saved = {
    "state_dict": layer.state_dict(),
    "optimizer": optimizer.state_dict(),
    "weights": torch.nn.Parameter(torch.ones(3)),
    "transposed": whole.T,
    "part": whole[1:, 2:],
    "half": torch.ones(2, dtype=torch.bfloat16),
    "flag": torch.tensor([True, False]),
    "best_auroc": np.float64(0.8),  # What weights_only itself refuses.
  }
  path = tmp_path / "theirs.pth.tar"
  torch.save(saved, path, _use_new_zipfile_serialization=new)
  read = torch_file.read(path)
  for name, x in layer.state_dict().items():
    np.testing.assert_array_equal(read["state_dict"][name], x.numpy())
  np.testing.assert_array_equal(read["transposed"], whole.T.numpy())
  np.testing.assert_array_equal(read["part"], whole[1:, 2:].numpy())
  np.testing.assert_array_equal(read["weights"], [1, 1, 1])
  np.testing.assert_array_equal(read["half"].astype(np.float32), [1, 1])
  np.testing.assert_array_equal(read["flag"], [True, False])
  assert isinstance(read["best_auroc"], torch_values.Ignored)
