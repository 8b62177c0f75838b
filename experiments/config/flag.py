"""What a flag is: everything that is said of one choice, said once."""

import dataclasses
import enum
import types

from absl import flags


class Affects(enum.Enum):
  """The first result that a choice decides; what follows depends on it, too."""

  ENCODER = "every encoder"
  SERIES = "encoders of series"
  IMAGE = "encoders of images"
  TEXT = "encoders of texts"
  EMBEDDING = "encoders of embeddings"
  TEMPERATURE = "temperatures"
  POOLS = "pools"
  ENCODINGS = "what a baseline reads of encoders"
  FUSION = "stage 3"
  RESULTS = "the test results"
  NOTHING = "no result"


# What an encoder depends on, by the kind of its modality.
OF_KIND = {
  "series": Affects.SERIES,
  "image": Affects.IMAGE,
  "text": Affects.TEXT,
  "embedding": Affects.EMBEDDING,
}
# Affect a result by rounding at most, or are of one evaluation: not recorded.
FREE = (Affects.RESULTS, Affects.NOTHING)
# A name of a file or folder, as a type of a flag.
PATH = "path"
ANY = object()


@dataclasses.dataclass(frozen=True)
class Flag:
  """One choice of a run.

  Attributes:
    default: its value where it is not given.
    kind: bool, int, float, str, list or `PATH`.
    help: what it decides, in sentences.
    affects: the first result that depends on it.
    choices: names it takes; () for any.
    low, high: the least and the largest number, None without a bound.
    above: the number it has to be above, if any.
    values: what it takes, in words, where kind and bounds do not say it.
    unset: what holds without it, in words, where `default` does not say it.
    preset: field of the preset whose value holds where it is not given.
    paper, released: the values of the paper and of its released code.
    reaches: what depends on it, in words, where `affects` is not all of it.
    by_part: has one value for each modality.
    content: a result depends on what is in the file, not on its name.
    of_medpatch: a baseline has no such part.
    of_authors: the value that a file of --authors brings, and no other.
    module: "medpatch" where it is a field of that module of the same name.
  """

  default: object
  kind: object
  help: str
  affects: Affects
  choices: tuple = ()
  low: float | None = None
  high: float | None = None
  above: float | None = None
  values: str = ""
  unset: str = ""
  preset: str = ""
  paper: str = ""
  released: str = ""
  reaches: str = ""
  by_part: bool = False
  content: bool = False
  of_medpatch: bool = False
  of_authors: object = ANY
  module: str = ""

  def define(self, name: str) -> None:
    """Makes it a flag of the command line."""
    words = self.help
    if self.unset:
      words += f" Default: {self.unset.replace('`', '')}."
    bounds = {"lower_bound": self.low, "upper_bound": self.high}
    if self.choices and self.kind is str:
      flags.DEFINE_enum(name, self.default, self.choices, words)
    elif self.kind is bool:
      flags.DEFINE_bool(name, self.default, words)
    elif self.kind is int:
      flags.DEFINE_integer(name, self.default, words, **bounds)
    elif self.kind is float:
      flags.DEFINE_float(name, self.default, words, **bounds)
    elif self.kind is list:
      flags.DEFINE_list(name, self.default, words)
    else:
      flags.DEFINE_string(name, self.default, words)

  def check(self, name: str, value) -> None:
    """Refuses a value out of range, wherever it comes from.

    Raises:
      ValueError: names the flag, the value and what is wanted.
      TypeError: it is of another kind.
    """
    if value is None and (self.default is None or self.preset):
      return
    if self.kind in (int, float):
      good = (
        (self.low is None or value >= self.low)
        and (self.high is None or value <= self.high)
        and (self.above is None or value > self.above)
      )
    elif self.kind is str and self.choices:
      good = value in self.choices
    else:
      return
    if not good:
      raise ValueError(f"--{name}={value}: wanted {self.range()}.")

  def range(self) -> str:
    """What it takes, in words."""
    if self.values:
      return self.values
    if self.kind is bool:
      return "yes, no"
    if self.choices:
      return ", ".join(self.choices)
    return {int: "a whole number", float: "a number"}.get(
      self.kind, "text"
    ) + self._bounds()

  def _bounds(self) -> str:
    below = "" if self.high is None else f" to {self.high:g}"
    if self.above is not None:
      return f" above {self.above:g}{below}"
    if self.low is None:
      return below
    return f" from {self.low:g}{below}" if below else f", {self.low:g} or more"


def choice(default, kind, affects: Affects, help: str, **said):  # noqa: A002
  """A field of a group of choices, with its `Flag`."""
  flag = Flag(default, kind, help, affects, **said)
  return dataclasses.field(metadata={"flag": flag})


def of(*groups) -> types.MappingProxyType:
  """Name -> `Flag` of every choice of some dataclasses, in order."""
  return types.MappingProxyType(
    {
      field.name: field.metadata["flag"]
      for group in groups
      for field in dataclasses.fields(group)
      if "flag" in field.metadata
    }
  )
