"""PyTorch parameter names <-> ours, one layer at a time.

An entry says which leaf of our tree a tensor of theirs becomes, and how.
Dense kernels are [out, in] there and [in, out] here; LSTM gates come in the
same order.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable

import einops
import numpy as np
from flax import traverse_util

Op = Callable[[np.ndarray], np.ndarray]


def _same(x):
  return x


def _transpose(x):
  return x.T


@dataclasses.dataclass(frozen=True)
class Entry:
  """One tensor of theirs.

  Attributes:
    name: theirs.
    path: of our leaf.
    ours: their array -> ours.
    theirs: the inverse.
    part: (i, n) where our leaf holds n of their tensors, side by side on the
      last axis, of which this is number i.
  """

  name: str
  path: tuple[str, ...]
  ours: Op = _same
  theirs: Op = _same
  part: tuple[int, int] | None = None


Entries = list[Entry]


def same(name, path) -> Entries:
  """A tensor stored alike on both sides."""
  return [Entry(name, tuple(path))]


def squeezed(name, path, axes: int) -> Entries:
  """A tensor with `axes` leading axes of length 1 over there."""
  shape = (1,) * axes

  def theirs(x):
    return x.reshape(shape + x.shape)

  return [Entry(name, tuple(path), lambda x: x.reshape(x.shape[axes:]), theirs)]


def dense(name, path, *, bias=True, index=None, part=None) -> Entries:
  """nn.Linear <-> nn.Dense; ours reads inputs `index` of theirs."""
  ours, theirs = _transpose, _transpose
  if index is not None:
    back = np.argsort(index)
    ours, theirs = (lambda x: x[:, index].T), (lambda x: x[back].T)
  entries = [Entry(f"{name}.weight", (*path, "kernel"), ours, theirs, part)]
  if bias:
    entries.append(Entry(f"{name}.bias", (*path, "bias"), part=part))
  return entries


def norm(name, path, *, index=None) -> Entries:
  """nn.LayerNorm on both sides."""
  ours, theirs = _same, _same
  if index is not None:
    back = np.argsort(index)
    ours, theirs = (lambda x: x[index]), (lambda x: x[back])
  return [
    Entry(f"{name}.weight", (*path, "scale"), ours, theirs),
    Entry(f"{name}.bias", (*path, "bias"), ours, theirs),
  ]


def rows(name, path, index) -> Entries:
  """A table whose rows come in another order: ours[i] = theirs[index[i]]."""
  index, back = np.asarray(index), np.argsort(index)
  return [Entry(name, tuple(path), lambda x: x[index], lambda x: x[back])]


def classifier(name, path, *, index=None) -> Entries:
  """Their `Classifier` <-> `layers.Classifier`."""
  return norm(
    f"{name}.classifier.layernorm", (*path, "norm"), index=index
  ) + dense(f"{name}.classifier.fc", (*path, "dense"), index=index)


def lstm(name, path, layer: int = 0) -> Entries:
  """Layer of an nn.LSTM <-> `lstm.Lstm`."""
  pairs = {
    "weight_ih": "kernel_input",
    "weight_hh": "kernel_recurrent",
    "bias_ih": "bias_input",
    "bias_hh": "bias_recurrent",
  }
  return [
    Entry(f"{name}.{t}_l{layer}", (*path, o), _transpose, _transpose)
    for t, o in pairs.items()
  ]


def transformer(name, path, depth: int, *, project=True) -> Entries:
  """Their vit-pytorch style `Transformer` <-> `layers.Transformer`."""
  entries = []
  for i in range(depth):
    attention, mlp = f"{name}.{i}.0", f"{name}.{i}.1"
    block = (*path, f"block_{i}")
    entries += norm(f"{attention}.norm", (*block, "norm_attention"))
    entries += dense(
      f"{attention}.fn.to_qkv", (*block, "attention", "qkv"), bias=False
    )
    if project:
      entries += dense(f"{attention}.fn.to_out.0", (*block, "attention", "out"))
    entries += norm(f"{mlp}.norm", (*block, "norm_mlp"))
    entries += dense(f"{mlp}.fn.net.0", (*block, "mlp_in"))
    entries += dense(f"{mlp}.fn.net.3", (*block, "mlp_out"))
  return entries


def vit(name, path, depth: int) -> Entries:
  """timm's VisionTransformer <-> `encode.cxr.Backbone`."""

  def patches(x):
    return einops.rearrange(x, "D c p q -> (p q c) D")

  def unpatch(x):
    side = int(np.sqrt(x.shape[0] // 3))
    return einops.rearrange(x, "(p q c) D -> D c p q", p=side, q=side, c=3)

  embed = f"{name}patch_embed.proj"
  entries = [
    Entry(f"{embed}.weight", (*path, "embed", "kernel"), patches, unpatch),
    Entry(f"{embed}.bias", (*path, "embed", "bias")),
  ]
  entries += squeezed(f"{name}cls_token", (*path, "cls"), 2)
  entries += squeezed(f"{name}pos_embed", (*path, "positions"), 1)
  for i in range(depth):
    theirs, block = f"{name}blocks.{i}", (*path, f"block_{i}")
    entries += norm(f"{theirs}.norm1", (*block, "norm_attention"))
    entries += dense(f"{theirs}.attn.qkv", (*block, "attention", "qkv"))
    entries += dense(f"{theirs}.attn.proj", (*block, "attention", "out"))
    entries += norm(f"{theirs}.norm2", (*block, "norm_mlp"))
    entries += dense(f"{theirs}.mlp.fc1", (*block, "mlp_in"))
    entries += dense(f"{theirs}.mlp.fc2", (*block, "mlp_out"))
  return entries + norm(f"{name}norm", (*path, "norm"))


def bert(name, path, depth: int) -> Entries:
  """Hugging Face's BertModel <-> `encode.notes.Bert`; no pooler."""
  embed = f"{name}embeddings"
  entries = (
    same(f"{embed}.word_embeddings.weight", (*path, "words"))
    + same(f"{embed}.position_embeddings.weight", (*path, "positions"))
    + same(f"{embed}.token_type_embeddings.weight", (*path, "kinds"))
    + norm(f"{embed}.LayerNorm", (*path, "norm"))
  )
  for i in range(depth):
    theirs, block = f"{name}encoder.layer.{i}", (*path, f"block_{i}")
    for j, part in enumerate(("query", "key", "value")):
      entries += dense(
        f"{theirs}.attention.self.{part}",
        (*block, "attention", "qkv"),
        part=(j, 3),
      )
    entries += dense(
      f"{theirs}.attention.output.dense", (*block, "attention", "out")
    )
    entries += norm(
      f"{theirs}.attention.output.LayerNorm", (*block, "norm_attention")
    )
    entries += dense(f"{theirs}.intermediate.dense", (*block, "mlp_in"))
    entries += dense(f"{theirs}.output.dense", (*block, "mlp_out"))
    entries += norm(f"{theirs}.output.LayerNorm", (*block, "norm_mlp"))
  return entries


def depth(names: Iterable[str], pattern: str) -> int:
  """1 + the largest number that the group of `pattern` matches, or 0.

  At most one more than there are names: what a file calls block 999,999,999
  is no reason to list as many.
  """
  found = [m for name in names if (m := re.match(pattern, name))]
  numbers = (int(m.group(1)[:9]) + 1 for m in found)
  return min(max(numbers, default=0), len(found) + 1)


def load(tensors: dict[str, np.ndarray], entries: Entries) -> dict:
  """Their tensors -> our tree; each is used, and none is missing.

  Args:
    tensors: by name.
    entries: what is expected; a name may feed several leaves.

  Raises:
    ValueError: tensors are missing, left over, or hold NaN or infinity.
  """
  wanted = {e.name for e in entries}
  missing, left = wanted - tensors.keys(), tensors.keys() - wanted
  if missing or left:
    raise ValueError(
      f"parameters do not fit: missing {listed(missing)}; not understood"
      f" {listed(left)}."
    )
  for name, x in tensors.items():
    if not np.isfinite(x).all():
      raise ValueError(f"parameter {name} holds NaN or infinity.")
  parts: dict[tuple[str, ...], list[tuple[int, np.ndarray]]] = {}
  for e in entries:
    value = np.ascontiguousarray(e.ours(np.asarray(tensors[e.name])))
    parts.setdefault(e.path, []).append((e.part[0] if e.part else 0, value))
  flat = {
    path: np.concatenate([x for _, x in sorted(xs, key=lambda p: p[0])], -1)
    if len(xs) > 1
    else xs[0][1]
    for path, xs in parts.items()
  }
  return traverse_util.unflatten_dict(flat)


def dump(tree: dict, entries: Entries) -> dict[str, np.ndarray]:
  """Our tree -> their tensors; the inverse of `load`, for gradients too.

  Raises:
    ValueError: leaves are missing or left over, or two leaves that are one
      tensor over there differ.
  """
  flat = traverse_util.flatten_dict(tree)
  wanted = {e.path for e in entries}
  missing, left = wanted - flat.keys(), flat.keys() - wanted
  if missing or left:
    missing, left = (["/".join(p) for p in s] for s in (missing, left))
    raise ValueError(
      f"tree does not fit: missing {listed(missing)}; left over {listed(left)}."
    )
  tensors: dict[str, np.ndarray] = {}
  for e in entries:
    value = np.asarray(flat[e.path])
    if e.part:
      value = np.split(value, e.part[1], axis=-1)[e.part[0]]
    value = np.ascontiguousarray(e.theirs(value))
    if e.name in tensors and not np.array_equal(tensors[e.name], value):
      raise ValueError(
        f"{'/'.join(e.path)} differs from its twin, but both are {e.name}"
        " over there; it cannot hold two."
      )
    tensors[e.name] = value
  return tensors


def listed(names, most: int = 8) -> str:
  """Names for a message: sorted, cut after `most`."""
  names = sorted(names)
  if not names:
    return "nothing"
  more = f" and {len(names) - most} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more
