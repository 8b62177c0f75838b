"""Files and folders that a command is given: looked at before it starts.

All raise `InputError` that names the flag and the place.
"""

import os
import pathlib
import tempfile

# Whether commands are called as `medpatch NAME`, as where only the package is.
installed = False


def worded(text: str) -> str:
  """Commands in a message as the user calls them."""
  if not installed:
    return text
  for module in ("experiments.", "medpatch_jax.", "data."):
    text = text.replace(f"python -m {module}", "medpatch ")
  return text


class InputError(ValueError):
  """Something given to a command is not as it must be.

  The message is one line: file, column or row number (never its content),
  what was found, what was wanted.
  """


def writable(flag: str, path) -> None:
  """Refuses a file or folder that could not be written; leaves no trace.

  What a mode says is not believed (root, network disks): it is tried.

  Args:
    flag: its name.
    path: of what is to be written; None is fine.
  """
  if path is None:
    return
  path = pathlib.Path(path)
  made = []
  try:
    folder = path if path.is_dir() else path.parent
    made = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise InputError(
      f"--{flag}: {path} cannot be created or written ({error.strerror}); give"
      " another place."
    ) from None
  finally:
    remove(made)


def a_folder(flag: str, path) -> None:
  """As `writable`, and refuses what is a file."""
  if path is not None and pathlib.Path(path).is_file():
    raise InputError(f"--{flag}={path}: is a file, wanted a folder.")
  writable(flag, path)


def a_file(flag: str, path, suffixes=()) -> None:
  """As `writable`, of a file with one of some endings, not of a folder."""
  if path is None:
    return
  if os.path.isdir(path):
    raise InputError(f"--{flag}={path}: is a folder, wanted a file.")
  if suffixes and pathlib.Path(path).suffix not in suffixes:
    raise InputError(
      f"--{flag}={path}: wanted a name in {', '.join(suffixes)}."
    )
  writable(flag, path)


def readable(flag: str, path) -> None:
  """Refuses a file that is not there, or may not be read."""
  if path is None:
    return
  try:
    with open(path, "rb"):
      pass
  except OSError as error:
    raise InputError(
      f"--{flag}={path}: cannot be read ({error.strerror}); give the name of a"
      " file."
    ) from None


def remove(folders) -> None:
  """Removes folders, inner first, as far as they are empty."""
  for folder in folders:
    try:
      folder.rmdir()
    except OSError:
      return
