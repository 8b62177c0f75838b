"""Files written whole, for their owner alone, and read as they were written.

What is written here can hold single patients' data. A file gets its name when
its content is on disk; JSON carries a checksum of itself, a folder of other
files a list of theirs. CRC-32 tells damage, not malice; it takes half a second
for a gigabyte.
"""

import contextlib
import errno
import fnmatch
import json
import os
import pathlib
import shutil
import zlib

FULL = (errno.ENOSPC, errno.EDQUOT)
SUMS = "checksums.json"
CHECKSUM = "checksum"
_NO_ROOM = (
  "the disk is full. Nothing that was saved before is lost: free some room and"
  " give the same command again."
)
_WORDS = {
  dict: "an object",
  list: "a list",
  str: "a text",
  bool: "true or false",
  int: "a whole number",
  float: "a number",
  type(None): "absent or null",
}


class DiskFull(ValueError):
  """Something was not written for want of room; what was there before is."""


class Damaged(ValueError):
  """A file is not as it was written; the message names it and what to do."""


def full(error: BaseException | None) -> bool:
  """Whether an error, or what caused it, is a disk without room."""
  while error is not None:
    # Tensorstore has no errno, only the words.
    if getattr(error, "errno", None) in FULL or "No space left" in str(error):
      return True
    error = error.__cause__ or error.__context__
  return False


@contextlib.contextmanager
def room(path):
  """Inside the `with`, a full disk is a `DiskFull` that names `path`."""
  try:
    yield
  except Exception as error:
    if isinstance(error, DiskFull) or not full(error):
      raise
    raise DiskFull(f"{path}: {_NO_ROOM}") from error


def told(error: OSError) -> str | None:
  """A line about an error of the operating system, None if it names no file."""
  if full(error):
    return f"{error.filename or 'a file'}: {_NO_ROOM}"
  if error.filename is None:
    return None
  return (
    f"{error.filename}: {error.strerror}; see whether the path is right, may be"
    " written, and its disk is whole."
  )


@contextlib.contextmanager
def private():
  """Inside the `with`, new files and folders are readable by their owner alone.

  Also those that libraries create. It is the process's umask, so it holds for
  all of its threads, and for processes that it starts.
  """
  before = os.umask(0o077)
  try:
    yield
  finally:
    os.umask(before)


@contextlib.contextmanager
def whole(path):
  """A name to write to, which becomes `path` when it is complete.

  Folders above it are created; nothing is left after an error.

  Raises:
    DiskFull: it did not fit.
  """
  path = pathlib.Path(path)
  part = path.with_name(path.name + ".partial")
  try:
    with room(path), private():
      path.parent.mkdir(parents=True, exist_ok=True)
      part.unlink(missing_ok=True)  # Its mode would stay.
      yield part
      with open(part, "rb") as file:
        os.fsync(file.fileno())
      os.replace(part, path)
  except BaseException:
    with contextlib.suppress(OSError):
      part.unlink()
    raise


@contextlib.contextmanager
def whole_folder(path):
  """As `whole`, for a new folder; one of that name is replaced."""
  path = pathlib.Path(path)
  part = path.with_name(path.name + ".partial")
  with room(path), private():
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
      yield part
      shutil.rmtree(path, ignore_errors=True)
      part.rename(path)
    except BaseException:
      shutil.rmtree(part, ignore_errors=True)
      raise


def write_text(path, text: str) -> None:
  """Writes a file whole or not at all."""
  with whole(path) as part:
    part.write_text(text, "utf-8")


def write_json(path, value) -> None:
  """Writes JSON whole or not at all, an object with a checksum of the rest."""
  value = json.loads(json.dumps(value))
  if isinstance(value, dict):
    value[CHECKSUM] = _sum(value)
  write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path, kind, redo: str):
  """A JSON file, checked; what `write_json` wrote also by its checksum.

  Args:
    path: of the file.
    kind: of the content, see `check`.
    redo: what to do where it is damaged, for the message.

  Raises:
    Damaged: it is missing, no JSON, of another kind, or was changed.
  """
  try:
    value = json.loads(pathlib.Path(path).read_text("utf-8"))
  except FileNotFoundError:
    raise Damaged(f"{path}: is missing; {redo}") from None
  except (OSError, ValueError, RecursionError) as error:
    raise Damaged(
      f"{path}: is damaged or no JSON ({type(error).__name__}); {redo}"
    ) from None
  found = value.pop(CHECKSUM, None) if isinstance(value, dict) else None
  check(value, kind, path, redo)
  if found is not None and found != _sum(value):
    raise Damaged(
      f"{path}: its checksum is not that of its content, so it was changed or"
      f" damaged; {redo}"
    )
  return value


