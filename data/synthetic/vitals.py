"""Writes rows of the 17 variables: calm ones, evidence, traps for a reader.

Dims: N stays, V variables (channels.VARIABLES), R rows.
"""

import dataclasses

import numpy as np

from data.synthetic import channels, items, people

ROWS_PER_STAY = 4300  # rows of chartevents, published average
MEAN_HOURS = 54.0  # mean length of stay of the twin
USED_SHARE = 0.2  # of chart rows are of items the project uses (demo: 0.16)
MINUTE = 60

# How a row is written.
PLAIN, TEXT_ERROR, PAIR, RANGE_ERROR, OTHER_UNIT = range(5)

# What is charted together, and how often (per hour at density 1, relative).
GROUPS = (
  (("heart_rate",), 1.0),
  (("respiratory_rate",), 1.0),
  (("saturation",), 1.0),
  (("systolic", "diastolic", "mean_pressure"), 1.0),
  (("temperature",), 0.25),
  (("gcs_eye", "gcs_motor", "gcs_verbal"), 0.25),
  (("fio2",), 0.12),
  (("glucose",), 0.25),
  (("capillary_refill",), 0.2),
  (("weight",), 0.04),
  (("ph",), 0.06),
)
PHENOTYPE_GROUPS = tuple(
  names for names, _ in GROUPS if names[0] not in channels.DEATH_LEVELS
)
CATEGORICAL = tuple(items.SPELLINGS)
# Out of the valid range of MIMIC.md section 3, hence missing.
IMPOSSIBLE = {"glucose": 999999.0, "heart_rate": 5000.0, "systolic": 1200.0}


@dataclasses.dataclass
class Rows:
  """stay (row of People) i64[R], time s i64[R], item (row of ITEMS) i64[R],
  value f64[R] in the variable's unit, form u8[R] and other f64[R], the second
  number of a pair.
  """

  stay: np.ndarray
  time: np.ndarray
  item: np.ndarray
  value: np.ndarray
  form: np.ndarray
  other: np.ndarray

  def take(self, index):
    """The rows at `index`, an int or bool array."""
    return Rows(
      *(getattr(self, f.name)[index] for f in dataclasses.fields(self))
    )


