"""Worlds: how the evidence items of the modalities hang together.

A label's items in the modalities of one stay come from one table
P(items | label), the same for every label of a task. The table is a mixture
of three, whose shares a `World` gives:

* independent: given the label, every item is drawn by itself (`EVIDENCE`);
* redundant: a noisy fact F, P(F = 1 | label) as of one item, is repeated by
  every modality, each time wrong with probability `MISREAD`;
* synergistic: the EHR's item is a fair coin; every other modality shows that
  coin if the label is negative and its opposite if it is positive, each time
  wrong with probability `MISREAD`. Alone each is a coin, together they tell.

Beside this, a share of the items' places is noise and looks so (`World.noise`):
a disconnected monitor, a spoilt part of a radiograph, a template sentence.
What is shown there ignores the label. The same share of other hours, parts and
sentences is noise, too; it takes no item from its place, so it changes no
posterior.

And a modality may be diluted (`World.dilute_ehr` and so on): in that share of
stays and labels its item is drawn anew, whatever the label and the others show,
and does not look so. At 1 the modality is pure noise.

Since the table is known, so is the best possible prediction for every pattern
of presence: items of absent modalities, and of places that are noise, are
summed out.

Dims: C labels, K channels of a task (`channels`), each with one binary item.
"""

import dataclasses

import numpy as np

from data.errors import InputError
from data.synthetic import model

MISREAD = 0.1
FACT = {
  "phenotyping": (0.70, 0.10),
  "in_hospital_mortality": (0.70, 0.16),
}  # P(fact | positive), P(fact | negative)
UNKNOWN = 2  # An item that is not to be seen, among the states 0, 1, UNKNOWN.


@dataclasses.dataclass(frozen=True)
class World:
  """Shares in [0, 1] of how items are drawn; see the module's text.

  Attributes:
    redundancy: share of stays and labels whose items repeat one fact.
    synergy: share whose items mean something only together; the rest of the
      two is independent.
    noise: share of places whose items are noise, and of other places.
    dilute_ehr, dilute_cxr, dilute_rr, dilute_dn: share of a modality's items
      that tell nothing, though they look as if they did.
  """

  redundancy: float = 0.0
  synergy: float = 0.0
  noise: float = 0.0
  dilute_ehr: float = 0.0
  dilute_cxr: float = 0.0
  dilute_rr: float = 0.0
  dilute_dn: float = 0.0

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if not 0 <= value <= 1:
        raise InputError(f"--{name}={value}: wanted 0 to 1.")
    if self.redundancy + self.synergy > 1:
      raise InputError(
        f"--redundancy={self.redundancy} and --synergy={self.synergy}: wanted"
        " at most 1 together."
      )


WORLDS = {
  "independent": World(),
  "redundant": World(redundancy=0.9),
  "synergistic": World(synergy=0.7),
  "unreliable": World(noise=0.4),
  "mixed": World(redundancy=0.3, synergy=0.4, noise=0.3),
}


STRENGTHS = tuple(f.name for f in dataclasses.fields(World))


def define(flags) -> None:
  """Defines the flags of a world: its name and its strengths."""
  flags.DEFINE_enum(
    "world", "independent", list(WORLDS), "How the items hang together."
  )
  for name in STRENGTHS:
    flags.DEFINE_float(
      name, None, f"World.{name}, 0 to 1, in place of the world's own."
    )


def of_flags(values) -> World:
  """Returns the World that the flags of `define` give."""
  return named(values.world, **{n: getattr(values, n) for n in STRENGTHS})


def named(name: str, **strengths) -> World:
  """Returns a world by name, with those strengths changed that are not None.

  Raises:
    InputError: an unknown name, or a strength out of range.
  """
  if name not in WORLDS:
    raise InputError(f"--world={name}: wanted one of {', '.join(WORLDS)}.")
  given = {k: v for k, v in strengths.items() if v is not None}
  return dataclasses.replace(WORLDS[name], **given)


def channels(task: str) -> list[tuple[str, int]]:
  """Returns (modality, slot) of a task's K binary items."""
  evidence = model.EVIDENCE[task]
  return [(m, slot) for m, e in evidence.items() for slot in range(e.slots)]