def check(value, kind, path, redo: str) -> None:
  """Refuses a JSON value that is not of a kind.

  Args:
    value: as `json` returns it.
    kind: dict, list, str, bool, int, float (which takes int) or None for null
      and absent; a dict of fields and their kinds, which may have more fields;
      a list of one kind, of every element; a tuple of kinds, any of them.
    path: the file, for the message.
    redo: what to do, for the message.

  Raises:
    Damaged: names the field, what was found and what was wanted.
  """
  if misfit := _misfit(value, kind, ""):
    name, found, wanted = misfit
    raise Damaged(
      f"{path}: {name or 'is damaged: it'} is {_WORDS[type(found)]}, wanted"
      f" {wanted}; {redo}"
    )


def _misfit(value, kind, name):
  """(field, what it is, what it must be) of the first misfit, or None."""
  if isinstance(kind, tuple):
    each = [_misfit(value, k, name) for k in kind]
    if None in each:
      return None
    deeper = [m for m in each if m[0] != name]
    wanted = " or ".join(dict.fromkeys(m[2] for m in each if m[0] == name))
    return deeper[0] if deeper else (name, value, wanted)
  if isinstance(kind, (dict, list)):
    if not isinstance(value, type(kind)):
      return name, value, _WORDS[type(kind)]
    inner = (
      [(f"{name}.{k}".lstrip("."), value.get(k), kind[k]) for k in kind]
      if isinstance(kind, dict)
      else [(f"{name}[{i}]", v, kind[0]) for i, v in enumerate(value)]
    )
    return next((m for n, v, k in inner if (m := _misfit(v, k, n))), None)
  kind = type(None) if kind is None else kind
  fits = type(value) in ((float, int) if kind is float else (kind,))
  return None if fits else (name, value, _WORDS[kind])


def seal(folder, patterns=("*",)) -> None:
  """Writes checksums.json: size and CRC-32 of a folder's files.

  Args:
    folder: the folder, with those below it.
    patterns: of the names of those that are read again.
  """
  folder = pathlib.Path(folder)
  names = sorted(
    p.relative_to(folder).as_posix()
    for pattern in patterns
    for p in folder.rglob(pattern)
    if p.is_file() and p.name != SUMS
  )
  sums = {n: [(folder / n).stat().st_size, crc(folder / n)] for n in names}
  write_json(folder / SUMS, {"files": sums})


def sealed(folder, redo: str, skip: str = "") -> list[str]:
  """Names of the files of a folder that are as they were when it was sealed.

  Args:
    folder: of `seal`.
    redo: what to do where one is not, for the message.
    skip: pattern of the names of which only the size is looked at.

  Raises:
    Damaged: names the first that is not, or the missing checksums.json.
  """
  folder = pathlib.Path(folder)
  kind = {"files": dict}
  names = read_json(folder / SUMS, kind, redo)["files"]
  for name, (size, total) in names.items():
    path = folder / name
    if not path.is_file():
      raise Damaged(f"{path}: is missing; {redo}")
    if (found := path.stat().st_size) != size:
      raise Damaged(
        f"{path}: has {found:,} bytes, {size:,} were written; {redo}"
      )
    if not fnmatch.fnmatch(name, skip) and crc(path) != total:
      raise Damaged(
        f"{path}: its checksum is not that of {SUMS}, so it was changed or"
        f" damaged; {redo}"
      )
  return list(names)


def crc(path) -> int:
  """CRC-32 of a file."""
  total = 0
  with open(path, "rb") as file:
    while part := file.read(1 << 20):
      total = zlib.crc32(part, total)
  return total


def _sum(value) -> str:
  """CRC-32 of a JSON value, 8 hexadecimal digits."""
  return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


def hold(folder):
  """Holds a folder, created if need be, for this process alone.

  The hold ends when the file is closed or the process ends, however it ends.

  Returns:
    the open lock file, or None if another process holds the folder.
  """
  import fcntl

  folder = pathlib.Path(folder)
  path = folder / "lock"
  while True:
    folder.mkdir(parents=True, exist_ok=True)
    try:
      file = open(path, "ab")
    except FileNotFoundError:
      continue  # Whoever held the folder has just removed it.
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.close()
      return None
    except OSError:
      pass  # A disk without locks, as some shared ones: nothing can be told.
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
        return file
    file.close()