def concatenate(parts):
  """One Rows of several."""
  names = [f.name for f in dataclasses.fields(Rows)]
  return Rows(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def bin_start(folk, stay, index):
  """First second i64[...] of bin `index` counted from intime."""
  return folk.intime[stay] + np.asarray(index) * people.HOUR


def num_bins(folk):
  """Bins of one hour i64[N] of each stay, the last one perhaps partial."""
  return np.ceil((folk.outtime - folk.intime) / people.HOUR - 1e-9).astype(int)


class Writer:
  """Draws the rows of one chunk of people."""

  def __init__(self, rng, folk):
    self.rng = rng
    self.folk = folk
    n = len(folk.stay_id)
    mean, between, within = channels.CALM.T
    self.level = mean[None] + between[None] * self._normal((n, len(mean)))
    self.within = within
    self.used = ~folk.eventless

  def _normal(self, shape):
    return np.clip(self.rng.standard_normal(shape), -2.5, 2.5)

  def calm(self, stay, variable):
    """Calm values f64[R] of `variable` for stays i64[R]."""
    row = channels.ROW[variable]
    out = self.level[stay, row] + self.within[row] * self._normal(len(stay))
    return np.minimum(out, 98.4) if variable == "saturation" else out

  def rows(self, variable, stay, time, value, first=False):
    """Rows of one variable; `first` takes the first item of the table."""
    table = items.ITEM_ROWS[variable]
    share = np.array([items.ITEMS[i].share for i in table])
    pick = self.rng.choice(len(table), len(stay), p=share / share.sum())
    form = np.full(len(stay), PLAIN, np.uint8)
    if variable in ("fio2", "saturation", "temperature"):
      rate = {"fio2": 0.15, "saturation": 0.01, "temperature": 0.02}[variable]
      form[self.rng.random(len(stay)) < rate] = OTHER_UNIT
    if variable == "temperature":  # Fahrenheit in the Celsius item only
      form[pick != 0] = PLAIN
    return Rows(
      np.asarray(stay),
      np.asarray(time),
      table[np.zeros_like(pick) if first else pick],
      np.asarray(value, np.float64),
      form,
      np.zeros(len(stay)),
    )

  def group(self, names, stay, time, value_of):
    """Rows of variables charted together; a few pressures come as "120/80"."""
    parts = {n: self.rows(n, stay, time, value_of(n)) for n in names}
    if "systolic" in parts:
      pair = self.rng.random(len(stay)) < 0.02
      high, low = parts["systolic"], parts["diastolic"]
      for part, other in ((high, low), (low, high)):
        part.form[pair] = PAIR
        part.other[pair] = other.value[pair]
    return list(parts.values())

  def admission(self):
    """One calm row of every variable in the first charted hour.

    Height and admission weight are mostly charted before intime.
    """
    stay = np.flatnonzero(self.used)
    first = np.where(self.folk.late_events[stay], people.MORTALITY_HOURS, 0)
    start = _to_minute(bin_start(self.folk, stay, first))
    out = []
    for names in [g for g, _ in GROUPS] + [("height",)]:
      at = self.rng.integers(2, 50, len(stay)) * MINUTE
      if names[0] in ("height", "weight"):
        hours = 3 if names[0] == "height" else 18
        early = -self.rng.integers(1, hours * 60, len(stay)) * MINUTE
        before = (self.rng.random(len(stay)) < 0.7) & (first == 0)
        at = np.where(before, early, at)
      out += self.group(names, stay, start + at, lambda n: self.calm(stay, n))
    return out

  def noise(self, density):
    """Calm rows at random times, with ties and rare wrong texts."""
    weight = np.array([w for _, w in GROUPS])
    share = weight / weight.sum()
    size = np.array([len(g) for g, _ in GROUPS])
    per_hour = density * ROWS_PER_STAY * USED_SHARE / MEAN_HOURS
    rate = per_hour * self.folk.hours / (share @ size) * self.used
    stay = np.repeat(np.arange(len(rate)), self.rng.poisson(rate))
    time = self.any_time(stay)
    which = self.rng.choice(len(GROUPS), len(stay), p=share)
    out = []
    for i, (names, _) in enumerate(GROUPS):
      of, at = stay[which == i], time[which == i]
      out += self.group(names, of, at, lambda n, of=of: self.unrest(of, n))
      tied = self.rng.random(len(of)) < 0.05
      out += self.group(
        names, of[tied], at[tied], lambda n, of=of[tied]: self.calm(of, n)
      )
    return out

  def unrest(self, stay, variable):
    """Calm values, but a few sedated or intubated Glasgow scores."""
    out = self.calm(stay, variable)
    if variable in ("gcs_verbal", "gcs_eye"):
      out = np.where(self.rng.random(len(stay)) < 0.04, 1.0, out)
    return out

  def any_time(self, stay):
    """A minute i64[R] within each stay (after hour 48 where events are late)."""
    start = self.folk.intime[stay]
    start = (
      start + self.folk.late_events[stay] * people.MORTALITY_HOURS * people.HOUR
    )
    span = (self.folk.outtime[stay] - start) // MINUTE - 1
    return (
      _to_minute(start)
      + (self.rng.random(len(stay)) * span).astype(int) * MINUTE
    )

  def slot_time(self, stay, index):
    """A minute i64[R] in bin `index`, three before its end or the stay's."""
    start = _to_minute(bin_start(self.folk, stay, index))
    end = np.minimum(
      bin_start(self.folk, stay, np.asarray(index) + 1), self.folk.outtime[stay]
    )
    room = (end - start) // MINUTE - 4
    return (
      start + (1 + (self.rng.random(len(stay)) * room).astype(int)) * MINUTE
    )

  def evidence(self, shown):
    """Slot rows of all channels, and the times they hold.

    Args:
      shown: series.Items.

    Returns:
      Rows parts, and {(variable, bin from the start i64[N]): time i64[N]} as
      a list of (variable, bins i64[N], times i64[N], stays i64[N]).
    """
    out, held = [], []
    stay = np.flatnonzero(self.used)
    bins = num_bins(self.folk)[stay]
    for slot in channels.SLOTS:
      index = bins - channels.SLOT_BINS_FROM_END[slot]
      for names in PHENOTYPE_GROUPS:
        time = self.slot_time(stay, index)
        out += self.group(
          names,
          stay,
          time,
          lambda n, s=slot: self.slot_value(stay, n, s, shown.phenotypes[stay]),
        )
        held += [(name, stay, index, time) for name in names]
      self.mark("ph", stay, index, shown.marked, shown.clear[slot], out, held)
    stay = np.flatnonzero(self.used & self.folk.long & ~self.folk.late_events)
    for i, index in enumerate(channels.DEATH_BINS):
      index = np.full(len(stay), index)
      time = self.slot_time(stay, index)
      for name, level in channels.DEATH_LEVELS.items():
        value = np.where(shown.death[stay, i], level, self.calm(stay, name))
        out.append(self.rows(name, stay, time, value))
        held.append((name, stay, index, time))
      clear = shown.clear["death"][:, i]
      self.mark("heart_rate", stay, index, shown.marked, clear, out, held)
    return out, held

  def mark(self, variable, stay, index, marked, clear, out, held):
    """Adds rows that tell whether an hour is noise, to stays that are marked.

    Args:
      variable: of channels.MARKS, which no calm level comes near.
      stay: i64[R], whose hours `index` i64[R] are marked where `marked`
        bool[N]; noise where `clear` bool[N] is False.
      out, held: as `evidence` returns them; added to.
    """
    index, stay = index[marked[stay]], stay[marked[stay]]
    if len(stay):
      time = self.slot_time(stay, index)
      calm = self.calm(stay, variable)
      value = np.where(clear[stay], calm, channels.MARKS[variable])
      out.append(self.rows(variable, stay, time, value))
      held.append((variable, stay, index, time))

  def slot_value(self, stay, variable, slot, shown):
    """Level of the channel where it is shown bool[R 25], else calm, f64[R]."""
    value = self.calm(stay, variable)
    for label, channel in enumerate(channels.PHENOTYPE_CHANNELS):
      if (channel.variable, channel.slot) == (variable, slot):
        value = np.where(shown[:, label], channel.level, value)
    return value

  def traps(self, evidence):
    """Rows that a reader must drop or rank below the evidence.

    In the evidence's hour but after it, a value out of range or a laboratory
    "ERROR"; at its minute, a lower value of an item later in the table; and
    wild values just outside the stay.
    """
    out = []
    for rows in evidence:
      name = items.ITEMS[rows.item[0]].variable if len(rows.item) else ""
      if name in IMPOSSIBLE:
        late = rows.take(self.rng.random(len(rows.stay)) < 0.05)
        late.time = late.time + MINUTE
        late.value = np.full(len(late.stay), IMPOSSIBLE[name])
        lab = np.array([items.ITEMS[i].lab for i in late.item], bool)
        late.form = np.where(lab, TEXT_ERROR, RANGE_ERROR).astype(np.uint8)
        out.append(late)
      if name in ("mean_pressure", "respiratory_rate", "systolic"):
        first = rows.item == items.ITEM_ROWS[name][0]
        tied = (
          first & (rows.form == PLAIN) & (self.rng.random(len(first)) < 0.05)
        )
        tied = rows.take(tied)
        tied.item = np.full(len(tied.stay), items.ITEM_ROWS[name][-1])
        # Lower than the evidence, so it also loses to the greater value.
        tied.value = tied.value - 2.0
        out.append(tied)
    return out + self.outside()

  def outside(self):
    """Wild values charted just before intime and just after outtime."""
    out = []
    for edge, sign in ((self.folk.intime, -1), (self.folk.outtime, 1)):
      stay = np.flatnonzero(self.rng.random(len(edge)) < 0.03)
      minutes = self.rng.integers(1, 12, len(stay))
      time = _to_minute(edge[stay]) + sign * minutes * MINUTE
      for name, value in (("heart_rate", 210.0), ("temperature", 30.0)):
        out.append(self.rows(name, stay, time, np.full(len(stay), value)))
    return out


def _to_minute(seconds):
  """The first whole minute at or after `seconds`."""
  return -(-seconds // MINUTE) * MINUTE
