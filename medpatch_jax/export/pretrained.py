"""Weights from other libraries: timm's ViT, Hugging Face's BERT (METHOD.md 1).

Strict: every tensor is used once or on the list of harmless left-overs below;
shapes, number types and finiteness are checked; nothing in a file is executed.
"""

import json
import math
import pathlib
import re

import numpy as np
from flax import traverse_util

from medpatch_jax.export import names, weights_file
from medpatch_jax.input import tokenise

# Tensors that take no part in a token's hidden state, as full-match patterns.
VIT_IGNORED = (r"head\.(weight|bias)",)  # ImageNet's classes.
BERT_IGNORED = (
  r"pooler\.dense\.(weight|bias)",
  r"cls\.(predictions|seq_relationship)\..*",  # Heads of pretraining.
  r"(classifier|qa_outputs)\.(weight|bias)",  # Heads of fine-tuning.
  r"embeddings\.(position_ids|token_type_ids)",  # Buffers: 0, 1, 2 ...
)

# Before the names of an encoder that was part of another model.
WRAPPERS = (
  r"module\.",
  r"model\.",
  r"bert\.",
  r"text_encoder\.",
  r"vit\.",
  r"backbone\.",
)

# Keys of config.json: name, the only value taken, what its absence means.
FIXED = (
  ("model_type", "bert", "bert"),
  ("hidden_act", "gelu", "gelu"),
  ("layer_norm_eps", 1e-12, 1e-12),
  ("position_embedding_type", "absolute", "absolute"),
  ("type_vocab_size", 2, 2),
  ("is_decoder", False, False),
  ("add_cross_attention", False, False),
  ("quantization_config", None, None),
)
SIZES = {
  "width": "hidden_size",
  "depth": "num_hidden_layers",
  "heads": "num_attention_heads",
  "mlp": "intermediate_size",
  "vocab_size": "vocab_size",
  "positions": "max_position_embeddings",
}
# Of a config.json; greater ones would fill the memory before the weights show
# that they are not so.
GREATEST = {
  "width": 1 << 16,
  "depth": 1 << 10,
  "heads": 1 << 10,
  "mlp": 1 << 18,
  "vocab_size": 1 << 20,
  "positions": 1 << 17,
}
OTHER_VIT = (
  "give a matching checkpoint in --vit or --init_from, or another --preset"
)
OTHER_BERT = (
  "pass the --bert folder that the model was made with, or start a new"
  " --workdir with this one"
)


def vit(path, like_params) -> dict:
  """Reads a timm VisionTransformer for `encode.cxr.Backbone`.

  Position embeddings of another image size are resampled as timm does. The
  number of heads shows in no tensor: it is the caller's to have right.

  Args:
    path: .safetensors, or torch.save's zip (.bin, .pth, .pt, .tar), or a
      folder with model.safetensors or pytorch_model.bin.
    like_params: the Backbone's parameters, for their names and shapes alone.

  Returns:
    float32 arrays in the tree of `like_params`.

  Raises:
    ValueError: unreadable; another size or kind; tensors missing, left over,
      not floating-point, or not finite. The message names file and tensor.
  """
  file = weights_file.find(path, "--vit")
  like = traverse_util.flatten_dict(dict(like_params))
  tensors = _without(
    file, _unwrapped(file, weights_file.read(file)), VIT_IGNORED
  )
  depth = _depth(like)
  found = names.depth(tensors, r"blocks\.(\d+)\.")
  if not found:
    raise ValueError(
      f"{file}: holds no blocks.0 ... of timm's VisionTransformer, but"
      f" {names.listed(tensors, 3)}; {OTHER_VIT}."
    )
  if found != depth:
    raise ValueError(
      f"{file}: has {found} blocks, the model {depth}; {OTHER_VIT}."
    )
  T, D = like[("positions",)].shape
  position = tensors.get("pos_embed")
  if position is not None and position.shape[::2] == (1, D):
    tensors["pos_embed"] = _resample(file, position, T)
  entries = names.vit("", (), depth)
  return _convert(file, tensors, entries, like, OTHER_VIT)


