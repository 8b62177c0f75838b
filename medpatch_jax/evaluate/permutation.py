"""Whether a group's metrics differ from the largest group's: a permutation test.

Were groups drawn by lot, what a model says of a patient would have nothing to
do with the group. So patients exchange their groups, all divisions at once,
again and again, and a gap is told from chance if such a draw rarely has one as
large. That is exact for groups of any size, unlike a bootstrap, whose interval
is too short for few cases.

All gaps are tested together by their largest (Westfall and Young, Resampling-
Based Multiple Testing, 1993, step-down max T), so that the chance of even one
false alarm in a table is 5 % at most, whatever the gaps have in common. Each
gap is divided by sqrt(1/cases + 1/others), summed over both groups, since
groups differ in how frequent a label is; then by its spread over the draws, so
that large groups and small ones are held to one measure.

Dims: N stays, P patients, C labels, G groups of a division, H gaps, R draws,
the first of which leaves all as it is.
"""

import concurrent.futures
import dataclasses
import os

import numpy as np

PERMUTATIONS = 499
# Patients with as many stays exchange their groups; where fewer patients have
# as many, so do those with a few more.
STRATUM = 50
BLOCK_BYTES = 1 << 19  # Of one array of a block of draws, as in bootstrap.py.


@dataclasses.dataclass(frozen=True)
class Division:
  """Groups that all stays are divided in.

  Attributes:
    group: i[N], each stay's.
    reference: the group that others are held against.
    tested: those others.
  """

  group: np.ndarray
  reference: int
  tested: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Result:
  """Two-sided p of H gaps, division by division, AUROC and AUPRC.

  Attributes:
    p: f64[H 2], NaN where no label has both classes in both groups.
    adjusted: f64[H 2], corrected over all of them.
  """

  p: np.ndarray
  adjusted: np.ndarray


