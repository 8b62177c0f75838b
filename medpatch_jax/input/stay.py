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

from medpatch_jax.input import (
  cell,
  channels,
  embeddings,
  examples,
  images,
  series,
  tokenise,
)

MOST_CHARACTERS = 10_000_000  # Of a note.


class Empty(ValueError):
  """A stay of which nothing is known."""


@dataclasses.dataclass(frozen=True)
class Preparation:
  """What a model was trained on was prepared so.

  Attributes:
    kinds: modality -> series, image, text or embedding, in the order of
      `present`.
    shapes: static sizes.
    recipe: of all series, None without one.
    channels: how they are read.
    tokeniser: of the texts, None without any.
    late: texts that are read whenever they were written, also after the
      window; of all others nothing is seen that is not of the window.
    embedded: kind of embeddings -> name of the model that made them.
  """

  kinds: dict[str, str]
  shapes: examples.Shapes
  recipe: series.Recipe | None
  channels: channels.Channels
  tokeniser: tokenise.Tokeniser | None
  late: tuple[str, ...] = ()
  embedded: dict[str, str] = dataclasses.field(default_factory=dict)

  def example(self, stay: dict):
    """Prepares one stay.

    Args:
      stay: modality -> its raw input, or None; "hours" -> length of its
        window. Series: see `series.Recipe.grid`. Image: path, bytes of a JPEG
        or PNG, or array u8[H W]; or (hour, image), or a list of these, of
        which the last in the window is read. Text: a text, or (hour, text) of
        several. Embedding: array f[T D], or (hour, array) of several. Hours
        count from the start of the stay.

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
          f"the stay has an unknown input, {str(name)[:40]!r}; known are"
          f" {', '.join(known)}.{hint}"
        )
    inputs, said, end = {}, [], self._end(stay.get("hours"))
    for m, kind in self.kinds.items():
      inputs[m], remarks = None, []
      if stay.get(m) is None or _none(stay[m], kind):
        continue
      try:
        if kind == "series":
          inputs[m], remarks = self._series(m, stay[m], stay.get("hours"))
        elif kind == "image":
          inputs[m], remarks = self._image(stay[m], end)
        elif kind == "embedding":
          inputs[m], remarks = self._embedding(m, stay[m], end)
        else:
          late = m in self.late
          inputs[m], remarks = self._text(stay[m], None if late else end)
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

  def _series(self, m, rows, hours):
    recipe = self.recipe.only(m)
    grid, said = recipe.grid(rows, hours)
    if grid is None:
      return None, [*said, "no event left: taken as absent"]
    return self.channels.of(recipe.columns())(grid), said

  def _end(self, hours) -> float:
    """Length of the window; infinite where it is not known.

    Raises:
      ValueError: `hours` is no number.
    """
    if hours is None:
      hours = self.recipe.hours if self.recipe else None
    end = np.inf if hours is None else cell.number(hours)
    if not end > 0:
      raise ValueError("hours: wanted a number above 0, the window's length.")
    return end

  def _image(self, source, end):
    said = []
    if isinstance(source, tuple):
      source = [source]
    if isinstance(source, list):
      timed, left = within(source, end)
      said = _outside(left, "images", end)
      if not timed:
        return None, [*said, "no image left: taken as absent"]
      source = timed[-1][1]
    stored, more = film(source, self.shapes.image_size)
    return examples.image(stored, self.shapes.image_size), said + more

  def _embedding(self, m, source, end):
    said, width = [], self.shapes.columns[m]
    if isinstance(source, tuple):
      source = [source]
    if isinstance(source, list) and isinstance(source[0], tuple):
      timed, left = within(source, end)
      said = _outside(left, "embeddings", end)
      if not timed:
        return None, [*said, "no embedding left: taken as absent"]
      source = [array for _, array in timed]
    else:
      source = [source]
    found = np.concatenate([embeddings.checked(a, width) for a in source])
    most = self.shapes.tokens[m]
    if len(found) <= most:
      return {"x": found}, said
    return {"x": found[:most]}, [
      *said,
      f"{len(found):,} tokens: only the first {most:,} are read, as many as a"
      " stay of the training data had at most",
    ]

  def _text(self, notes, end):
    said = []
    if not isinstance(notes, str):
      timed, left = within(notes, end, str)
      said = _outside(left, "notes", end)
      if not timed:
        return None, [*said, "no note left: taken as absent"]
      notes = examples.join(t for _, t in timed)
    if len(notes) > MOST_CHARACTERS:
      raise ValueError(
        f"a text of {len(notes):,} characters; at most {MOST_CHARACTERS:,}."
      )
    if not cell.strip(notes):
      return None, [*said, "an empty text: taken as absent"]
    fields = examples.text(notes, self.tokeniser, self.shapes)
    most, windows = self.shapes.max_windows, fields["windows"]
    if windows <= most:
      return fields, said
    return fields, [
      *said,
      f"{windows:,} windows of {self.shapes.window} pieces: only the first"
      f" {most} are read, {windows - most:,} left out",
    ]


def _none(rows, kind) -> bool:
  """Whether a table or a list has no row; an empty text is something else."""
  if kind == "image":
    return isinstance(rows, list) and not rows
  return (
    not isinstance(rows, str) and hasattr(rows, "__len__") and not len(rows)
  )


def within(timed, end, kind=object):
  """Notes or images of a window, by hour.

  Args:
    timed: (hour, note or image) each.
    end: length of the window in hours; None reads all.
    kind: what the second has to be.

  Returns:
    (those of the window, in order of hour; how many were left out).

  Raises:
    ValueError: an entry is something else.
  """
  found = []
  for number, entry in enumerate(timed, 1):
    try:
      hour, what = entry
      hour = cell.number(hour)
    except (TypeError, ValueError):
      hour = what = np.nan
    if not np.isfinite(hour) or not isinstance(what, kind):
      noun = "note" if kind is str else "image"
      name = "text" if kind is str else noun
      raise ValueError(
        f"{noun} {number}: wanted (hour, {name}), or one {name} in place of the"
        " list."
      )
    if kind is not str or cell.strip(what):  # A note of blanks is none.
      found.append((hour, what))
  kept = [e for e in found if end is None or 0 <= e[0] <= end]
  return sorted(kept, key=lambda e: e[0]), len(found) - len(kept)


def _outside(count, noun, end):
  """What there is to say of notes or images out of the window."""
  if not count:
    return []
  hours = "start of the stay" if np.isinf(end) else f"{end:g} hours"
  return [f"{count:,} {noun} outside the {hours}: left out"]


def film(source, size: int):
  """A film from outside -> (bytes as a record holds them, what was done).

  Args:
    source: path, bytes of a JPEG or PNG, or array u8[H W] of grey values.
    size: pixels a side that the model reads.

  Raises:
    ValueError: no such film; says what it is and what to do.
  """
  raw = _bytes(source)
  if len(raw) > images.MOST_BYTES:
    raise ValueError(
      f"a file of {len(raw):,} bytes; at most {images.MOST_BYTES:,}."
    )
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
    if os.path.getsize(source) > images.MOST_BYTES:
      raise ValueError(
        f"a file of over {images.MOST_BYTES:,} bytes; give a smaller."
      )
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
