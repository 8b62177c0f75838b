"""Which codes of a MEDS folder become what: the YAML file of `--map`.

    name: my-hospital
    window: {hours: 48}
    variables:
      Heart rate: {codes: [VITAL//HR], unit: /min, low: 0, high: 350}
      Temperature:
        unit: degC
        codes:
          - TEMP//C
          - {code: TEMP//F, multiply: 0.5555556, add: -17.7777778}
    notes:
      radiology: {codes: [NOTE//RADIOLOGY//*]}

docs/meds.md describes every field.
"""

import dataclasses
import hashlib
import pathlib
import re

from data import yaml_file
from data.errors import InputError
from medpatch_jax.input import cell

OURS = {"mimic": pathlib.Path(__file__).with_name("mimic.yaml")}
ITEM = "{item}"
_TOP = (
  "name", "window", "mimic_items", "variables", "notes", "images",
  "embeddings", "groups",
)  # fmt: skip
_WINDOW = ("hours", "start", "stay_id")
_NUMBERS = ("normal", "low", "high")
_VARIABLE = ("codes", "kind", "unit", "categories", *_NUMBERS, "optional")
_SOURCE = ("code", "multiply", "add", "value")
_GROUP = ("word", "years_since", "optional")


@dataclasses.dataclass(frozen=True)
class Source:
  """A pattern of codes and what is made of a row's value.

  Attributes:
    code: a code, in which * stands for any characters and {item} for an
      itemid of MIMIC.
    multiply, add: of a number: value * multiply + add.
    value: takes the place of what the row holds; None: what it holds.
  """

  code: str
  multiply: float = 1.0
  add: float = 0.0
  value: str | None = None

  def match(self, code):
    """Returns what * or {item} stands for in a code, None if it is another."""
    pattern = re.escape(self.code).replace(
      re.escape(ITEM), r"(?P<item>\d{1,9})"
    )
    found = re.fullmatch(pattern.replace(r"\*", "(.*)"), code, re.DOTALL)
    return found and (found.groupdict().get("item") or "".join(found.groups()))


@dataclasses.dataclass(frozen=True)
class Entry:
  """What some codes become.

  Attributes:
    use: "item", "variable", "note", "image", "embedding", "word" or
      "years_since" (both of a subgroup), or "start" (of the window).
    name: of the variable, the kind of notes or embeddings, or the subgroup.
    sources: tuple of `Source`, the preferred one first.
    optional: a folder need not have any of these codes.
    fields: further columns of the table of variables, as text; of embeddings
      the model that made them.
  """

  use: str
  name: str
  sources: tuple
  optional: bool = False
  fields: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Mapping:
  """A file of `--map`.

  Attributes:
    source: the file's name and the start of its SHA-256, for reports.
    name: of the data, kept as `source_version`.
    hours: length of every window, None where an event begins it.
    stay_id: column of that event that names the stay, or None.
    entries: tuple of `Entry`.
  """

  source: str
  name: str
  hours: float | None
  stay_id: str | None
  entries: tuple

  def of(self, use):
    """Returns the entries of a use."""
    return [e for e in self.entries if e.use == use]


def path(given) -> pathlib.Path:
  """Returns the file that --map means: a name of `OURS`, or a path."""
  return OURS.get(str(given), pathlib.Path(given))


def read(given) -> Mapping:
  """Reads and checks a map.

  Raises:
    InputError: it cannot be read, or is not of the form above.
  """
  file = path(given)
  top, raw = yaml_file.read(file, "map", "codes and what they become")
  where = str(file)
  yaml_file.fields(where, top, _TOP)
  window = _window(where, top)
  entries = []
  if "mimic_items" in top:
    sources = _sources(f"{where}, mimic_items", top["mimic_items"], item=True)
    entries.append(Entry("item", "mimic_items", sources))
  if "start" in window:
    sources = _sources(f"{where}, window, start", window["start"])
    entries.append(Entry("start", "window", sources))
  for name, fields in _named(where, top, "variables"):
    entries.append(_variable(f"{where}, variables, {name}", name, fields))
  for name, fields in _named(where, top, "notes"):
    entries.append(_codes(f"{where}, notes, {name}", "note", name, fields))
  if "images" in top:
    here = f"{where}, images"
    entries.append(_codes(here, "image", "images", top["images"]))
  for name, fields in _named(where, top, "embeddings"):
    here = f"{where}, embeddings, {name}"
    yaml_file.fields(here, fields, ("codes", "model", "optional"))
    model = {"model": _text(f"{here}, model", fields.get("model"))}
    sources = _sources(f"{here}, codes", fields.get("codes"))
    optional = _optional(here, fields)
    entries.append(Entry("embedding", name, sources, optional, model))
  for name, fields in _named(where, top, "groups"):
    entries.append(_group(f"{where}, groups, {name}", name, fields))
  inputs = {"item", "variable", "note", "image", "embedding"}
  if not inputs & {e.use for e in entries}:
    raise InputError(
      f"{where}: maps no code to an input; wanted mimic_items, variables, notes,"
      " images or embeddings."
    )
  hours = window.get("hours")
  return Mapping(
    f"{file.name} (sha256 {hashlib.sha256(raw).hexdigest()[:12]})",
    _text(f"{where}, name", top.get("name", file.stem)),
    None if hours is None else _number(f"{where}, window, hours", hours),
    window.get("stay_id"),
    tuple(entries),
  )


