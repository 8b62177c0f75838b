"""Reads a YAML file that a user wrote: every scalar as text, no key twice."""

import pathlib

import yaml

from data.errors import InputError, nearest

MOST_BYTES = 16_000_000


# Scalars stay text: 0389 is no number, and "no" no false.
class _Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
  """Reads YAML into dicts, lists and text, and no key twice."""

  def construct_mapping(self, node, deep=False):
    seen = set()
    for key, _ in node.value:
      if not isinstance(key, yaml.ScalarNode) or key.value in seen:
        raise yaml.constructor.ConstructorError(
          None, None, "no name, or one of an earlier line", key.start_mark
        )
      seen.add(key.value)
    return super().construct_mapping(node, deep=deep)


def read(path, flag, holds):
  """Reads a file.

  Args:
    path: the file.
    flag: name of the flag that gives it, for messages.
    holds: what the file is to hold, in words, for messages.

  Returns:
    (what the file says: dicts, lists and text; its bytes).

  Raises:
    InputError: it cannot be read, is too large, or is no YAML.
  """
  path = pathlib.Path(path)
  raw = _bytes(path, flag, holds)
  try:
    return yaml.load(raw.decode("utf-8-sig"), _Loader), raw
  except UnicodeDecodeError:
    raise InputError(f"{path}: is not UTF-8 text.") from None
  except yaml.YAMLError as error:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    what = getattr(error, "problem", None) or "a character it may not hold"
    raise InputError(f"{path}: {where}is no YAML ({what}).") from None
  except RecursionError:
    raise InputError(f"{path}: is no YAML of this form (too deep).") from None


def fields(where, value, known):
  """Refuses anything but a mapping of known fields.

  Args:
    where: file and place, for messages.
    value: what stands there.
    known: names.

  Raises:
    InputError: it is no mapping, or has another field.
  """
  if not isinstance(value, dict):
    raise InputError(f"{where}: wanted fields, {', '.join(known)}.")
  for field in value:
    if field not in known:
      raise InputError(
        f"{where}: field {field!r} is unknown; known are {', '.join(known)}."
        f"{nearest(field, known)}"
      )


def _bytes(path, flag, holds):
  try:
    if path.stat().st_size > MOST_BYTES:
      raise InputError(
        f"--{flag}={path}: is over {MOST_BYTES // 10**6} MB; wanted a YAML"
        f" file of {holds}."
      )
    return path.read_bytes()
  except OSError as error:
    raise InputError(
      f"--{flag}={path}: cannot be read ({error.strerror}); wanted a YAML file."
    ) from None