def bert_sizes(folder) -> dict[str, int]:
  """Reads the sizes of a Hugging Face BERT-type model.

  Args:
    folder: with config.json and, checked against it where present,
      tokenizer.json or vocab.txt.

  Returns:
    width, depth, heads, mlp, vocab_size, positions: arguments of `Notes`.

  Raises:
    ValueError: no such file, a key missing or not a positive integer, or an
      architecture that `encode.notes.Bert` is not; the key is named.
  """
  file = pathlib.Path(folder) / "config.json"
  try:
    config = json.loads(file.read_text("utf-8"))
  except (OSError, ValueError, RecursionError) as e:
    raise ValueError(
      f"{file}: unreadable ({type(e).__name__}); --bert takes a Hugging Face"
      " folder with config.json, weights and vocabulary."
    ) from None
  if not isinstance(config, dict):
    raise ValueError(f"{file}: wanted an object, got {type(config).__name__}.")
  for key, wanted, absent in FIXED:
    if (got := config.get(key, absent)) != wanted:
      raise ValueError(
        f"{file}: {key} is {got!r}, wanted {wanted!r}; --bert takes BERT-type"
        " models with exact GELU and absolute positions only."
      )
  sizes = {ours: config.get(theirs) for ours, theirs in SIZES.items()}
  for ours, got in sizes.items():
    if type(got) is not int or not 0 < got <= GREATEST[ours]:
      raise ValueError(
        f"{file}: {SIZES[ours]} is {str(got)[:40]}, wanted a positive integer"
        f" of at most {GREATEST[ours]:,}."
      )
  if sizes["width"] % sizes["heads"]:
    raise ValueError(
      f"{file}: hidden_size {sizes['width']} is no multiple of"
      f" num_attention_heads {sizes['heads']}."
    )
  _check_vocabulary(file, sizes["vocab_size"])
  return sizes


def bert(folder, like_params) -> dict:
  """Reads a Hugging Face BERT-type folder for `encode.notes.Bert`.

  Args:
    folder: config.json, model.safetensors or pytorch_model.bin, and the
      vocabulary. `bert.` before the names or not, gamma and beta for weight
      and bias of norms as in old files.
    like_params: Bert's parameters, for their names and shapes alone.

  Returns:
    float32 arrays in the tree of `like_params`.

  Raises:
    ValueError: as `vit` and `bert_sizes`; or config.json and the model differ.
  """
  sizes = bert_sizes(folder)
  file = weights_file.find(folder, "--bert")
  like = traverse_util.flatten_dict(dict(like_params))
  depth = _depth(like)
  model = {
    "width": like[("words",)].shape[1],
    "depth": depth,
    "mlp": like[("block_0", "mlp_in", "kernel")].shape[1],
    "vocab_size": like[("words",)].shape[0],
    "positions": like[("positions",)].shape[0],
  }
  for key, wanted in model.items():
    if sizes[key] != wanted:
      raise ValueError(
        f"{file.parent / 'config.json'}: {SIZES[key]} is {sizes[key]}, the"
        f" model has {wanted}; {OTHER_BERT}."
      )
  tensors = _plain_bert(file, weights_file.read(file))
  tensors = _without(file, tensors, BERT_IGNORED)
  found = names.depth(tensors, r"encoder\.layer\.(\d+)\.")
  if found != depth:
    raise ValueError(
      f"{file}: has {found} layers of BERT, its config.json says {depth};"
      " the two are of different models."
    )
  fix = "its config.json is of another model"
  return _convert(file, tensors, names.bert("", (), depth), like, fix)