def _window(where, top):
  window, here = top.get("window"), f"{where}, window"
  if window is None:
    raise InputError(
      f"{here}: is missing; wanted hours (of the window that ends at the"
      " prediction time) or start (codes of the event it begins with)."
    )
  yaml_file.fields(here, window, _WINDOW)
  if ("hours" in window) == ("start" in window):
    raise InputError(f"{here}: wanted one of hours and start.")
  if "stay_id" in window:
    if "start" not in window:
      raise InputError(f"{here}, stay_id: is a column of start, which is not.")
    _text(f"{here}, stay_id", window["stay_id"])
  return window


def _named(where, top, section):
  """Yields (name, fields) of a section."""
  found = top.get(section, {})
  if not isinstance(found, dict):
    raise InputError(f"{where}, {section}: wanted names, each with fields.")
  for number, (name, fields) in enumerate(found.items(), 1):
    if not name or not name.isprintable() or name != cell.strip(name):
      raise InputError(
        f"{where}, {section}, entry {number}: wanted a name of printable"
        " characters."
      )
    yield name, fields


def _text(where, value):
  if not isinstance(value, str) or not value or not value.isprintable():
    raise InputError(f"{where}: wanted words.")
  return value


def _number(where, value):
  number = cell.number(value) if isinstance(value, str) else float("nan")
  if number != number:
    raise InputError(f"{where}: wanted a number, as 1.5.")
  return number


def _sources(where, value, item=False):
  """A list of codes -> tuple of `Source`."""
  values = [value] if isinstance(value, str) else value
  if not isinstance(values, list) or not values:
    raise InputError(f"{where}: wanted a list of codes.")
  out = []
  for number, entry in enumerate(values, 1):
    here = f"{where}, code {number}"
    entry = {"code": entry} if isinstance(entry, str) else entry
    yaml_file.fields(here, entry, ("code",) if item else _SOURCE)
    code = _text(here, entry.get("code"))
    if item != (code.count(ITEM) == 1):
      raise InputError(
        f"{here}: wanted {{item}} once, in the place of MIMIC's itemid."
        if item
        else f"{here}: {{item}} stands in codes of mimic_items alone."
      )
    out.append(
      Source(
        code,
        _number(f"{here}, multiply", entry.get("multiply", "1")),
        _number(f"{here}, add", entry.get("add", "0")),
        _text(f"{here}, value", entry["value"]) if "value" in entry else None,
      )
    )
  return tuple(out)


def _optional(where, fields):
  word = fields.get("optional", "false")
  if word not in ("true", "false"):
    raise InputError(f"{where}, optional: wanted true or false.")
  return word == "true"


def _codes(where, use, name, fields):
  """An entry of notes or images: codes, and nothing else."""
  yaml_file.fields(where, fields, ("codes", "optional"))
  sources = _sources(f"{where}, codes", fields.get("codes"))
  return Entry(use, name, sources, _optional(where, fields))


def _variable(where, name, fields):
  yaml_file.fields(where, fields, _VARIABLE)
  columns = {k: v for k, v in fields.items() if k not in ("codes", "optional")}
  words = columns.get("categories")
  if words is not None:
    if not isinstance(words, list) or not all(map(_is_word, words)):
      raise InputError(
        f"{where}, categories: wanted a list of words without |."
      )
    columns["categories"] = "|".join(words)
  for column in ("kind", "unit", "normal", "low", "high"):
    if column in columns and not isinstance(columns[column], str):
      raise InputError(f"{where}, {column}: wanted one word or number.")
    if column in _NUMBERS and column in columns and not words:
      _number(f"{where}, {column}", columns[column])
  sources = _sources(f"{where}, codes", fields.get("codes"))
  if words and any((s.multiply, s.add) != (1.0, 0.0) for s in sources):
    raise InputError(f"{where}: categories are not multiplied or added to.")
  return Entry("variable", name, sources, _optional(where, fields), columns)


def _is_word(word):
  return isinstance(word, str) and word and "|" not in word


def _group(where, name, fields):
  yaml_file.fields(where, fields, _GROUP)
  if ("word" in fields) == ("years_since" in fields):
    raise InputError(f"{where}: wanted one of word and years_since.")
  use = "word" if "word" in fields else "years_since"
  sources = _sources(f"{where}, {use}", fields[use])
  return Entry(use, name, sources, _optional(where, fields))