def table(world: World, task: str) -> np.ndarray:
  """Returns P(items | label) f64[2 2 ... 2], the label first, then K items."""
  order = channels(task)
  rates = np.array([
    [getattr(model.EVIDENCE[task][m], p) for m, _ in order]
    for p in ("p0", "p1")
  ])  # fmt: skip
  parts = [1 - world.redundancy - world.synergy, world.redundancy]
  out = np.stack([parts[0] * _product(rates[label]) for label in (0, 1)])
  for label, fact in enumerate(FACT[task][::-1]):
    for value, share in ((0, 1 - fact), (1, fact)):
      copies = np.full(len(order), abs(value - MISREAD))
      out[label] += parts[1] * share * _product(copies)
    for coin in (0, 1):
      shows = [
        float(coin) if m == "ehr" else abs((coin ^ label) - MISREAD)
        for m, _ in order
      ]
      out[label] += world.synergy / 2 * _product(shows)
  for axis, (m, _) in enumerate(order, 1):
    out = _diluted(out, axis, getattr(world, f"dilute_{m}"), rates[0][axis - 1])
  return out


def _diluted(full, axis: int, share: float, rate: float) -> np.ndarray:
  """Table in which an item is, in that share, drawn anew with `rate`."""
  if not share:
    return full
  shape = np.ones(full.ndim, int)
  shape[axis] = 2
  anew = np.reshape([1 - rate, rate], shape)
  return (1 - share) * full + share * full.sum(axis, keepdims=True) * anew


def _product(rates) -> np.ndarray:
  """Table of independent items with probabilities [K]: f64[2 ... 2]."""
  out = np.ones(())
  for rate in rates:
    out = np.multiply.outer(out, [1 - rate, rate])
  return out


def with_unknown(full: np.ndarray) -> np.ndarray:
  """Appends to each item's axis the sum over its values: state UNKNOWN.

  Args:
    full: P(items | label) f64[2 2 ... 2].

  Returns:
    f64[2 3 ... 3].
  """
  for axis in range(1, full.ndim):
    full = np.concatenate([full, full.sum(axis, keepdims=True)], axis)
  return full


class Items:
  """Draws the items of one task, channel after channel.

  What was drawn before is handed on as `known`, so that the items of all
  modalities together follow the table.
  """

  def __init__(self, world: World, task: str):
    self.order, self.noise = channels(task), world.noise
    self.full = with_unknown(table(world, task))

  def chance(self, channel, label, known) -> np.ndarray:
    """Returns P(item = 1 | label, known) f64[...] of one channel.

    Args:
      channel: (modality, slot).
      label: bool[...].
      known: channel -> state i8[...] (0, 1 or UNKNOWN) of those drawn before.
    """
    states = {c: known.get(c, UNKNOWN) for c in self.order}
    label = np.asarray(label, int)
    shown, all_ = (
      self.full[(label, *({**states, channel: state}.values()))]
      for state in (1, UNKNOWN)
    )
    return shown / all_

  def draw(self, rng, modality, label, known) -> np.ndarray:
    """Draws a modality's items bool[... slots], given label bool[...]."""
    slots = [c for c in self.order if c[0] == modality]
    uniform = rng.random((*np.shape(label), len(slots)))
    known = dict(known)
    out = np.zeros(uniform.shape, bool)
    for i, channel in enumerate(slots):
      out[..., i] = uniform[..., i] < self.chance(channel, label, known)
      known[channel] = out[..., i].astype(np.int8)
    return out

  def rate(self, modality, prior) -> np.ndarray:
    """Returns the marginal rate f64[...] of an item at the labels' priors."""
    channel = next(c for c in self.order if c[0] == modality)
    negative, positive = (self.chance(channel, y, {}) for y in (False, True))
    return np.asarray(prior) * positive + (1 - np.asarray(prior)) * negative

  def llr(self, states) -> np.ndarray:
    """Returns log P(items | 1) / P(items | 0), f64[...] of states i8[... K]."""
    at = tuple(np.moveaxis(np.asarray(states), -1, 0))
    return np.log(self.full[(1, *at)] / self.full[(0, *at)])


