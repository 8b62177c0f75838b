"""Charted rows -> values in one unit each, in the order that counts.

Pure NumPy and one source of the rules: the builder calls it on millions of
rows, prediction from raw input on those of one stay.

Dims: N rows, K cleaned events, V variables.
"""

import collections
import dataclasses
import re

import numpy as np

from medpatch_jax.input import cell
from medpatch_jax.input import variables as table

_PRESSURES = re.compile(r"(\d+\.?\d*)\s*/\s*(\d+\.?\d*)\Z", re.ASCII)


@dataclasses.dataclass
class Events:
  """Cleaned events.

  Attributes:
    stay: i64[K].
    second: i64[K] seconds from intime.
    variable: i64[K] in [0, V).
    rank: i64[K], 0 for the preferred item of the variable.
    value: f64[K], in the variable's unit, or the index of its class.
    text: object[K], as charted, or None.
  """

  stay: np.ndarray
  second: np.ndarray
  variable: np.ndarray
  rank: np.ndarray
  value: np.ndarray
  text: np.ndarray

  def __getitem__(self, index):
    fields = dataclasses.fields(self)
    return Events(**{f.name: getattr(self, f.name)[index] for f in fields})


def sources(variables=table.VARIABLES):
  """Every item read: (item i64[I], variable i64[I], rank i64[I]), by item."""
  rows = [
    (item, i, rank)
    for i, v in enumerate(variables)
    for rank, item in enumerate(v.items + v.labs)
  ]
  return tuple(np.array(sorted(rows), np.int64).T)


def clean(
  stay,
  second,
  item,
  number,
  text,
  *,
  variables=table.VARIABLES,
  outliers="clamp",
  units="item",
):
  """Converts units, reads text, and takes out what is outside its range.

  Args:
    stay: i64[N].
    second: i64[N], seconds from intime.
    item: i64[N] itemids; those of no variable are dropped.
    number: f64[N], the charted number or NaN.
    text: object[N], the charted text or None. Needed for classes, pressures
      as "120/80", and wherever `number` is NaN.
    variables: the variable table.
    outliers: "clamp" applies the ranges; "keep" leaves every number.
    units: "item" goes by the unit that an item is charted in; "published" by
      what the published pipeline makes of it.

  Returns:
    (Events of what has a value, in the order given; counts: a Counter with
    keys (variable name, what), what being one of "rows", "text" for text of
    no known meaning, "converted", "clamped", "outside").
  """
  items, kinds, ranks = sources(variables)
  at = np.searchsorted(items, item)
  known = items[np.minimum(at, len(items) - 1)] == item
  at = np.where(known, at, 0)
  kind = np.where(known, kinds[at], -1)
  value, counts = read(kind, item, number, text, variables, outliers, units)
  keep = np.flatnonzero(~np.isnan(value))
  columns = stay, second, kind, ranks[at], value, text
  return Events(*(column[keep] for column in columns)), counts


def read(kind, item, number, text, variables, outliers="clamp", units="item"):
  """Charted rows -> values f64[N], NaN where there is none, and `counts`.

  Args:
    kind: i64[N] in [0, V), or -1 for no variable.
    item: i64[N] itemids, which some units follow from; 0 where the unit is
      the variable's own.
    number, text, variables, outliers, units: as of `clean`.
  """
  value = np.full(len(kind), np.nan)
  counts = collections.Counter()
  for i, v in enumerate(variables):
    rows = np.flatnonzero(kind == i)
    if not len(rows):
      continue
    counts[v.name, "rows"] += len(rows)
    read = _classes if v.classes else _numbers
    result, unread = read(v, number[rows], text[rows])
    counts[v.name, "text"] += int(unread)
    if not v.classes:
      result, converted = _units(v, item[rows], result, units)
      counts[v.name, "converted"] += int(converted)
    if v.limits and outliers == "clamp":
      result = _range(v, result, counts)
    value[rows] = result
  return value, counts


