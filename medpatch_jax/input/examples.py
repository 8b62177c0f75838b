"""One record -> one example of a modality; a list of examples -> `Batch`.

Dims: B stays, T hours, S pixels, W windows, L pieces, F columns, C labels.
"""

import dataclasses
import functools
import io

import numpy as np
from PIL import Image

from medpatch_jax import schema
from medpatch_jax.input import cell, tokenise

# Between notes of one kind that are joined.
BLANK = "\n\n"


@dataclasses.dataclass(frozen=True)
class Shapes:
  """Static sizes of a batch.

  Attributes:
    columns: modality -> F, columns of its series.
    hour_buckets: lengths a series is padded to, ascending; past the last it
      doubles. Few buckets mean few compilations, many mean little padding.
    image_size: S, pixels a side.
    window: L, pieces of a text window with [CLS] and [SEP].
    max_windows: windows kept of a text, the earliest.
    tokens: modality -> T, most tokens of its embeddings, whose width is in
      `columns`.
  """

  columns: dict[str, int]
  hour_buckets: tuple[int, ...]
  image_size: int
  window: int
  max_windows: int
  tokens: dict[str, int] = dataclasses.field(default_factory=dict)


def bucket(n: int, sizes) -> int:
  """Smallest of `sizes` that holds n; the last one doubled past the end."""
  for size in sizes:
    if n <= size:
      return size
  size = sizes[-1]
  while size < n:
    size *= 2
  return size


def hide(fields, rng, share: float) -> dict[str, np.ndarray]:
  """Sets each column of a series to 0 for the whole stay, at random."""
  x = fields["x"]
  return {"x": np.where(rng.random(x.shape[1]) < share, np.float32(0.0), x)}


def image(stored: bytes, size: int) -> dict[str, np.ndarray]:
  """JPEG or PNG -> grey image u8[S S]."""
  film = Image.open(io.BytesIO(stored)).convert("L")
  film = film.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
  return {"image": np.asarray(film, np.uint8)}


def augment(fields, rng, mirror: bool = False) -> dict[str, np.ndarray]:
  """Moves a film at random (METHOD.md section 1).

  One affine map, up to 45 degrees, shift 0.15 of the side, scale 0.85 to
  1.15; `mirror` also swaps left and right in half of the draws, as the
  released code does, which moves the heart.
  """
  film = affine(Image.fromarray(fields["image"]), rng)
  if mirror and rng.random() < 0.5:
    film = film.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  return {"image": np.asarray(film, np.uint8)}


def affine(film: Image.Image, rng) -> Image.Image:
  """Rotates, shifts and scales a square film at random; outside is black."""
  size = film.size[0]
  angle = np.deg2rad(rng.uniform(-45, 45))
  scale = rng.uniform(0.85, 1.15)
  shift = rng.uniform(-0.15, 0.15, 2) * size
  centre = (size - 1) / 2
  # PIL wants the map from output to input pixels, about the centre.
  cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
  x0 = centre - cos * (centre + shift[0]) - sin * (centre + shift[1])
  y0 = centre + sin * (centre + shift[0]) - cos * (centre + shift[1])
  return film.transform(
    film.size,
    Image.Transform.AFFINE,
    (cos, sin, x0, -sin, cos, y0),
    Image.Resampling.BILINEAR,
  )


def string(value) -> str:
  """A text as TFDS returns it, bytes or str -> str."""
  return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def join(texts) -> str:
  """Notes of one kind, in order of time -> one text, as a record holds it."""
  return BLANK.join(map(cell.strip, texts))


def text(value, tokeniser: tokenise.Tokeniser, shapes: Shapes):
  """A note -> piece i32[W L], mask bool[W L], windows it takes uncapped."""
  piece, mask, total = tokeniser.windows(
    string(value), shapes.window, shapes.max_windows
  )
  return {"piece": piece, "mask": mask, "windows": total}


def collate(examples, size: int, kinds, labels: int, shapes: Shapes, names):
  """Pads examples to static shapes.

  Args:
    examples: dicts with `inputs` {modality: its fields, or None if absent},
      `present` bool[M], `label` f32[C].
    size: B, rows of the batch; rows past the examples get weight 0.
    kinds: modality -> series, image, text or embedding, of M modalities.
    labels: C.
    shapes: static sizes.
    names: the modalities in `inputs`.

  Returns:
    `schema.Batch` of numpy arrays, of padding alone if there is no example.
  """
  pad = {"image": _pad_image, "text": _pad_text}
  columns = {m: [e["inputs"][m] for e in examples] for m in names}
  # Every kind of note gets as many windows as the longest: fewer shapes of a
  # batch, fewer compilations.
  texts = [f for m, f in columns.items() if kinds[m] == "text"]
  pad["text"] = functools.partial(
    pad["text"], windows=max(map(_most_windows, texts), default=1)
  )
  inputs = {}
  for m, fields in columns.items():
    if kinds[m] == "series":
      inputs[m] = pad_series(fields, size, shapes, shapes.columns[m])
    elif kinds[m] == "embedding":
      width = shapes.columns[m]
      inputs[m] = _pad_tokens(fields, size, shapes.tokens[m], width)
    else:
      inputs[m] = pad[kinds[m]](fields, size, shapes)
  present = np.zeros((size, len(kinds)), bool)
  label = np.zeros((size, labels), np.float32)
  weight = np.zeros((size,), np.float32)
  for i, e in enumerate(examples):
    present[i], label[i], weight[i] = e["present"], e["label"], 1.0
  return schema.Batch(inputs, present, label, weight)


def pad_series(fields, size, shapes, columns):
  """Fields of stays, None where absent -> x f32[B T F], mask bool[B T]."""
  lengths = [0 if f is None else len(f["x"]) for f in fields]
  T = bucket(max(lengths, default=0), shapes.hour_buckets)
  return _pad_tokens(fields, size, T, columns)


def _pad_tokens(fields, size, T, width):
  """Fields of stays, None where absent -> x f32[B T D], mask bool[B T]."""
  lengths = [0 if f is None else len(f["x"]) for f in fields]
  x = np.zeros((size, T, width), np.float32)
  mask = np.zeros((size, T), bool)
  for i, f in enumerate(fields):
    if f is not None:
      x[i, : lengths[i]] = f["x"]
      mask[i, : lengths[i]] = True
  return {"x": x, "mask": mask}


def _pad_image(fields, size, shapes):
  S = shapes.image_size
  pixels = np.zeros((size, S, S), np.uint8)
  for i, f in enumerate(fields):
    if f is not None:
      pixels[i] = f["image"]
  return {"image": pixels}


def _most_windows(fields):
  return max((1 if f is None else len(f["piece"]) for f in fields), default=1)


def _pad_text(fields, size, shapes, windows):
  counts = [0 if f is None else len(f["piece"]) for f in fields]
  buckets = tuple(2**k for k in range(12) if 2**k < shapes.max_windows) + (
    shapes.max_windows,
  )
  W = bucket(windows, buckets)
  piece = np.zeros((size, W, shapes.window), np.int32)
  mask = np.zeros((size, W, shapes.window), bool)
  for i, f in enumerate(fields):
    if f is not None:
      piece[i, : counts[i]] = f["piece"]
      mask[i, : counts[i]] = f["mask"]
  return {"piece": piece, "mask": mask}
