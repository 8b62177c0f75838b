"""Films as they are stored: 8-bit grey, short side at most 512 pixels."""

import io
import os

from PIL import Image, ImageOps

SHORT_SIDE = 512
QUALITY = 90
FORMATS = ("JPEG", "PNG")
MOST_BYTES = 100_000_000  # Of a file.
MOST_PIXELS = 50_000_000  # Of a film: some 4,000 x 5,000.
_TOO_LARGE = f"has more than {MOST_PIXELS:,} pixels"
# A film's longer side is at most so many times its shorter one.
MOST_ASPECT = 4
ORIENTATION = 0x0112  # EXIF's number of it.


class Unreadable(Exception):
  """A file that no image can be had from; says why."""


def shrink(source, short_side=SHORT_SIDE):
  """Reads an image and returns its stored bytes.

  A grey 8-bit JPEG or PNG small enough is kept as it is, so nothing is lost;
  anything else is decoded (a JPEG at reduced scale), made grey, turned upright
  where its camera noted how it was held, resized with its aspect kept, and
  encoded as JPEG.

  Args:
    source: path of a file, or its bytes.
    short_side: most pixels of it.

  Raises:
    Unreadable: the file is missing, damaged, too large, of 16 bits a pixel
      (of which eight would have to be chosen) or no image; says which.
  """
  try:
    raw = source if isinstance(source, bytes) else _read(source)
    with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
      # From the header: nothing is decoded yet.
      if image.width * image.height > MOST_PIXELS:
        raise Unreadable(_TOO_LARGE)
      if max(image.size) > MOST_ASPECT * min(image.size):
        raise Unreadable(
          "is a strip; its longer side may be at most"
          f" {MOST_ASPECT} times the shorter"
        )
      if image.mode.startswith("I"):
        raise Unreadable("has 16 bits a pixel; save it with 8")
      small = min(image.size) <= short_side
      if small and image.mode == "L" and not turned(image):
        image.load()
        return raw
      return _encode(_resize(image, short_side))
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise Unreadable(_TOO_LARGE) from None
  except (OSError, SyntaxError, ValueError):
    raise Unreadable("is missing, ends early, or is no JPEG or PNG") from None


def turned(image) -> bool:
  """Whether the file says that it has to be turned to be upright."""
  return image.getexif().get(ORIENTATION, 1) != 1


def _read(path):
  if os.path.getsize(path) > MOST_BYTES:
    raise Unreadable(f"has more than {MOST_BYTES:,} bytes")
  with open(path, "rb") as file:
    return file.read()


def _resize(image, short_side):
  width, height = image.size
  scale = min(1.0, short_side / min(width, height))
  size = max(1, round(width * scale)), max(1, round(height * scale))
  # Decodes the JPEG at 1/2, 1/4 or 1/8 where that is still larger than
  # wanted: several times faster, and no worse after the resize.
  image.draft("L", (2 * size[0], 2 * size[1]))
  image = image.convert("L")
  if image.size != size:
    image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
  return ImageOps.exif_transpose(image)


def _encode(image):
  buffer = io.BytesIO()
  image.save(buffer, "JPEG", quality=QUALITY)
  return buffer.getvalue()
