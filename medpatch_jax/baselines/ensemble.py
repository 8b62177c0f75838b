"""Ensembles: the mean of the probabilities of three models.

MedPatch, Table 3 (METHOD.md section 9). Of one kind, the best three by
validation of early, of joint or of late; diverse, the best of each. Models
are trained apart; `choose` says which belong together and `mean` joins what
they predict, on the host or in a module.

Dims: S models, N stays, C labels.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

KINDS = ("early", "joint", "late")
SIZE = 3


def choose(scores: Mapping[str, tuple[str, float]], kind: str) -> list[str]:
  """Picks the members of an ensemble by validation.

  Args:
    scores: run -> (its model, its validation score), higher is better.
    kind: one of `KINDS`, or "diverse".

  Returns:
    Three names of runs, the best first (of "diverse": in the order of
    `KINDS`).

  Raises:
    ValueError: the kind is unknown or too few runs are of it.
  """
  if kind not in (*KINDS, "diverse"):
    raise ValueError(f"ensemble {kind!r}: wanted {(*KINDS, 'diverse')}.")

  def best(model, count):
    of_kind = [run for run, (name, _) in scores.items() if name == model]
    if len(of_kind) < count:
      raise ValueError(
        f"ensemble {kind!r} takes {count} runs of {model!r}, there are"
        f" {len(of_kind)}. Train {count - len(of_kind)} more."
      )
    return sorted(of_kind, key=lambda run: (-scores[run][1], run))[:count]

  if kind == "diverse":
    return [best(model, 1)[0] for model in KINDS]
  return best(kind, SIZE)


def mean(logits: Sequence[jax.Array]) -> jax.Array:
  """Logit of the mean probability: S times f[N C] -> f32[N C].

  Computed from logarithms, so that confident members do not overflow.
  """
  stacked = jnp.stack([jnp.asarray(x, jnp.float32) for x in logits])
  yes = jax.nn.logsumexp(jax.nn.log_sigmoid(stacked), axis=0)
  no = jax.nn.logsumexp(jax.nn.log_sigmoid(-stacked), axis=0)
  return yes - no


class Ensemble(nn.Module):
  """Several baselines as one model.

  Attributes:
    members: head -> the model that returns it; a head may be named by its
      place as well ("late 2" is the head "late" of another model).
  """

  members: dict[str, nn.Module]

  @nn.compact
  def __call__(self, batch, *, train: bool):
    """batch -> ({"ensemble": f32[B C]}, {"members": {name: f32[B C]}})."""
    logits = {
      name: model(batch, train=train)[0][name.split()[0]]
      for name, model in self.members.items()
    }
    return {"ensemble": mean(list(logits.values()))}, {"members": logits}
