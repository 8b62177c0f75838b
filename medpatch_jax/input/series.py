"""One stay's events as they are charted -> its series, as a record holds it.

The rules are those that a dataset was built by: MIMIC's (`clean`), or those of
own tables, docs/own_data.md. `Recipe` is all that has to be known of them.

Dims: N rows, V variables, T hours, F columns.
"""

import dataclasses
import difflib

import numpy as np

from medpatch_jax.input import cell, clean, discretise
from medpatch_jax.input import variables as table

MOST_HOURS = 20_000
MOST_ROWS = 10_000_000
# Beyond it a number is none; as docs/own_data.md.
ABSURD = 1e30
# What is done with values of own tables beyond a limit of measurement (<5,
# >100, -inf): refused, left out, or taken to be at the limit, which of an
# infinite one is that of the variable's range.
CENSORED = ("refuse", "drop", "bound")


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How events become columns.

  Attributes:
    variables: of the table, in the order of the columns; of one series or of
      all, see `only`.
    rules: of MIMIC's builder: outliers, ties, items, normals, carry_in; None
      for own tables, which have none of these.
    hours: rows of every series, None where they differ.
    censored: of `CENSORED`, by which own tables were read.
  """

  variables: tuple[table.Variable, ...]
  rules: dict | None = None
  hours: float | None = None
  censored: str = "refuse"

  @classmethod
  def of(cls, metadata: dict) -> "Recipe":
    """From a built dataset's metadata.json."""
    rules = metadata["rules"] or None
    if "variables" in metadata:
      found = tuple(_variable(v) for v in metadata["variables"])
    else:
      # Datasets of before had one choice for both.
      found = table.of(rules["items"], rules.get("normals", rules["items"]))
    # Datasets of before had no choice.
    censored = metadata.get("censored", "refuse")
    return cls(found, rules, metadata.get("hours"), censored)

  @classmethod
  def from_json(cls, plain: dict) -> "Recipe":
    """From the field `series` of an exported model's config.json."""
    return cls(
      tuple(table.Variable.from_json(v) for v in plain["variables"]),
      plain["rules"],
      plain["hours"],
      # Models written before there was a choice are without it.
      plain.get("censored", "refuse"),
    )

  def to_json(self) -> dict:
    return {
      "variables": [v.to_json() for v in self.variables],
      "rules": self.rules,
      "hours": self.hours,
      "censored": self.censored,
    }

  def only(self, modality: str) -> "Recipe":
    """That of one series, with its variables alone."""
    own = table.series(self.variables).get(modality, ())
    return dataclasses.replace(self, variables=own)

  def columns(self) -> list[str]:
    """Names of the columns, as `grid` makes them of one series."""
    return table.columns(self.variables)

  def grid(self, rows, hours=None):
    """Cleans and discretises.

    Args:
      rows: (hour, variable, value) each, hours since the start of the stay,
        in any order. Of several at one time the last counts or, by MIMIC's
        rules, the greatest. A value is a number, or text: of a category, or as
        it was charted; None is missing.
        Columns of these names (a dict, a data frame) will do as well.
      hours: length of the window; if not given, that of the dataset, else up
        to the last event.

    Returns:
      (f32[T F], or None if no event is left; sentences on what was done).

    Raises:
      ValueError: an unknown variable, a row that is none, no number where one
        is wanted, a window of another length than the dataset's.
    """
    hour, kind, value = self._columns(rows)
    end, said = self._end(hours, hour)
    before = -float(self.rules["carry_in"]) if self.rules else 0.0
    inside = (hour > before - discretise.EDGE) & (hour < end + discretise.EDGE)
    if left := int((~inside).sum()):
      said.append(f"{left:,} events outside the {end:g} hours: left out")
    hour, kind = hour[inside], kind[inside]
    value = [v for v, here in zip(value, inside) if here]
    rows = np.flatnonzero(inside) + 1
    made = self._mimic if self.rules else self._plain
    hour, kind, value, counts = made(hour, kind, value, rows)
    said += self._say(counts)
    if not np.any(hour > -discretise.EDGE):
      return None, said
    grid, _ = discretise.discretise(
      np.zeros(len(hour), np.int64),
      hour,
      kind,
      value,
      np.array([end]),
      self.variables,
    )
    return grid, said

  def _columns(self, rows):
    """-> hour f64[N], variable i64[N], value list of N."""
    if hasattr(rows, "keys"):
      rows = zip(*(rows[name] for name in ("hour", "variable", "value")))
    index = {v.name: i for i, v in enumerate(self.variables)}
    hour, kind, value = [], [], []
    for number, row in enumerate(rows, 1):
      if number > MOST_ROWS:
        raise ValueError(f"more than {MOST_ROWS:,} events of one stay.")
      try:
        at, name, found = row
        at = cell.number(at)
        if np.isnan(at):
          raise ValueError
      except (TypeError, ValueError):
        raise ValueError(
          f"row {number}: wanted (hour, variable, value), the hour a number."
        ) from None
      if not abs(at) <= 1e6:
        raise ValueError(f"row {number}: the hour is beyond all sense.")
      if name not in index:
        # What stands there may be anything: only known names are shown.
        close = difflib.get_close_matches(str(name), index, n=1)
        hint = f"did you mean {close[0]!r}" if close else "known are "
        hint += "" if close else ", ".join(index)
        raise ValueError(f"row {number}: an unknown variable; {hint}.")
      hour.append(at)
      kind.append(index[name])
      value.append(found)
    return np.array(hour), np.array(kind, np.int64), value

  def _end(self, hours, hour):
    """Length of the window f64 and what there is to say of it."""
    if hours is None and self.hours is None:
      last = discretise.bins(max(hour.max(initial=0.0), discretise.EDGE))
      end = float(max(1, last))
      said = ["the stay's hours are not given: taken up to its last event"]
    else:
      end, said = cell.number(self.hours if hours is None else hours), []
    if not 0 < end <= MOST_HOURS:
      raise ValueError(
        f"hours={end:g}: wanted a number above 0 and up to {MOST_HOURS:,}."
      )
    if self.hours is not None and discretise.bins(end) != self.hours:
      raise ValueError(
        f"hours={end:g}: the model was trained on the first {self.hours:g}"
        " hours of each stay; pass these."
      )
    return end, said

  def _mimic(self, hour, kind, value, rows):
    """By the rules of MIMIC's builder."""
    del rows
    text = np.array([v if isinstance(v, str) else None for v in value], object)
    number = np.array([cell.number(v) for v in value], np.float64)
    value, counts = clean.read(
      kind,
      np.zeros(len(kind), np.int64),
      number,
      text,
      self.variables,
      self.rules["outliers"],
    )
    keep = np.flatnonzero(~np.isnan(value))
    zeros = np.zeros(len(keep), np.int64)
    events = clean.Events(
      zeros,
      np.round(hour[keep] * 3600).astype(np.int64),
      kind[keep],
      zeros,
      value[keep],
      text[keep],
    )
    if not np.any(events.second >= 0):
      return hour[:0], kind[:0], value[:0], counts
    events, carried = clean.settle(
      events,
      self.variables,
      ties=self.rules["ties"],
      totals=self.rules["items"] == "table",
      carry_in=self.rules["carry_in"],
    )
    counts["", "carried in"] = carried
    return events.second / 3600, events.variable, events.value, counts

  def _plain(self, hour, kind, value, rows):
    """By the rules of own tables."""
    found = np.full(len(kind), np.nan)
    counts = {}
    for i, v in enumerate(self.variables):
      mine = np.flatnonzero(kind == i)
      known = table.categories(v)
      low, _, _, high = v.limits or (-np.inf,) * 2 + (np.inf,) * 2
      count = dict.fromkeys(("empty", "censored", "bound", "outside"), 0)
      for row in mine:
        word = value[row]
        word = cell.strip(word) if isinstance(word, str) else word
        if word is None or word == "" or word != word:  # NaN is missing, too.
          count["empty"] += 1
        elif v.classes:
          found[row] = known.get(str(word), np.nan)
          if np.isnan(found[row]):
            raise ValueError(
              f"row {rows[row]}: {v.name} wants one of {', '.join(v.classes)}."
            )
        else:
          found[row], what = self._real(v, word, rows[row])
          count["censored"] += what == "censored"
          if what == "bound" and low <= found[row] <= high:
            count["bound"] += 1
      outside = mine[(found[mine] < low) | (found[mine] > high)]
      count["outside"] = len(outside)
      found[outside] = np.nan
      counts[v.name, "rows"] = len(mine)
      counts |= {(v.name, what): n for what, n in count.items()}
    keep = np.flatnonzero(~np.isnan(found))
    order = keep[np.argsort(hour[keep], kind="stable")]
    return hour[order], kind[order], found[order], counts

  def _real(self, variable, word, row):
    """A word that is not empty -> (number or NaN, what was done to it)."""
    number = cell.number(word)
    if abs(number) <= ABSURD:
      return number, None
    limit = cell.limit(word)
    if limit is None or self.censored == "refuse":
      kind = f": found {cell.kind(word)}" if np.isnan(number) else ""
      raise ValueError(f"row {row}: {variable.name} wants a number{kind}.")
    if np.isinf(limit):
      low, *_, high = variable.limits
      limit = high if limit > 0 else low
    if self.censored == "drop" or not abs(limit) <= ABSURD:
      return np.nan, "censored"
    return limit, "bound"

  def _say(self, counts):
    """What was done to values, one sentence for each variable and reason."""
    said = []
    units = {v.name: v for v in self.variables}
    for (name, what), count in counts.items():
      if not count or what == "rows":
        continue
      if name not in units:
        said.append(f"{count:,} values {what}")
        continue
      v, all_of = units[name], counts[name, "rows"]
      some = f"{name}: {count:,} of {all_of:,} values"
      if what == "outside":
        low, _, _, high = v.limits
        said.append(
          f"{some} outside {low:g} to {high:g} {v.unit}: taken as missing; is"
          " the unit right?"
        )
      else:
        said.append(f"{some} {_DONE[what]}")
    return said


_DONE = {
  "text": "of no known meaning: taken as missing",
  "converted": "in another unit: converted",
  "clamped": "beyond the valid range: set to its end",
  "empty": "empty: taken as missing",
  "censored": "beyond a limit of measurement: left out",
  "bound": "beyond a limit of measurement: taken to be at it",
}


def _variable(plain: dict) -> table.Variable:
  """As own tables' metadata have it -> `Variable`."""
  classes = tuple(plain["categories"])
  low = -np.inf if plain["low"] is None else plain["low"]
  high = np.inf if plain["high"] is None else plain["high"]
  return table.Variable(
    plain["name"],
    plain["normal"],
    (),
    unit=plain["unit"],
    classes=classes,
    scores=tuple(float(i) for i in range(len(classes))),
    limits=None if classes else (low, low, high, high),
    modality=plain.get("kind", table.Variable.modality),
  )
