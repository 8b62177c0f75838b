"""Gradient-boosted trees, in numpy: a model without time, beside encoders.

Newton boosting of the log loss (Friedman 2001; Chen and Guestrin 2016, section
2) on histograms of quantile bins. Trees grow level by level to one depth; every
level sees another draw of the columns, every tree another of the rows. What is
missing lies below every value.

Dims: N rows, F columns, B bins, L nodes of a level.
"""

import dataclasses

import numpy as np

BINS = 64


@dataclasses.dataclass(frozen=True)
class Settings:
  """How trees grow; chosen on the inner stays of docs/challenge2012.md.

  Attributes:
    trees: how many.
    depth: levels of splits of each.
    rate: what of each step is taken.
    columns, rows: share of them that a level, a tree sees.
    l2: penalty on a leaf's value.
    least: sum of p (1 - p) that a leaf must have.
  """

  trees: int = 300
  depth: int = 4
  rate: float = 0.04
  columns: float = 0.2
  rows: float = 0.6
  l2: float = 5.0
  least: float = 1.0


def logits(X, y, apply, seed: int = 0, settings: Settings = Settings()):
  """Learns from some rows and predicts others.

  Args:
    X: f64[N F] to learn from, NaN where missing.
    y: f64[N], 0 or 1, both of them there.
    apply: f64[M F] to predict.
    seed: of the draws.
    settings: of the trees.

  Returns:
    f64[M].
  """
  rng = np.random.default_rng(seed)
  knots = [_knots(x) for x in X.T]
  own, other = _bins(X, knots), _bins(apply, knots)
  start = np.log(y.mean() / (1 - y.mean()))
  z, out = np.full(len(y), start), np.full(len(apply), start)
  for _ in range(settings.trees):
    p = 1 / (1 + np.exp(-z))
    grow = rng.random(len(y)) < settings.rows
    step, said = _tree(own, other, p - y, p * (1 - p), grow, rng, settings)
    z, out = z + settings.rate * step, out + settings.rate * said
  return out


def _knots(x):
  """Where a column is cut, f64[fewer than BINS]; NaN is passed over."""
  known = x[~np.isnan(x)]
  if not len(known):
    return np.zeros(0)
  return np.unique(np.quantile(known, np.linspace(0, 1, BINS)[1:-1]))


def _bins(X, knots):
  """u8[N F]: 0 where missing, else 1 + how many knots are below or at it."""
  found = [
    np.where(np.isnan(x), 0, 1 + np.searchsorted(k, x, side="right"))
    for x, k in zip(X.T, knots)
  ]
  return np.stack(found, axis=1).astype(np.uint8)


def _tree(own, other, g, h, grow, rng, settings):
  """A Newton step by one tree, of learned and other rows: f64[N], f64[M].

  Args:
    own, other: bins of both.
    g, h: first and second derivative of the loss, f64[N].
    grow: the rows bool[N] it grows on.
    rng: of the columns.
    settings: `Settings`.
  """
  node, at = np.zeros(len(own), np.int64), np.zeros(len(other), np.int64)
  few = max(1, round(settings.columns * own.shape[1]))
  rows = np.flatnonzero(grow)
  for level in range(settings.depth):
    some = rng.choice(own.shape[1], few, replace=False)
    column, cut = _splits(
      own[np.ix_(rows, some)], node[rows], g[rows], h[rows], 2**level, settings
    )
    column = some[column]
    # Whether a row is above its node's cut.
    node = 2 * node + (own[np.arange(len(own)), column[node]] > cut[node])
    at = 2 * at + (other[np.arange(len(other)), column[at]] > cut[at])
  size = 2**settings.depth
  G = np.bincount(node[rows], g[rows], size)
  H = np.bincount(node[rows], h[rows], size)
  leaf = -G / (H + settings.l2)
  return leaf[node], leaf[at]


def _splits(bins, node, g, h, L, settings):
  """Each node's best split: (column i64[L], last bin below the cut i64[L]).

  A node that nothing can split sends all its rows to one side.
  """
  F, B = bins.shape[1], BINS + 1
  place = bins + np.arange(F) * B + node[:, None] * (F * B)

  def below(weight):
    """Sums f64[L F B] over the bins up to and with each."""
    weight = np.broadcast_to(weight[:, None], bins.shape).ravel()
    found = np.bincount(place.ravel(), weight, L * F * B)
    return found.reshape(L, F, B).cumsum(axis=2)

  G, H = below(g), below(h)

  def worth(G, H):
    return np.where(H < settings.least, -np.inf, G**2 / (H + settings.l2))

  gain = worth(G, H) + worth(G[..., -1:] - G, H[..., -1:] - H)
  best = gain.reshape(L, -1).argmax(axis=1)
  none = np.isneginf(gain.reshape(L, -1).max(axis=1))
  return best // B, np.where(none, B, best % B)
