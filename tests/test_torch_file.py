"""Torch's zip read and written without torch; nothing is ever executed."""

import zipfile

import numpy as np
import pytest

from medpatch_jax.export import torch_file

EXTRA = "needs the extra torch: see docs/pretrained.md"


def _zip(path, pickled, storage=b"\x00" * 16):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", pickled)
    archive.writestr("archive/data/0", storage)
  return path


def _text(text):
  return b"X" + len(text).to_bytes(4, "little") + text.encode()


def _tensor(shape, stride, offset=0, count=4, kind="FloatStorage", key="0"):
  """The pickle of one tensor, every number below 128."""

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
    + b"tQK"
    + bytes([offset])
    + numbers(shape)
    + numbers(stride)
    + b"\x89ccollections\nOrderedDict\n)RtR."
  )


def test_a_view_of_a_storage_by_hand(tmp_path):
  storage = np.arange(4, dtype="<f4").tobytes()
  file = _zip(tmp_path / "a.bin", _tensor((2, 2), (1, 2)), storage)
  np.testing.assert_array_equal(torch_file.read(file), [[0, 2], [1, 3]])
  file = _zip(tmp_path / "b.bin", _tensor((2,), (1,), offset=2), storage)
  np.testing.assert_array_equal(torch_file.read(file), [2, 3])
  file = _zip(tmp_path / "c.bin", _tensor((), (), offset=3), storage)
  np.testing.assert_array_equal(torch_file.read(file), 3)


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
def test_nothing_is_executed(tmp_path, monkeypatch, call):
  monkeypatch.chdir(tmp_path)
  content = torch_file.read(_zip(tmp_path / "a.bin", call))
  assert isinstance(content, torch_file.Ignored)
  assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


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


def test_torch_reads_ours_and_we_read_torch(tmp_path):
  torch = pytest.importorskip("torch", reason=EXTRA)
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
  torch.save(saved, tmp_path / "theirs.pth.tar")
  read = torch_file.read(tmp_path / "theirs.pth.tar")
  for name, x in layer.state_dict().items():
    np.testing.assert_array_equal(read["state_dict"][name], x.numpy())
  np.testing.assert_array_equal(read["transposed"], whole.T.numpy())
  np.testing.assert_array_equal(read["part"], whole[1:, 2:].numpy())
  np.testing.assert_array_equal(read["weights"], [1, 1, 1])
  np.testing.assert_array_equal(read["half"].astype(np.float32), [1, 1])
  np.testing.assert_array_equal(read["flag"], [True, False])
  assert isinstance(read["best_auroc"], torch_file.Ignored)
