"""Encoders of others as a start: timm's, Hugging Face's, the authors'.

Read by pretrained.py and authors.py, whose checks hold; only encoders are
taken, so a run of other labels, variables and modalities can start from them.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np

from medpatch_jax import files
from medpatch_jax.export import (
  authors,
  names,
  pretrained,
  released,
  torch_file,
  weights_file,
)
from medpatch_jax.input import variables

# First words of the authors' names of their encoders -> the kind.
AUTHORS = {"ehr_model": "series", "cxr_model": "image", "text_model": "text"}


@dataclasses.dataclass(frozen=True)
class Encoders:
  """Published encoders to start from; see `warm.Source`.

  Attributes:
    brings: kinds of input that an encoder is there for.
    read: (modality, its kind, parameters to fill) -> those found of them.
    tokenizer: folder of the vocabulary, None where there is none.
    read_columns: names of the columns that an encoder of a series reads.
    sizes: of the text encoder, arguments of `Notes`, None if not known.
    labels: none: no classifier is taken.
  """

  brings: tuple[str, ...]
  read: Callable[[str, str, dict], dict]
  tokenizer: pathlib.Path | None = None
  read_columns: tuple[str, ...] = ()
  sizes: dict[str, int] | None = None
  labels: tuple[str, ...] = ()

  def has(self, m: str, kind: str) -> bool:
    """Whether there is an encoder for this modality."""
    del m
    return kind in self.brings

  def text_sizes(self) -> dict[str, int] | None:
    return self.sizes

  def columns(self, m: str) -> tuple[str, ...]:
    """Names of the columns that the encoder of a series reads."""
    del m
    return self.read_columns

  def part(self, *path, like, kind=None) -> dict:
    """Parameters of a part of the model, empty where there are none."""
    if path[0] != "encoder" or kind not in self.brings:
      return {}
    return {"encoder": self.read(path[1], kind, like["encoder"])}


def find(path) -> Encoders:
  """What a file or folder holds.

  Args:
    path: a Hugging Face folder of a BERT-type model; a checkpoint of timm's
      ViT, or a folder of one; a checkpoint (.pth.tar) of the authors' code, of
      any of its stages.

  Raises:
    ValueError: unreadable.
  """
  path = pathlib.Path(path)
  if path.is_dir() and _of_transformers(path):
    return Encoders(
      ("text",),
      lambda m, kind, like: {"bert": pretrained.bert(path, like["bert"])},
      tokenizer=path,
      sizes=pretrained.bert_sizes(path),
    )
  file = weights_file.find(path, "--init_from")
  if file.suffix != ".safetensors" and (tensors := _authors(file)):
    return Encoders(
      tuple(k for name, k in AUTHORS.items() if _starts(name, tensors)),
      lambda m, kind, like: _encoder(tensors, m, kind),
      read_columns=tuple(variables.columns()),
    )
  return Encoders(
    ("image",),
    lambda m, kind, like: {"backbone": pretrained.vit(file, like["backbone"])},
  )


def _of_transformers(folder) -> bool:
  """Whether a folder's config.json is one of transformers, not of timm."""
  file = folder / "config.json"
  if not file.exists():
    return False
  redo = "download the folder again."
  return "hidden_size" in files.read_json(file, dict, redo)


def _starts(name, tensors) -> bool:
  return any(t.startswith(f"{name}.") for t in tensors)


def _authors(file) -> dict | None:
  """Tensors of the authors' encoders by name, None of another file."""
  content = torch_file.read(file)
  state = content.get("state_dict") if isinstance(content, dict) else None
  if not isinstance(state, dict):
    return None
  try:
    tensors = authors.plain(
      {k: x for k, x in state.items() if isinstance(x, np.ndarray)}
    )
  except ValueError as error:
    raise ValueError(f"{file}: {error}") from None
  found = {
    name: np.asarray(x, np.float32)
    for name, x in tensors.items()
    if name.split(".")[0] in AUTHORS
  }
  return found or None


def _encoder(tensors, m, kind) -> dict:
  """The authors' encoder for a modality, what of it is in the file."""
  of = {"series": "ehr", "image": "cxr"}.get(kind, m)
  entries = released.encoder(of, tensors, ())
  entries = [e for e in entries if e.name in tensors]
  whole = {e.name: tensors[e.name] for e in entries}
  return names.load(whole, entries) if whole else {}
