"""Records of a set: a folder, .tar.gz or .zip of small text files.

Nothing is unpacked to disk. What leads out of the set, is too large, or is no
text is refused.
"""

import pathlib
import re
import tarfile
import zipfile
import zlib

from data.errors import InputError

SUFFIXES = ("", ".tar.gz", ".tgz", ".zip")
# A record of the challenge is some 10 kB, a set 4,000 of them.
MOST_BYTES = 1 << 20
MOST_FILES = 20_000
_RECORD = re.compile(r"([0-9]{1,18})\.txt\Z")
# What tools leave beside the records.
_IGNORED = re.compile(r"(\._.*|\.DS_Store|index\.html.*)\Z")


def find(root, letter):
  """Where set a, b or c lies in a folder, or None."""
  for suffix in SUFFIXES:
    path = pathlib.Path(root) / f"set-{letter}{suffix}"
    if path.is_dir() if not suffix else path.is_file():
      return path
  return None


def records(path):
  """Yields (record id, text) of every record of a set.

  Raises:
    InputError: the archive is damaged, or holds what it must not.
  """
  seen = set()
  if path.is_dir():
    opened = _folder(path)
  elif path.suffix == ".zip":
    opened = _zip(path)
  else:
    opened = _tar(path)
  for name, size, read in opened:
    record = _check(path, name, size)
    if record is None:
      continue
    if record in seen:
      raise InputError(f"{path}: holds record {name} twice.")
    seen.add(record)
    if len(seen) > MOST_FILES:
      raise InputError(f"{path}: holds more than {MOST_FILES:,} files.")
    yield record, _text(path, name, read)
  if not seen:
    raise InputError(f"{path}: holds no record; wanted files as 132539.txt.")


def _check(path, name, size):
  """The id of a member's record, None for what is passed over."""
  parts = pathlib.PurePosixPath(name.replace("\\", "/")).parts
  if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
    raise InputError(
      f"{path}: holds a file that leads outside it; download it again."
    )
  if _IGNORED.match(parts[-1]) or parts[0] == "__MACOSX":
    return None
  found = _RECORD.match(parts[-1])
  if not found:
    raise InputError(
      f"{path}: holds a file that is no record; wanted names as 132539.txt."
    )
  if size > MOST_BYTES:
    raise InputError(
      f"{path}: {parts[-1]} has {size:,} bytes; a record has at most"
      f" {MOST_BYTES:,}."
    )
  return int(found.group(1))


def _text(path, name, read):
  name = pathlib.PurePosixPath(name).name
  try:
    raw = read()
  except (OSError, EOFError, *_DAMAGED) as error:
    raise InputError(
      f"{path}: {name} cannot be read ({type(error).__name__}); is the file"
      " cut off?"
    ) from None
  try:
    text = raw.decode("utf-8-sig")
  except UnicodeDecodeError:
    text = "\0"
  if "\0" in text:
    raise InputError(f"{path}: {name} is no text.")
  return text


# RuntimeError: of a version or encryption that zipfile does not know.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError)


def _folder(path):
  root = path.resolve()
  for file in sorted(path.iterdir()):
    if file.is_dir() or not _RECORD.match(file.name):
      continue
    if not file.resolve().is_relative_to(root) or not file.is_file():
      raise InputError(f"{path}: {file.name} leads outside the folder.")
    yield file.name, file.stat().st_size, file.read_bytes


def _tar(path):
  try:
    with tarfile.open(path, "r:gz") as archive:
      for member in archive:
        if member.isdir():
          continue
        if not member.isreg():
          raise InputError(f"{path}: holds a link; download it again.")
        yield (
          member.name,
          member.size,
          lambda member=member: archive.extractfile(member).read(),
        )
  except (OSError, EOFError, *_DAMAGED) as error:
    raise InputError(
      f"{path}: cannot be read ({type(error).__name__}); is it cut off, or no"
      " .tar.gz?"
    ) from None


def _zip(path):
  try:
    with zipfile.ZipFile(path) as archive:
      for member in archive.infolist():
        if member.is_dir():
          continue
        yield (
          member.filename,
          member.file_size,
          lambda member=member: archive.read(member),
        )
  except (OSError, EOFError, *_DAMAGED) as error:
    raise InputError(
      f"{path}: cannot be read ({type(error).__name__}); is it cut off, or no"
      " .zip?"
    ) from None
