"""An exported model's parameters as a start for another: what fits is taken.

By name and shape. Labels' parameters are taken only where the labels are the
same ones, and of a series' input kernel the rows of columns that both have.
"""

import pathlib

import numpy as np
from flax import traverse_util

from medpatch_jax.export import artefact

# Input kernels of the encoders of a series, by the end of their path.
INPUT = (("layer_0", "kernel_input"), ("embed", "kernel"))


class Source:
  """An exported folder to start from.

  Attributes:
    folder: verified.
    config: its config.json.
    params: its parameters.
    labels: names of its labels.
  """

  def __init__(self, folder):
    """Reads it.

    Raises:
      ValueError: no exported folder, or one that was changed.
    """
    self.folder = artefact.verify(pathlib.Path(folder))
    self.config = artefact.read_config(folder)
    self.params = artefact.read_params(folder)
    self.labels = tuple(self.config["architecture"]["labels"])

  @property
  def tokenizer(self) -> pathlib.Path | None:
    """Folder of its vocabulary, None without texts."""
    file = self.folder / artefact.TOKENIZER
    return file.parent if file.exists() else None

  @property
  def columns(self) -> list[str]:
    """Names of the columns of its series."""
    own = self.config["series"]
    return columns(own["columns"], own["staleness"])

  def text_sizes(self) -> dict[str, int] | None:
    """Sizes of its text encoder, arguments of `Notes`."""
    for own in self.config["architecture"]["encoders"].values():
      if own["name"] == "bert":
        special = ("name", "pad", "cls", "sep")
        return {k: v for k, v in own.items() if k not in special}
    return None

  def part(self, *path) -> dict:
    """A subtree of its parameters, empty where it has none."""
    tree = self.params
    for name in path:
      tree = tree.get(name, {})
    return tree


def columns(names, staleness: bool) -> list[str]:
  """Names of a series' columns as its encoder reads them."""
  masks = [n for n in names if n.startswith("mask->")]
  return [*names, *(f"stale{n}" for n in masks if staleness)]


def take(like, found, old=(), new=()) -> tuple[dict, list[str], list[str]]:
  """Puts what fits into a tree of parameters.

  Args:
    like: the tree to start; unchanged.
    found: the tree to take from.
    old, new: names of the columns that input kernels of `found` and of `like`
      read, where they read a series.

  Returns:
    (new tree, names of what was taken whole, names of what was not).
  """
  flat = traverse_util.flatten_dict(like)
  source = traverse_util.flatten_dict(found)
  out, taken, left = {}, [], []
  for path, value in flat.items():
    other = source.get(path)
    name = "/".join(path)
    out[path] = value
    if new and path[-2:] in INPUT and other is not None:
      out[path], whole = _rows(value, other, list(old), list(new))
      (taken if whole else left).append(name)
    elif np.shape(other) == np.shape(value):
      out[path] = np.asarray(other)
      taken.append(name)
    else:
      left.append(name)
  return traverse_util.unflatten_dict(out), taken, left


def _rows(value, other, old, new):
  """Rows of the columns that both have. -> (kernel, whether all were)."""
  value = np.array(value)
  if value.shape[1:] != other.shape[1:]:
    return value, False
  both = [name for name in new if name in old]
  into, out_of = ([names.index(n) for n in both] for names in (new, old))
  value[into] = other[out_of]
  return value, len(both) == len(new)
