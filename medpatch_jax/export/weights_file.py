"""Files and folders of weights as timm and Hugging Face publish them."""

import pathlib

import ml_dtypes
import numpy as np
import safetensors

from medpatch_jax.export import torch_file

# In a folder, the first that exists.
FILES = ("model.safetensors", "pytorch_model.bin")
# Most bytes of a safetensors header, of which a tensor takes about 100: the
# package itself would parse 100 MB.
HEADER = 4 << 20


def find(path, flag: str) -> pathlib.Path:
  """A file as given, or the weights in a folder.

  Raises:
    ValueError: nothing there; `flag` is named as where the path came from.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise ValueError(f"{path}: no such file or folder; see {flag}.")
  if path.is_file():
    return path
  for name in FILES:
    if (path / name).is_file():
      return path / name
  parts = sorted(p.name for p in path.glob("*.index.json"))
  more = f" (it is in several parts, {parts[0]}: save it whole)" * bool(parts)
  raise ValueError(
    f"{path}: has neither {' nor '.join(FILES)}{more}; see {flag}."
  )


def read(file: pathlib.Path) -> dict[str, np.ndarray]:
  """Every tensor of a file; those of floating point as float32.

  Args:
    file: .safetensors, else of torch.save, of a state dict or of a dict that
      holds one as `state_dict` or `model`.

  Raises:
    ValueError: unreadable, or something else than tensors is in it.
  """
  with open(file, "rb") as f:
    if f.read(24).startswith(b"version https://git-lfs"):
      raise ValueError(
        f"{file}: is a Git LFS pointer, not the weights; run git lfs pull."
      )
  if file.suffix == ".safetensors":
    tensors = read_safetensors(file, "save it again in float32")
  else:
    tensors = torch_file.read(file)
    for wrapper in ("state_dict", "model"):
      if isinstance(tensors, dict) and isinstance(tensors.get(wrapper), dict):
        tensors = tensors[wrapper]
  if not isinstance(tensors, dict):
    raise ValueError(f"{file}: holds no dict of tensors.")
  for name, x in tensors.items():
    if not isinstance(x, np.ndarray):
      raise ValueError(
        f"{file}: {name} is {type(x).__name__}, wanted a tensor; save the"
        " model's state_dict alone."
      )
  return {str(name): _float32(x) for name, x in tensors.items()}


def _float32(x: np.ndarray) -> np.ndarray:
  real = x.dtype.kind == "f" or x.dtype == ml_dtypes.bfloat16
  return x.astype(np.float32, copy=False) if real else x


def read_safetensors(file, fix: str) -> dict[str, np.ndarray]:
  """Every tensor of a .safetensors file.

  Args:
    file: its path.
    fix: what to do about an unreadable one, for the message.

  Raises:
    ValueError: no such file, or one whose header is over `HEADER` bytes.
  """
  try:
    with open(file, "rb") as f:
      length = int.from_bytes(f.read(8), "little")
    if length > HEADER:
      raise ValueError(f"a header of {length:,} bytes, at most {HEADER:,}")
    with safetensors.safe_open(file, framework="numpy") as f:
      return {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
  except (
    safetensors.SafetensorError,
    TypeError,
    AttributeError,
    OSError,
    ValueError,
  ) as e:
    raise ValueError(
      f"{file}: no readable safetensors file ({str(e)[:200]}); {fix}."
    ) from None
