"""Films as they are stored: 8-bit grey, short side at most 512 pixels."""

import io

from PIL import Image

SHORT_SIDE = 512
QUALITY = 90


class Unreadable(Exception):
  """A file that is no image, or ends early."""


def shrink(path, short_side=SHORT_SIDE):
  """Reads an image file and returns its stored bytes.

  A grey 8-bit JPEG or PNG small enough is kept as it is, so nothing is lost;
  anything else is decoded (a JPEG at reduced scale), made grey, resized with
  its aspect kept, and encoded as JPEG.

  Raises:
    Unreadable: the file is missing, damaged or no image.
  """
  try:
    with open(path, "rb") as file:
      raw = file.read()
    with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as image:
      small = min(image.size) <= short_side
      if small and image.mode == "L":
        image.load()
        return raw
      return _encode(_resize(image, short_side))
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
    raise Unreadable from None


def _resize(image, short_side):
  width, height = image.size
  scale = min(1.0, short_side / min(width, height))
  size = max(1, round(width * scale)), max(1, round(height * scale))
  # Decodes the JPEG at 1/2, 1/4 or 1/8 where that is still larger than
  # wanted: several times faster, and no worse after the resize.
  image.draft("L", (2 * size[0], 2 * size[1]))
  image = image.convert("L")
  if image.size == size:
    return image
  return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _encode(image):
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=QUALITY)
  return buffer.getvalue()