def _numbers(variable, number, text):
  """Numbers as charted, or read from text. -> (f64[N], unread count)."""
  value = number.astype(np.float64, copy=True)
  value[~np.isfinite(value)] = np.nan
  part = {"Systolic blood pressure": 1, "Diastolic blood pressure": 2}.get(
    variable.name
  )
  unread = 0
  for i in np.flatnonzero(text != None):  # noqa: E711 (elementwise)
    word = cell.strip(str(text[i]))
    pair = part and _PRESSURES.match(word)
    if pair:
      value[i] = float(pair.group(part))
    elif np.isnan(value[i]) and word:
      value[i] = cell.number(word)
      unread += bool(np.isnan(value[i]))
  return value, unread


def _classes(variable, number, text):
  """Class of each charted string. -> (f64[N], unread count)."""
  by_name, by_score = _lookup(variable)
  text = np.array([_fold(t) for t in text], object)
  words, inverse = np.unique(text.astype(str), return_inverse=True)
  value = np.array([by_name.get(w, np.nan) for w in words])[inverse]
  unread = 0
  for i in np.flatnonzero(np.isnan(value)):
    digit = re.match(r"(\d+)(\.0)?\b", text[i])
    score = float(digit.group(1)) if digit else number[i]
    value[i] = by_score.get(float(score), np.nan)
    unread += bool(text[i]) and np.isnan(value[i])
  return value, unread


def _fold(text):
  if text is None:
    return ""
  return " ".join(cell.strip(str(text)).casefold().split())


def _lookup(variable):
  """(charted string -> class, score -> class) of a variable with classes."""
  by_name = {_fold(c): float(i) for i, c in enumerate(variable.classes)}
  if variable.name == "Capillary refill rate":
    by_name.update({w: float(s) for w, s in table.REFILL.items()})
  by_score = {}
  for i, (c, score) in enumerate(zip(variable.classes, variable.scores)):
    # MIMIC-IV's own spelling has no number in front; "No Response-ETT" only
    # when charted so.
    plain = not c[0].isdigit() and not c.endswith("-ETT")
    if plain or score not in by_score:
      by_score[score] = float(i)
  return by_name, by_score


def _units(variable, item, value, units):
  """To the variable's unit. -> (f64[N], count of converted values).

  The published pipeline takes every oxygen fraction for percent, Fahrenheit
  for Celsius below 79, and inches for centimetres.
  """
  new, by_item = value, units == "item"
  if variable.name == "Fraction inspired oxygen":
    percent = value > 1 if by_item else np.isfinite(value)
    new = np.where(percent, value / 100, value)
  elif variable.name == "Oxygen saturation":
    new = np.where(value <= 1, value * 100, value)
  elif variable.name == "Temperature":
    fahrenheit = by_item & np.isin(item, table.FAHRENHEIT) | (value >= 79)
    new = np.where(fahrenheit, (value - 32) * 5 / 9, value)
  elif variable.name == "Weight":
    new = np.where(np.isin(item, table.POUNDS), value * 0.453592, value)
  elif variable.name == "Height" and by_item:
    new = np.where(np.isin(item, table.INCHES), value * 2.54, value)
    new = np.where((new >= 1) & (new < 3), new * 100, new)  # In metres.
  return new, np.sum(new[~np.isnan(new)] != value[~np.isnan(new)])


def _range(variable, value, counts):
  """Clamps between outlier and valid limits, drops what is beyond."""
  lowest, low, high, highest = variable.limits
  outside = (value < lowest) | (value > highest)
  clamped = ~outside & ((value < low) | (value > high))
  counts[variable.name, "outside"] += int(outside.sum())
  counts[variable.name, "clamped"] += int(clamped.sum())
  return np.where(outside, np.nan, np.clip(value, low, high))


def settle(events, variables, *, ties, totals, carry_in):
  """Cleaned events -> (those of the stay in the order that counts, carried).

  Args:
    events: `Events`, as cleaned.
    variables: the variable table.
    ties: of `arrange`.
    totals: whether `total` adds the coma scale's.
    carry_in: of `carry`.
  """
  events = arrange(events, variables, ties)
  if totals:
    events = total(events, variables)
  return carry(events, carry_in, variables)