@dataclasses.dataclass(frozen=True)
class Source:
  """What one modality of a task shows in N stays.

  Attributes:
    shown: bool[N C S], the items of S slots.
    clear: bool[N C S], False where the item's place is noise.
    exists: bool[N], the stay has the source.
  """

  shown: np.ndarray
  clear: np.ndarray
  exists: np.ndarray

  @property
  def states(self) -> np.ndarray:
    """i8[N C S]: 0, 1, or UNKNOWN where absent or noise."""
    seen = self.clear & self.exists[:, None, None]
    return np.where(seen, self.shown, UNKNOWN).astype(np.int8)


class Evidence:
  """Draws what the sources of one chunk's stays show, and remembers it.

  Attributes:
    sources: (task, modality) -> Source, in the order they were drawn in.
  """

  def __init__(self, world: World, rng):
    """Keeps `rng` for noise alone: without any, nothing is drawn from it."""
    self.world = world
    self.items = {task: Items(world, task) for task in model.EVIDENCE}
    self.sources = {}
    # Noise elsewhere has its own, so that what the sources show does not hang
    # on it.
    self._rng, (self._other,) = rng, rng.spawn(1)

  def draw(self, rng, task, modality, label, stay=None) -> np.ndarray:
    """Draws a source's items bool[R C S] given what its stay showed so far.

    Args:
      rng: numpy Generator.
      task, modality: which.
      label: bool[R C].
      stay: row of the stay of each i64[R], -1 for none; by default R is N.
    """
    known = {}
    for (of, other), source in self.sources.items():
      if of == task:
        states = source.states
        if stay is not None:
          states = np.where(
            (stay >= 0)[:, None, None], states[np.maximum(stay, 0)], UNKNOWN
          )
        for slot in range(states.shape[-1]):
          known[other, slot] = states[..., slot]
    return self.items[task].draw(rng, modality, label, known)

  def decoy(self, rng, task, modality, prior, shape) -> np.ndarray:
    """Draws items bool[*shape] that ignore every label, at the same rate."""
    rate = self.items[task].rate(modality, prior)
    return rng.random((*shape, 1))[..., 0] < rate * np.ones(shape)

  def clear(self, shape) -> np.ndarray:
    """Draws which places bool[*shape] are not noise."""
    if not self.world.noise:
      return np.ones(shape, bool)
    return self._rng.random(shape) >= self.world.noise

  def spoil(self, task, modality, prior, shown, clear) -> np.ndarray:
    """Items bool[R C S] of which those that are not clear are decoys."""
    if clear.all():
      return shown
    rate = self.items[task].rate(modality, prior)[..., None]
    return np.where(clear, shown, self._rng.random(shown.shape) < rate)

  def elsewhere(self, free) -> np.ndarray:
    """Draws which places that are `free` of evidence bool[*shape] are noise."""
    if not self.world.noise:
      return np.zeros(free.shape, bool)
    return free & (self._other.random(free.shape) < self.world.noise)

  def spoilt(self, shape, count, most) -> np.ndarray:
    """Draws which places of `count` are noise, bool[*shape count].

    Always the same number, and never more than `most` of them.
    """
    number = min(round(self.world.noise * count), most)
    if not number:
      return np.zeros((*shape, count), bool)
    rank = self._other.random((*shape, count)).argsort(-1).argsort(-1)
    return rank < number

  def wild(self, task, modality, prior, count) -> np.ndarray:
    """Draws items bool[count C] that noise elsewhere shows."""
    shape = count, len(prior)
    if not self.world.noise:
      return np.zeros(shape, bool)
    return self.decoy(self._other, task, modality, prior, shape)

  def seed(self) -> int:
    """Draws a seed for noise among sentences."""
    return int(self._other.integers(2**62))

  def add(self, task, modality, shown, clear, exists) -> None:
    """Remembers a source: [N C S] or [N C] of one slot, as `Source`."""
    if shown.ndim == 2:
      shown, clear = shown[..., None], clear[..., None]
    self.sources[task, modality] = Source(shown, clear, exists)
