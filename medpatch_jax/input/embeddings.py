"""Arrays that another model made of a note, an image or a signal.

Dims: T tokens, D width.
"""

import zipfile

import numpy as np

DTYPES = ("float16", "float32", "float64")
MOST_BYTES = 1 << 30  # Of a file.
# Of an .npz file: the array, if there are others, and the model's name.
NAMED, MODEL = "tokens", "model"
WANTED = "wanted an array [tokens, width] of floats"


class Unreadable(ValueError):
  """No such array; says what was found, without content."""


def read(path):
  """Reads a .npy or .npz file.

  Returns:
    (f[T D], name of the model that the file says made it, or None).

  Raises:
    Unreadable: it holds no such array.
  """
  try:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
      return checked(found), None
    with found:
      model = str(found[MODEL]) if MODEL in found.files else None
      names = [n for n in found.files if n != MODEL]
      if NAMED not in names and len(names) != 1:
        raise Unreadable(
          f"holds {len(names)} arrays; wanted one, or one called {NAMED}"
        )
      return checked(found[NAMED if NAMED in names else names[0]]), model
  except Unreadable:
    raise
  except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
    raise Unreadable("is no .npy or .npz file, or is cut off") from None


def checked(array, width=None):
  """Checks what is given as an embedding; a vector is one token.

  Args:
    array: f[T D] or f[D], or lists.
    width: D that is wanted, None for any.

  Returns:
    f16[T D] where it was float16, else f32[T D].

  Raises:
    Unreadable: it is something else, or holds a NaN.
  """
  try:
    array = np.asarray(array)
  except ValueError:
    raise Unreadable(f"rows of unlike lengths; {WANTED}") from None
  if array.ndim == 1:
    array = array[None]
  kind = array.dtype.name
  if array.ndim != 2 or kind not in DTYPES or not array.size:
    shape = ", ".join(map(str, array.shape))
    raise Unreadable(f"found {kind} [{shape}]; {WANTED}")
  if array.shape[1] < 2:
    raise Unreadable("is 1 wide; wanted 2 or more, a number being an event")
  if width and array.shape[1] != width:
    raise Unreadable(f"is {array.shape[1]} wide, wanted {width}")
  if kind == "float64":
    with np.errstate(over="ignore"):
      array = array.astype(np.float32)
  if not np.isfinite(array).all():
    raise Unreadable("holds a NaN or an infinite number")
  return array
