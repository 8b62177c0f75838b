"""Whether acting on a model does more good than acting on all or on none.

Decision curve of Vickers and Elkin, Medical Decision Making 2006. Who acts at
a probability of t or more takes one missed case to weigh as much as
(1 - t) / t false alarms; the net benefit is in cases found per stay.

Dims: N stays, C labels, K thresholds.
"""

import dataclasses

import numpy as np

from medpatch_jax.evaluate import metrics

THRESHOLDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


@dataclasses.dataclass(frozen=True)
class NetBenefit:
  """Net benefit per stay; acting on nobody has 0 everywhere.

  Attributes:
    threshold: f64[K].
    model: f64[K C], of acting on those at or above the threshold.
    everyone: f64[K C], of acting on all.
    acted: bool[K N C], stays at or above the threshold.
  """

  threshold: np.ndarray
  model: np.ndarray
  everyone: np.ndarray
  acted: np.ndarray


def odds(threshold: np.ndarray) -> np.ndarray:
  """Cases that a false alarm costs at a threshold f64[K]."""
  return threshold / (1 - threshold)


def net_benefit(
  prob: np.ndarray,
  label: np.ndarray,
  weight: np.ndarray | None = None,
  threshold=THRESHOLDS,
) -> NetBenefit:
  """Net benefit of every label at every threshold.

  Args:
    prob: f[N C] in [0, 1].
    label: [N C] in {0, 1}.
    weight: f[N]; rows of weight 0 are left out, others count alike.
    threshold: K numbers in (0, 1).

  Returns:
    NaN if there are no rows.

  Raises:
    ValueError: see `metrics.check`; or a threshold is out of range.
  """
  prob, label = metrics.check(prob, label, weight)
  prob, threshold = prob.astype(np.float64), np.asarray(threshold, np.float64)
  if not ((threshold > 0) & (threshold < 1)).all():
    raise ValueError(f"thresholds are {threshold}; each must be in (0, 1).")
  case = label == 1
  cost = odds(threshold)[:, None]
  N = len(prob) or np.nan

  def benefit(acted):
    found = (acted & case[None]).sum(axis=1)
    alarms = (acted & ~case[None]).sum(axis=1)
    return (found - cost * alarms) / N

  acted = prob[None] >= threshold[:, None, None]
  everyone = benefit(np.ones_like(acted))
  return NetBenefit(threshold, benefit(acted), everyone, acted)
