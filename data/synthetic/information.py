"""What two sources tell of a label, in bits: alone, alike, only together.

Partial information decomposition of I(Y; A, B) into unique information of A
and of B, redundant (shared) and synergistic information, by the definition of
Bertschinger, Rauh, Olbrich, Jost and Ay, *Quantifying unique information*,
Entropy 16 (2014), also known as BROJA: among the joint distributions Q with
the same P(Y, A) and P(Y, B), the least I_Q(Y; A, B) is what the sources have
without any synergy. Of AND it gives 0.311 bits shared and 0.5 synergistic, of
XOR one bit synergistic, of COPY (Y = (A, B), both coins) one bit unique each.

Dims: C labels; Y, A, B values of a label and of the two sources.
"""

import itertools

import numpy as np

from data.synthetic.world import UNKNOWN

TINY = 1e-15
PARTS = ("first", "second", "redundant", "synergistic")


def mutual(joint) -> np.ndarray:
  """Returns I(Y; A) f64[...] in bits of joint distributions f64[... Y A]."""
  joint = np.asarray(joint, np.float64)
  apart = joint.sum(-1, keepdims=True) * joint.sum(-2, keepdims=True)
  ratio = np.where(joint > TINY, joint / np.maximum(apart, TINY**2), 1.0)
  return (joint * np.log2(ratio)).sum((-2, -1))


def decompose(joint) -> dict[str, np.ndarray]:
  """Decomposes what two sources tell of a label.

  Args:
    joint: P(Y, A, B) f64[... Y A B]; leading axes are distributions of their
      own.

  Returns:
    `first`, `second` (unique), `redundant` and `synergistic`, f64[...] in
    bits; their sum is I(Y; A, B).
  """
  joint = np.asarray(joint, np.float64)
  flat = (*joint.shape[:-2], -1)
  whole = mutual(joint.reshape(flat))
  first, second = mutual(joint.sum(-1)), mutual(joint.sum(-2))
  least = mutual(_least(joint).reshape(flat))
  return {
    "first": least - second,
    "second": least - first,
    "redundant": first + second - least,
    "synergistic": whole - least,
  }


def _least(joint):
  """The distributions of the same margins that tell least of the label.

  I(Y; A, B) is convex in them. Every point with these margins is reached by
  moving mass round squares (a, a', b, b') of one label, and along one square
  the least is found by bisection of the slope; squares are gone round until
  none moves.
  """
  q = joint.copy()
  two = [list(itertools.combinations(range(n), 2)) for n in q.shape[-2:]]
  squares = list(itertools.product(range(q.shape[-3]), *two))
  for _ in range(500):
    moved = [_move(q, y, (a, c), (b, d)) for y, (a, c), (b, d) in squares]
    if max(moved, default=0.0) < 1e-7:
      break
  return q


def _move(q, y, rows, columns) -> float:
  """Moves mass of label `y` round one square to the minimum; how much."""
  cell = (Ellipsis, y, *np.ix_(rows, columns))
  mine = q[cell]
  others = q[(Ellipsis, *np.ix_(rows, columns))].sum(-3) - mine
  sign = np.array([[1.0, -1.0], [-1.0, 1.0]])
  start = -np.minimum(mine[..., 0, 0], mine[..., 1, 1])
  end = np.minimum(mine[..., 0, 1], mine[..., 1, 0])
  low, high = start, end
  for _ in range(40):
    middle = (low + high) / 2
    now = np.maximum(mine + middle[..., None, None] * sign, TINY)
    slope = (sign * np.log(now / (now + np.maximum(others, 0)))).sum((-2, -1))
    low, high = np.where(slope > 0, (low, middle), (middle, high))
  t = np.clip((low + high) / 2, start, end)
  q[cell] = np.maximum(mine + t[..., None, None] * sign, 0)
  return np.abs(t).max()


def pairs(items, prior) -> dict[tuple[str, str], dict[str, float]]:
  """Decomposes what each pair of modalities tells, mean over labels.

  Which places are noise can be seen, so the parts are those given these
  places, averaged over them.

  Args:
    items: world.Items of a task.
    prior: f64[C], of the labels.

  Returns:
    (modality, modality) -> as of `decompose`.
  """
  names = list(dict.fromkeys(m for m, _ in items.order))
  share = np.stack([1 - np.asarray(prior), prior], 1)[:, :, None, None]
  found = {}
  for pair in itertools.combinations(names, 2):
    places = [c for c in items.order if c[0] in pair]
    parts = dict.fromkeys(PARTS, 0.0)
    for clear in itertools.product((True, False), repeat=len(places)):
      rate = np.prod([1 - items.noise if c else items.noise for c in clear])
      if rate:
        seen = [c for c, ok in zip(places, clear) if ok]
        table = share * _of_two(items, pair, seen)
        for name, value in decompose(table).items():
          parts[name] += rate * float(value.mean())
    found[pair] = parts
  return found


def _of_two(items, pair, seen):
  """P(items seen of two modalities | label) f64[2 A B], others summed out."""
  at = [slice(0, 2) if c in seen else UNKNOWN for c in items.order]
  table = items.full[(slice(None), *at)]
  slots = [sum(m == name for m, _ in seen) for name in pair]
  return table.reshape(2, *(2**n for n in slots))


def table(items, prior) -> str:
  """Returns the text of `pairs`."""
  line = "{:<12} {:>13} {:>13} {:>10} {:>12}".format
  rows = [
    "Bits that a pair tells of a label, mean over labels",
    line("", "first alone", "second alone", "redundant", "synergistic"),
  ]
  for pair, parts in pairs(items, prior).items():
    numbers = (f"{max(value, 0):.4f}" for value in parts.values())
    rows.append(line(" + ".join(pair), *numbers))
  return "\n".join(rows)
