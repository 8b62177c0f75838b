"""One stay as a hospital has it -> an example of a batch.

The same code makes the records (data/) and reads them (`examples`): nothing is
done to a raw stay here that was not done to those the model learned from.
"""

import dataclasses
import difflib
import io
import os

import numpy as np
from PIL import Image

from medpatch_jax.input import channels, examples, images, series, tokenise

MOST_BYTES = 100_000_000  # Of a film's file.
MOST_CHARACTERS = 10_000_000  # Of a note.
# A film's longer side is at most so many times its shorter one.
MOST_ASPECT = 4


class Empty(ValueError):
  """A stay of which nothing is known."""


@dataclasses.dataclass(frozen=True)
class Preparation:
  """What a model was trained on was prepared so.

  Attributes:
    kinds: modality -> series, image or text, in the order of `present`.
    shapes: static sizes.
    recipe: of the series, None without one.
    channels: how the series is read.
    tokeniser: of the texts, None without any.
  """

  kinds: dict[str, str]
  shapes: examples.Shapes
  recipe: series.Recipe | None
  channels: channels.Channels
  tokeniser: tokenise.Tokeniser | None

  def example(self, stay: dict):
    """Prepares one stay.

    Args:
      stay: modality -> its raw input, or None; "hours" -> length of its
        window. Series: see `series.Recipe.grid`. Image: path, bytes of a JPEG
        or PNG, or array u8[H W]. Text: a text, or (hour, text) of several.

    Returns:
      (dict as `examples.collate` takes it, without a label; sentences on what
      was done to the input).

    Raises:
      ValueError: an unknown modality, or an input that cannot be read.
      Empty: a stay without any input.
    """
    known = (*self.kinds, "hours")
    for name in stay:
      if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
          f"the stay has an unknown input; known are {', '.join(known)}.{hint}"
        )
    inputs, said = {}, []
    for m, kind in self.kinds.items():
      inputs[m], remarks = None, []
      if stay.get(m) is None or (kind != "image" and _none(stay[m])):
        continue
      try:
        if kind == "series":
          inputs[m], remarks = self._series(stay[m], stay.get("hours"))
        elif kind == "image":
          inputs[m], remarks = self._image(stay[m])
        else:
          inputs[m], remarks = self._text(stay[m])
      except ValueError as error:
        raise ValueError(f"{m}: {error}") from None
      said += [f"{m}: {remark}" for remark in remarks]
    present = np.array([fields is not None for fields in inputs.values()])
    if not present.any():
      done = f" ({'; '.join(said)})" if said else ""
      raise Empty(
        f"the stay has none of {', '.join(self.kinds)}: nothing is predicted"
        f" from nothing{done}."
      )
    return {"inputs": inputs, "present": present}, said

  def _series(self, rows, hours):
    grid, said = self.recipe.grid(rows, hours)
    if grid is None:
      return None, [*said, "no event left: taken as absent"]
    return self.channels(grid), said

  def _image(self, source):
    stored, said = film(source, self.shapes.image_size)
    return examples.image(stored, self.shapes.image_size), said

  def _text(self, notes):
    if not isinstance(notes, str):
      notes = examples.join(in_order(notes))
    if len(notes) > MOST_CHARACTERS:
      raise ValueError(
        f"a text of {len(notes):,} characters; at most {MOST_CHARACTERS:,}."
      )
    if not notes.strip():
      return None, ["an empty text: taken as absent"]
    fields = examples.text(notes, self.tokeniser, self.shapes)
    most, windows = self.shapes.max_windows, fields["windows"]
    if windows <= most:
      return fields, []
    return fields, [
      f"{windows:,} windows of {self.shapes.window} pieces: only the first"
      f" {most} are read"
    ]


def _none(rows) -> bool:
  """Whether a table or a list has no row; an empty text is something else."""
  return (
    not isinstance(rows, str) and hasattr(rows, "__len__") and not len(rows)
  )


def in_order(notes) -> list[str]:
  """(hour, text) of several notes -> texts by hour; those of blanks left out.

  Raises:
    ValueError: an entry is something else.
  """
  found = []
  for number, entry in enumerate(notes, 1):
    try:
      hour, text = entry
      hour = float(hour)
    except (TypeError, ValueError):
      hour = np.nan
    if not np.isfinite(hour) or not isinstance(text, str):
      raise ValueError(
        f"note {number}: wanted (hour, text), or one text in place of the list."
      )
    if text.strip():
      found.append((hour, text))
  return [text for _, text in sorted(found, key=lambda pair: pair[0])]


def film(source, size: int):
  """A film from outside -> (bytes as a record holds them, what was done).

  Args:
    source: path, bytes of a JPEG or PNG, or array u8[H W] of grey values.
    size: pixels a side that the model reads.

  Raises:
    ValueError: no such film; says what it is and what to do.
  """
  raw = _bytes(source)
  if len(raw) > MOST_BYTES:
    raise ValueError(f"a file of {len(raw):,} bytes; at most {MOST_BYTES:,}.")
  try:
    stored = images.shrink(raw)
  except images.Unreadable as error:
    raise ValueError(f"the film {error}.") from None
  said = []
  with Image.open(io.BytesIO(raw)) as image:
    width, height = image.size
    if images.turned(image):
      said.append("turned upright, as its camera noted")
    if image.mode not in ("L", "1", "LA"):
      said.append("made grey" if _grey(image) else "a colour image: made grey")
  if max(width, height) > MOST_ASPECT * min(width, height):
    raise ValueError(
      f"the film has {width} x {height} pixels; a longer side of at most"
      f" {MOST_ASPECT} times the shorter is wanted."
    )
  if min(width, height) < size // 2:
    said.append(
      f"{width} x {height} pixels, enlarged to {size}: little is seen"
    )
  with Image.open(io.BytesIO(stored)) as image:
    low, high = image.convert("L").getextrema()
  if high - low < 8:
    said.append("of one grey throughout: is it a film?")
  return stored, said


def _bytes(source) -> bytes:
  """Of a file, or those given, or a PNG of an array."""
  if isinstance(source, bytes):
    return source
  if isinstance(source, (str, os.PathLike)):
    if not os.path.isfile(source):
      raise ValueError("no such file as is named as the film.")
    if os.path.getsize(source) > MOST_BYTES:
      raise ValueError(f"a file of over {MOST_BYTES:,} bytes; give a smaller.")
    with open(source, "rb") as file:
      return file.read()
  array = np.asarray(source)
  if array.dtype != np.uint8 or array.ndim != 2 or not array.size:
    raise ValueError(
      f"an array {array.dtype}{list(array.shape)}; wanted grey values"
      " uint8[height width], or a path to a JPEG or PNG."
    )
  buffer = io.BytesIO()
  Image.fromarray(array).save(buffer, "PNG")
  return buffer.getvalue()


def _grey(image) -> bool:
  """Whether an image in colours holds none."""
  small = np.asarray(image.convert("RGB").resize((64, 64)), np.int64)
  return int(np.ptp(small, axis=2).max()) < 16