def arrange(events, variables=table.VARIABLES, ties="item"):
  """Sorts events so that the one to be kept in an hour comes last.

  By stay and time; at one time the preferred item last and, within an item,
  the greater value (of classes the greater score). `ties="value"` goes by the
  greater value alone; `ties="text"`, as published, likewise but compares the
  variables of `variables.CHARTED` as text: "8" is greater than "23".
  """
  scores = events.value
  for i, v in enumerate(variables):
    if v.classes:
      rows = events.variable == i
      scores = np.where(rows, _score(v, events.value, rows), scores)
  keys = [events.value, scores, -events.rank, events.second, events.stay]
  if ties == "value":
    keys = [-events.rank, events.value, scores, events.second, events.stay]
  if ties == "text":
    keys = [-events.rank, _as_text(events, variables), *keys[-2:]]
  return events[np.lexsort(keys)]


def _as_text(events, variables):
  """Returns f64[K] that orders charted variables by text, others by value."""
  kinds = [i for i, v in enumerate(variables) if v.name in table.CHARTED]
  rows = np.flatnonzero(np.isin(events.variable, kinds))
  words = [
    f"{value:g}" if text is None else text
    for text, value in zip(events.text[rows], events.value[rows])
  ]
  order = events.value.astype(np.float64, copy=True)
  order[rows] = np.unique(np.array(words, str), return_inverse=True)[1]
  return order


def _score(variable, value, rows):
  index = np.where(rows, value, 0).astype(np.int64)
  return np.array(variable.scores)[np.minimum(index, len(variable.scores) - 1)]


def total(events, variables=table.VARIABLES):
  """Adds the coma scale's total where eye, motor and verbal share a time.

  Args:
    events: as `arrange` returns them; the last of each part at a time counts.

  Returns:
    Events with the totals appended; they are in order among themselves, which
    is all that `discretise` asks of a variable.
  """
  names = [v.name for v in variables]
  parts = [
    names.index(f"Glasgow coma scale {part}")
    for part in ("eye opening", "motor response", "verbal response")
  ]
  goal = names.index("Glasgow coma scale total")
  # One row per (stay, second) with a score for each part, the last one given.
  rows = np.flatnonzero(np.isin(events.variable, parts))
  times = np.stack([events.stay[rows], events.second[rows]])
  unique, inverse = np.unique(times, axis=1, return_inverse=True)
  score = np.full((unique.shape[1], 3), np.nan)
  for i, part in enumerate(parts):
    mine = events.variable[rows] == part
    scores = np.array(variables[part].scores)
    score[inverse[mine], i] = scores[events.value[rows][mine].astype(np.int64)]
  both = ~np.isnan(score).any(axis=1)
  number = np.array(variables[goal].scores)
  order = np.argsort(number)
  summed = score[both].sum(axis=1)
  value = order[np.searchsorted(number[order], summed)].astype(np.float64)
  count = int(both.sum())
  return Events(
    np.concatenate([events.stay, unique[0, both]]),
    np.concatenate([events.second, unique[1, both]]),
    np.concatenate([events.variable, np.full(count, goal, np.int64)]),
    np.concatenate([events.rank, np.zeros(count, np.int64)]),
    np.concatenate([events.value, value]),
    np.concatenate([events.text, np.full(count, None)]),
  )


def carry(events, hours, variables=table.VARIABLES):
  """Moves what was charted shortly before intime to intime.

  Height and weight of the last `hours` before intime move to second 0, where
  a value of the stay itself, coming later, overrides them. Every other event
  before intime is dropped.

  Args:
    events: as `arrange` returns them.
    hours: how far back; 0 drops all.

  Returns:
    (Events, count of carried ones).
  """
  allowed = np.array([v.carry for v in variables])[events.variable]
  early = events.second < 0
  carried = early & allowed & (events.second >= -3600 * hours)
  if not hours:
    carried = np.zeros_like(early)
  kept = events[np.flatnonzero(~early | carried)]
  kept.second = np.maximum(kept.second, 0)
  return kept, int(carried.sum())