def _convert(file, tensors, entries, like, fix) -> dict:
  """Tensors by their names -> our tree, all of `like` and nothing else."""
  wanted = {e.name for e in entries}
  missing, left = wanted - tensors.keys(), tensors.keys() - wanted
  if missing or left:
    raise ValueError(
      f"{file}: missing {names.listed(missing)}; left over"
      f" {names.listed(left)}; {fix}."
    )
  if {e.path for e in entries} != like.keys():
    raise ValueError(
      f"{file}: the parameters to fill are not of this kind of encoder."
    )
  for e in entries:
    shape = like[e.path].shape
    if e.part:
      shape = (*shape[:-1], shape[-1] // e.part[1])
    shape = e.theirs(np.broadcast_to(np.float32(0), shape)).shape
    if tensors[e.name].shape != shape:
      raise ValueError(
        f"{file}: {e.name} has shape {tensors[e.name].shape}, wanted {shape};"
        f" {fix}."
      )
  try:
    return names.load(tensors, entries)
  except ValueError as e:
    raise ValueError(f"{file}: {e}") from None


def _depth(like) -> int:
  return names.depth((path[0] for path in like), r"block_(\d+)$")


def _resample(file, position, T: int) -> np.ndarray:
  """Position embeddings f32[1 N D] -> f32[1 T D], the class's unchanged.

  timm's resample_abs_pos_embed: bicubic, antialiased, over a square grid.
  """
  N = position.shape[1]
  if N == T:
    return position
  old, new = math.isqrt(max(N - 1, 0)), math.isqrt(T - 1)
  if N < 2 or old * old != N - 1 or new * new != T - 1:
    raise ValueError(
      f"{file}: pos_embed holds {N} positions, the model {T}; both must be a"
      " class token and a square grid to be resampled. " + OTHER_VIT + "."
    )
  weight = _bicubic(old, new)
  grid = position[0, 1:].reshape(old, old, -1)
  grid = np.einsum("yh,xw,hwd->yxd", weight, weight, grid, optimize=True)
  grid = grid.reshape(1, new * new, -1)
  return np.concatenate([position[:, :1], grid], 1).astype(np.float32)


def _bicubic(old: int, new: int) -> np.ndarray:
  """Weights f64[new old] of PyTorch's antialiased bicubic interpolation.

  Keys' kernel with a = -0.5, widened when shrinking, cut at the border and
  normalised (aten, UpSampleKernel.cpp).
  """
  scale = old / new
  wide = max(scale, 1.0)
  centre = scale * (np.arange(new) + 0.5)
  x = np.abs(np.arange(old)[None] + 0.5 - centre[:, None]) / wide
  near = 1.5 * x**3 - 2.5 * x**2 + 1
  far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
  weight = np.where(x < 1, near, np.where(x < 2, far, 0.0))
  return weight / weight.sum(axis=1, keepdims=True)


def _without(file, tensors, patterns) -> dict[str, np.ndarray]:
  """Drops what is on a list; refuses what is no floating-point number."""
  kept = {
    name: x
    for name, x in tensors.items()
    if not any(re.fullmatch(p, name) for p in patterns)
  }
  for name, x in kept.items():
    if x.dtype != np.float32:
      raise ValueError(
        f"{file}: {name} is of {x.dtype}, wanted floating point; a quantised"
        " model must be saved in float32 first."
      )
  return kept


def _unwrapped(file, tensors) -> dict[str, np.ndarray]:
  """Tensors without what models around the encoder put before their names."""
  plain = {}
  for name, x in tensors.items():
    short = re.sub(rf"^({'|'.join(WRAPPERS)})+", "", name)
    if short in plain:
      raise ValueError(f"{file}: holds {short} twice, once as {name}.")
    plain[short] = x
  return plain


def _plain_bert(file, tensors) -> dict[str, np.ndarray]:
  """Calls gamma weight and beta bias, as newer files do."""
  plain = {}
  for name, x in _unwrapped(file, tensors).items():
    short = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    short = re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", short)
    if short in plain:
      raise ValueError(f"{file}: holds {short} twice, once as {name}.")
    plain[short] = x
  return plain


def _check_vocabulary(config: pathlib.Path, vocab_size: int) -> None:
  """A piece without an embedding would silently read another's."""
  folder = config.parent
  if not any((folder / n).exists() for n in ("tokenizer.json", "vocab.txt")):
    return
  pieces = tokenise.Tokeniser.load(folder).vocab_size
  if pieces > vocab_size:
    raise ValueError(
      f"{config}: vocab_size is {vocab_size}, but the vocabulary beside it has"
      f" {pieces} pieces; the two are of different models."
    )
