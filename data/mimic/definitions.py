"""Phenotypes as a file of the reader defines them: names and ICD codes.

The form is that of the benchmark's own list (YAML):

    Acute and unspecified renal failure:
      codes: ['5845', N17.0]
      type: acute
      use_in_benchmark: true

The list itself comes with the published code and is not repeated here.
"""

import dataclasses
import hashlib
import pathlib
import re

from data import yaml_file
from data.errors import InputError
from data.mimic.ccs import plain

MOST_NAME = 200
_FIELDS = ("codes", "id", "type", "use_in_benchmark")
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_CODE = re.compile(r"[A-Z0-9]{2,8}\Z")


@dataclasses.dataclass(frozen=True)
class Definitions:
  """What a file defines.

  Attributes:
    source: the file's name and the start of its SHA-256, for reports.
    names: C labels, in alphabetical order, as the published code has them.
    codes: C sets of ICD codes of either version, as `plain` writes them.
  """

  source: str
  names: tuple[str, ...]
  codes: tuple[frozenset, ...]

  def labels(self, code):
    """Returns the indices of the labels that an ICD code stands for."""
    code = plain(code)
    return [i for i, codes in enumerate(self.codes) if code in codes]


def read(path) -> Definitions:
  """Reads and checks a file of phenotypes.

  Raises:
    InputError: it cannot be read, or is not of the form above.
  """
  path = pathlib.Path(path)
  found, raw = yaml_file.read(path, "phenotypes", "names and ICD codes")
  groups = {
    name: _codes(path, name, fields)
    for name, fields in _named(path, found).items()
  }
  used = {name: codes for name, codes in groups.items() if codes is not None}
  if not used:
    raise InputError(
      f"{path}: defines no phenotype to use; use_in_benchmark is false in all"
      f" {len(groups):,}."
    )
  names = tuple(sorted(used))
  digest = hashlib.sha256(raw).hexdigest()[:12]
  return Definitions(
    f"{path.name} (sha256 {digest})", names, tuple(used[n] for n in names)
  )


def _named(path, groups):
  """Returns name -> fields, the names checked."""
  if not isinstance(groups, dict) or not groups:
    raise InputError(
      f"{path}: wanted phenotypes by name, each with its fields"
      f" ({', '.join(_FIELDS)})."
    )
  for number, name in enumerate(groups, 1):
    blank = not name or name != name.strip()
    if blank or len(name) > MOST_NAME or not name.isprintable():
      raise InputError(
        f"{path}: phenotype {number}: its name is empty, has blanks at its ends"
        f" or characters that cannot be printed, or is over {MOST_NAME} long."
      )
  return groups


def _codes(path, name, fields):
  """Returns the codes of one phenotype, None if it is not to be used."""
  here = f"{path}: phenotype {name!r}"
  yaml_file.fields(here, fields, _FIELDS)
  use = fields.get("use_in_benchmark", "true")
  if not isinstance(use, str) or use.lower() not in _YES + _NO:
    raise InputError(f"{here}, use_in_benchmark: wanted true or false.")
  if use.lower() in _NO:
    return None
  codes = fields.get("codes")
  if not isinstance(codes, list) or not codes:
    raise InputError(f"{here}, codes: wanted a list of ICD codes.")
  for number, code in enumerate(codes, 1):
    if not isinstance(code, str) or not _CODE.match(plain(code)):
      raise InputError(
        f"{here}, codes: entry {number} is no ICD code; wanted such as 4280 or"
        " I50.9."
      )
  return frozenset(map(plain, codes))
