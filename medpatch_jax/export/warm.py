"""Parameters from elsewhere as a start for a run: what fits is taken.

By name and shape, from an exported model or an encoder of others (foreign.py). Labels' parameters are taken only where the labels are the
same ones, and of a series' input kernel the rows of columns that both have.
"""

import dataclasses
import pathlib

import numpy as np
from flax import traverse_util

from medpatch_jax.export import artefact, foreign
from medpatch_jax.input import channels, series

# Input kernels of the encoders of a series, by the end of their path.
INPUT = (("layer_0", "kernel_input"), ("embed", "kernel"))


def find(path) -> "Source | foreign.Encoders":
  """What --init_from names: an exported folder, else as `foreign.find`.

  Raises:
    ValueError: unreadable, changed or damaged.
  """
  folder = pathlib.Path(path)
  ours = (folder / name for name in (artefact.SUMS, artefact.PARAMS))
  return (
    Source(folder)
    if any(map(pathlib.Path.exists, ours))
    else (foreign.find(path))
  )


class Source:
  """An exported folder to start from.

  Attributes:
    folder: verified.
    config: its config.json.
    params: its parameters.
    labels: names of its labels.
    brings: kinds of input that it has an encoder for.
  """

  def __init__(self, folder):
    """Reads it.

    Raises:
      ValueError: no exported folder, or one that was changed.
    """
    self.folder = artefact.verify(pathlib.Path(folder))
    self.config = artefact.read_config(folder)
    self.params = artefact.read_params(folder)
    try:
      made = self.config["architecture"]
      self.labels, self._kinds = tuple(made["labels"]), dict(made["kinds"])
    except (KeyError, TypeError, ValueError) as error:
      raise ValueError(
        f"{self.folder / artefact.CONFIG}: a field is missing or of another"
        f" kind ({error!r}); export the run again."
      ) from None
    self.brings = tuple(dict.fromkeys(self._kinds.values()))

  def has(self, m: str, kind: str) -> bool:
    """Whether there is an encoder for this modality."""
    return self._kinds.get(m) == kind

  @property
  def tokenizer(self) -> pathlib.Path | None:
    """Folder of its vocabulary, None without texts."""
    file = self.folder / artefact.TOKENIZER
    return file.parent if file.exists() else None

  def columns(self, m: str) -> tuple[str, ...]:
    """Names of the columns that its encoder of a series reads."""
    own = self.config["series"]
    if not self.has(m, "series"):
      return ()
    names = series.Recipe.from_json(own).only(m).columns()
    return channels.Channels.from_json(own).of(names).columns()

  def text_sizes(self) -> dict[str, int] | None:
    """Sizes of its text encoder, arguments of `Notes`."""
    for own in self.config["architecture"]["encoders"].values():
      if own["name"] == "bert":
        special = ("name", "pad", "cls", "sep")
        return {k: v for k, v in own.items() if k not in special}
    return None

  def part(self, *path, like=None, kind=None) -> dict:
    """A subtree of its parameters, empty where it has none."""
    del like, kind
    tree = self.params
    for name in path:
      tree = tree.get(name, {})
    return tree


@dataclasses.dataclass(frozen=True)
class Taken:
  """What became of the tensors of both sides, by path.

  Attributes:
    whole: taken as they were.
    rows: path -> names of the columns whose rows were taken; the rest is new.
    new: of the run, nothing fits.
    unused: of the source, they fit nowhere.
  """

  whole: tuple[tuple[str, ...], ...]
  rows: dict[tuple[str, ...], tuple[str, ...]]
  new: tuple[tuple[str, ...], ...]
  unused: tuple[tuple[str, ...], ...]

  def text(self) -> str:
    """A line for each tensor."""
    named = {path: "taken" for path in self.whole}
    named |= {p: f"rows of {', '.join(r)}" for p, r in self.rows.items()}
    named |= {path: "new" for path in self.new}
    named |= {path: "not used" for path in self.unused}
    return "".join(
      f"{'/'.join(path)}: {what}\n" for path, what in sorted(named.items())
    )


def take(like, found, old=(), new=()) -> tuple[dict, Taken]:
  """Puts what fits into a tree of parameters.

  Args:
    like: the tree to start; unchanged.
    found: the tree to take from.
    old, new: names of the columns that input kernels of `found` and of `like`
      read, where they read a series.

  Returns:
    (new tree, what was taken).
  """
  flat = traverse_util.flatten_dict(like)
  source = traverse_util.flatten_dict(found)
  out, whole, rows, left = {}, [], {}, []
  for path, value in flat.items():
    other = source.get(path)
    out[path] = value
    if new and path[-2:] in INPUT and other is not None:
      out[path], both = _rows(value, other, list(old), list(new))
      if len(both) == len(new):
        whole.append(path)
      elif both:
        rows[path] = tuple(both)
      else:
        left.append(path)
    elif np.shape(other) == np.shape(value):
      out[path] = np.asarray(other)
      whole.append(path)
    else:
      left.append(path)
  unused = source.keys() - {*whole, *rows}
  taken = Taken(tuple(whole), rows, tuple(left), tuple(unused))
  return traverse_util.unflatten_dict(out), taken


def misfit(like, found, old=(), new=()) -> str | None:
  """A tensor by which two encoders are not of one make, in words.

  Args:
    like, found, old, new: as of `take`; shapes are enough.

  Returns:
    Its shapes, or that no tensor has the same name; None if they are alike.
    Between encoders of other columns one tensor that fits is enough.
  """
  flat = traverse_util.flatten_dict(like)
  source = traverse_util.flatten_dict(found)
  both = [p for p in flat if p in source and p[-2:] not in INPUT]
  wrong = [p for p in both if np.shape(flat[p]) != np.shape(source[p])]
  if not source or (both and not wrong):
    return None
  if not both:
    return "no tensor of it has the name of one"
  if tuple(old) != tuple(new) and len(wrong) < len(both):
    return None
  there, here = (list(np.shape(x[wrong[0]])) for x in (source, flat))
  return f"{'/'.join(wrong[0])} is {there} there and {here} here"


def _rows(value, other, old, new):
  """Rows of the columns that both have. -> (kernel, their names)."""
  value = np.array(value)
  if value.shape[1:] != other.shape[1:]:
    return value, []
  both = [name for name in new if name in old]
  into, out_of = ([names.index(n) for n in both] for names in (new, old))
  value[into] = other[out_of]
  return value, both
