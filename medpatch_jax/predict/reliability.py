"""How far a probability was off, by the test split's bins."""

import dataclasses

import numpy as np

Z = 1.959964  # 95 % of a normal distribution lie within.


@dataclasses.dataclass(frozen=True)
class Bins:
  """Reliability of each label on the test split.

  Attributes:
    curves: per label {"edges", "count", "predicted", "observed"}, as in
      results.json, or None where the stays are too few to be shown.
  """

  curves: tuple[dict | None, ...]

  @classmethod
  def of(cls, curves: list, labels: int) -> "Bins":
    """From config.json; empty for a run that was not scored."""
    return cls(tuple(curves) or (None,) * labels)

  def error(self, probability) -> np.ndarray:
    """Probability f64[C] -> interval of observed less predicted, f64[C 2].

    The Wilson interval of the share of positives in the bin that the
    probability falls in, less the mean probability of that bin.
    """
    out = np.full((len(self.curves), 2), np.nan)
    for c, (curve, p) in enumerate(zip(self.curves, probability)):
      if curve is None:
        continue
      edges = np.asarray(curve["edges"])
      k = np.searchsorted(edges, p, side="left") - 1
      k = int(np.clip(k, 0, len(edges) - 2))
      if curve["count"][k]:
        low, high = wilson(curve["observed"][k], curve["count"][k])
        out[c] = np.array([low, high]) - curve["predicted"][k]
    return out


def wilson(share: float, count: int) -> tuple[float, float]:
  """95 % interval of a share of `count` rows (Wilson 1927)."""
  scale = 1 + Z**2 / count
  middle = (share + Z**2 / (2 * count)) / scale
  half = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
  return middle - half / scale, middle + half / scale