def test(
  logits: np.ndarray,
  label: np.ndarray,
  patient: np.ndarray,
  divisions: list[Division],
  *,
  permutations: int = PERMUTATIONS,
  seed: int = 0,
) -> Result:
  """Tests the gaps of mean AUROC and AUPRC of all tested groups.

  Args:
    logits: f[N C].
    label: [N C] in {0, 1}.
    patient: [N].
    divisions: of the same stays.
    permutations: draws, without the one that leaves all as it is.
    seed: of the draws.
  """
  H = sum(len(d.tested) for d in divisions)
  if not H:
    return Result(np.zeros((0, 2)), np.zeros((0, 2)))
  exchange = _Exchange(patient, seed)
  groups = [d.group.astype(np.int8) for d in divisions]
  sorted_labels = [_Sorted.of(*pair) for pair in zip(logits.T, label.T)]
  size = max(1, BLOCK_BYTES // max(1, 4 * len(label)))
  parts = []
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for lo in range(0, permutations + 1, size):
      draws = range(lo, min(lo + size, permutations + 1))
      source = np.stack([exchange.source(r) for r in draws])
      gaps = [
        _gaps(pool, sorted_labels, group[source], division)
        for group, division in zip(groups, divisions)
      ]
      parts.append(np.concatenate(gaps, axis=1))
  return _judge(np.concatenate(parts))


class _Exchange:
  """Draws which stay's groups each stay takes, patients kept together."""

  def __init__(self, patient, seed):
    _, number, count = np.unique(
      patient, return_inverse=True, return_counts=True
    )
    self._seed, self._count = seed, count
    self._rows = np.argsort(number, kind="stable")
    self._first = np.cumsum(count) - count
    self._owner = number[self._rows]
    self._place = np.arange(len(number)) - self._first[self._owner]
    self._stratum = _strata(count)
    self._members = np.argsort(self._stratum, kind="stable")

  def source(self, r: int) -> np.ndarray:
    """Draw r: i64[N], the stay whose groups each stay takes."""
    donor = np.arange(len(self._count))
    if r:
      key = np.random.default_rng([self._seed, r]).random(len(donor))
      donor[self._members] = np.argsort(self._stratum + key)
    # A patient with more stays than the other takes some groups twice.
    giver, own = donor[self._owner], self._count[self._owner]
    place = self._place * self._count[giver] // own
    source = np.empty(len(self._rows), np.int64)
    source[self._rows] = self._rows[self._first[giver] + place]
    return source


def _strata(count):
  """Patients by their numbers of stays [P]: i64[P], no stratum of a few."""
  values, place, sizes = np.unique(
    count, return_inverse=True, return_counts=True
  )
  stratum, held = np.zeros(len(values), np.int64), 0
  for i, size in enumerate(sizes):
    if held >= STRATUM and sizes[i:].sum() >= STRATUM:
      stratum[i:] += 1
      held = 0
    held += size
  return stratum[place]


@dataclasses.dataclass(frozen=True)
class _Sorted:
  """One label's stays, the largest logit first.

  Attributes:
    order: i64[N], the stays.
    case: i64[n], places in that order of those with the label.
    above, down_to: i64[n], stays before each case's ties, and with them.
    cases_above, cases_down_to: i64[n], the same of stays with the label.
  """

  order: np.ndarray
  case: np.ndarray
  above: np.ndarray
  down_to: np.ndarray
  cases_above: np.ndarray
  cases_down_to: np.ndarray

  @classmethod
  def of(cls, logits, label) -> "_Sorted":
    order = np.argsort(-logits, kind="stable")
    falling, case = -logits[order], np.flatnonzero(label[order] == 1)
    own = falling[case]
    return cls(
      order,
      case,
      np.searchsorted(falling, own, "left"),
      np.searchsorted(falling, own, "right"),
      np.searchsorted(own, own, "left"),
      np.searchsorted(own, own, "right"),
    )

  def score(self, group, G: int):
    """Metrics of every group.

    Args:
      group: i[R N], each stay's.
      G: groups.

    Returns:
      f64[4 R G]: AUROC, AUPRC, stays with the label and without it; metrics of
      a group that lacks either are of no meaning.
    """
    group = group[:, self.order]
    own = group[:, self.case]
    stays, positives = _running(group, G), _running(own, G)
    down_to = _at(stays, own, self.down_to)
    true = _at(positives, own, self.cases_down_to)
    lost = down_to - true
    if (self.down_to - self.above > 1).any():  # Ties lose one half.
      above = _at(stays, own, self.above)
      lost = (lost + above - _at(positives, own, self.cases_above)) / 2
    place = (own + G * np.arange(len(own))[:, None]).ravel()

    def total(values):
      return np.bincount(place, values.ravel(), len(own) * G).reshape(-1, G)

    positives, stays = positives[:, :, -1].T, stays[:, :, -1].T
    pairs = np.maximum(positives * (stays - positives), 1)
    auprc = total(true / down_to) / np.maximum(positives, 1)
    return np.stack(
      [1 - total(lost) / pairs, auprc, positives, stays - positives]
    )


def _running(group, G: int):
  """i[R N] -> i32[G R N+1], how many of the first 0, 1 .. N are of a group."""
  out = np.zeros((G, len(group), group.shape[1] + 1), np.int32)
  for g in range(G):
    np.cumsum(group == g, axis=1, out=out[g, :, 1:])
  return out


def _at(running, own, end):
  """`_running` at end i64[n] of each case's own group i[R n]: i32[R n]."""
  return running[own, np.arange(len(own))[:, None], end[None]]


def _gaps(pool, sorted_labels, group, division):
  """Gaps f64[R H 2] of one division under some draws, group [R N]."""
  G = int(division.group.max()) + 1
  found = list(pool.map(lambda one: one.score(group, G), sorted_labels))
  scores = np.moveaxis(np.array(found), 0, 3)  # [4 R G C]
  tested, reference = list(division.tested), [division.reference]
  metrics, counts = scores[:2], scores[2:]
  counted = (counts > 0).all(axis=0)
  counted = counted[:, tested] & counted[:, reference]
  share = (1 / np.maximum(counts, 1)).sum(axis=0)
  labels = np.maximum(counted.sum(axis=2), 1)

  def mean(values):
    return np.where(counted, values, 0.0).sum(axis=-1) / labels

  gap = mean(metrics[:, :, tested] - metrics[:, :, reference])
  spread = np.sqrt(mean(share[:, tested] + share[:, reference]))
  defined = counted.any(axis=2)
  return np.moveaxis(
    np.where(defined, gap / np.where(defined, spread, 1.0), np.nan), 0, 2
  )


def _judge(gaps) -> Result:
  """Gaps f64[R H 2], the first draw's as they are -> their p."""
  shape = gaps.shape[1:]
  gaps = gaps.reshape(len(gaps), -1)
  # A gap that no label is in is none; it may have one in other draws.
  defined = ~np.isnan(gaps)
  count = np.maximum(defined.sum(axis=0), 1)
  gaps = np.where(defined, gaps, 0.0)
  far = np.where(defined, gaps - gaps.sum(axis=0) / count, 0.0)
  spread = np.sqrt((far**2).sum(axis=0) / count)
  far = np.abs(far) / np.where(spread > 0, spread, np.inf)
  own = far[0] - 1e-9  # Equal gaps may differ by rounding.
  p = ((far >= own) & defined).sum(axis=0) / count
  # The largest gap is held against the largest of all, the next one against
  # the largest of the others.
  rising = np.argsort(own, kind="stable")
  largest = np.maximum.accumulate(far[:, rising], axis=1)
  level = (largest >= own[rising]).mean(axis=0)
  adjusted = np.empty_like(p)
  adjusted[rising] = np.maximum.accumulate(level[::-1])[::-1]
  p, adjusted = (np.where(defined[0], x, np.nan) for x in (p, adjusted))
  return Result(p.reshape(shape), adjusted.reshape(shape))
