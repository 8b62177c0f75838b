"""A trained model as a folder: written whole or not at all, read strictly.

README.md (the model card), config.json, params.safetensors, tokenizer/,
stablehlo/, onnx/ where asked for, and SHA256SUMS over all of them. The same
model gives the same bytes; no path of a machine is in them.
"""

import hashlib
import json
import os
import pathlib
import re

import numpy as np
from flax import traverse_util
from safetensors.numpy import save

from medpatch_jax import files as ours
from medpatch_jax.export import weights_file

FORMAT = 1  # Of config.json; raised when a field changes its meaning.
SUMS, CONFIG, PARAMS = "SHA256SUMS", "config.json", "params.safetensors"
MOST_SUMS = 1 << 20  # Bytes.
# What no size of config.json is beyond, and some by the name of their field.
MOST_SIZE = 10_000_000
MOST = {
  **{"depth": 1_000, "heads": 1_000, "max_windows": 10_000, "window": 10_000},
  **{"image_size": 10_000, "hour_buckets": 100_000},
}
CARD, TOKENIZER = "README.md", "tokenizer/tokenizer.json"


def write(folder, files: dict[str, bytes]) -> None:
  """Writes files and their checksums, whole or not at all.

  Args:
    folder: must not be there yet.
    files: name below the folder -> content.

  Raises:
    ValueError: something is there already.
  """
  folder = pathlib.Path(folder)
  if folder.exists():
    raise ValueError(f"{folder}: is there already; give another name.")
  lines = []
  with ours.whole_folder(folder) as partial:
    for name, content in sorted(files.items()):
      path = partial / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
      lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    (partial / SUMS).write_text("".join(lines), "utf-8")


def pack(params) -> bytes:
  """A tree of parameters -> params.safetensors, named by their paths."""
  flat = traverse_util.flatten_dict(params, sep="/")
  # Contiguous: safetensors writes the memory as it lies.
  arrays = {k: np.ascontiguousarray(v) for k, v in sorted(flat.items())}
  return save(arrays)


def packed_json(value) -> bytes:
  return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def verify(folder) -> pathlib.Path:
  """Checks every file of an exported folder against SHA256SUMS.

  Returns:
    the folder, in which nothing lies that is not listed.

  Raises:
    ValueError: no exported folder; a file is missing, changed, not listed, or
      lies outside of it.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    found = "a file: unpack an archive first" if folder.exists() else "nothing"
    raise ValueError(f"{folder}: found {found}, wanted an exported folder.")
  listed = digests(folder)
  for path in _files(folder):
    name = path.relative_to(folder).as_posix()
    if name != SUMS and name not in listed:
      raise ValueError(
        f"{path}: is not listed in {SUMS}, so nobody says what it is; remove"
        " it, or copy the whole folder again."
      )
  for name, wanted in listed.items():
    path = folder / name
    if not path.is_file():
      raise ValueError(f"{path}: is missing; copy the whole folder again.")
    with open(path, "rb") as file:
      found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
      raise ValueError(
        f"{path}: its checksum is not that of {SUMS}: it was changed or"
        " damaged; copy the folder again."
      )
  return folder


def _files(folder: pathlib.Path):
  """Everything in a folder but folders.

  Raises:
    ValueError: a link, which may lead anywhere.
  """
  for at, folders, files in os.walk(folder):
    for name in sorted(folders + files):
      path = pathlib.Path(at) / name
      if path.is_symlink():
        raise ValueError(
          f"{path} leads outside the folder, or could: it is a link; copy the"
          " folder with its files in it."
        )
      if name in files:
        yield path


def digests(folder) -> dict[str, str]:
  """SHA-256 of each file of an exported folder, by name.

  Raises:
    ValueError: no exported folder, or a list other than it was written.
  """
  path = pathlib.Path(folder) / SUMS
  try:
    if not path.is_file() or path.stat().st_size > MOST_SUMS:
      raise ValueError
    text = path.read_bytes().decode("utf-8")
  except (OSError, ValueError):
    raise ValueError(
      f"{path}: is missing or damaged; wanted a folder that"
      " `python -m experiments.export` wrote."
    ) from None
  found: dict[str, str] = {}
  for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
    match = re.fullmatch(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f\\]+)", line)
    if not match:
      raise ValueError(
        f"{path}: line {number} is not 64 of 0-9 and a-f, two spaces and a"
        " name; copy the folder again."
      )
    digest, name = match.groups()
    if name == SUMS or name in found:
      raise ValueError(
        f"{path}: line {number} lists {name} again; copy the folder again."
      )
    if any(part in ("", ".", "..") for part in name.split("/")):
      raise ValueError(
        f"{path}: {name} leads outside the folder, or could; copy the folder"
        " again."
      )
    found[name] = digest
  for name in (CONFIG, PARAMS):
    if name not in found:
      raise ValueError(f"{path}: does not list {name}; export the run again.")
  return found


def read_config(folder) -> dict:
  """config.json of a verified folder.

  Raises:
    ValueError: of another version, or no JSON.
  """
  path = pathlib.Path(folder) / CONFIG
  try:
    config = json.loads(path.read_text("utf-8"))
    version = config["format"]
  except (OSError, ValueError, KeyError, TypeError, RecursionError):
    raise ValueError(f"{path}: is no configuration of a model.") from None
  if version != FORMAT:
    raise ValueError(
      f"{path}: is of format {version}, this code reads {FORMAT}; use the"
      " version of medpatch-jax named in README.md beside it."
    )
  for name in ("architecture", "shapes"):
    _bounded(path, name, config.get(name))
  return config


def _bounded(path, name, value) -> None:
  """Refuses a size that no model has: memory would be taken for it.

  Raises:
    ValueError: names the field.
  """
  if isinstance(value, dict | list):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
      _bounded(path, f"{name}.{key}", inner)
  elif isinstance(value, int) and not isinstance(value, bool):
    words = name.split(".")
    most = min(MOST.get(n, MOST_SIZE) for n in words)
    least = int(words[0] == "shapes")
    if not least <= value <= most:
      raise ValueError(
        f"{path}: {name} is beyond all sense, wanted {least} to {most:,}; export"
        " the run again."
      )


def read_params(folder) -> dict:
  """params.safetensors of a verified folder -> tree of arrays.

  Raises:
    ValueError: another kind of file; nothing in it is ever executed.
  """
  path = pathlib.Path(folder) / PARAMS
  flat = weights_file.read_safetensors(path, "export the run again")
  return traverse_util.unflatten_dict(flat, sep="/")
