"""Ensembles: who belongs to one, and what it says."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ensemble as commands
from experiments import evaluate
from experiments.training.run import Run
from medpatch_jax.baselines import ensemble

SCORES = {
  "e1": ("early", 0.70),
  "e2": ("early", 0.90),
  "e3": ("early", 0.80),
  "e4": ("early", 0.85),
  "j1": ("joint", 0.60),
  "l1": ("late", 0.75),
  "l2": ("late", 0.95),
}


def test_chooses_by_validation():
  assert ensemble.choose(SCORES, "early") == ["e2", "e4", "e3"]
  assert ensemble.choose(SCORES, "diverse") == ["e2", "j1", "l2"]
  with pytest.raises(ValueError, match="takes 3 runs of 'late', there are 2"):
    ensemble.choose(SCORES, "late")
  with pytest.raises(ValueError, match="ensemble 'best': wanted"):
    ensemble.choose(SCORES, "best")


def test_mean_of_probabilities():
  prob = np.array([[[0.2]], [[0.5]], [[0.9]]])
  logits = np.log(prob / (1 - prob))
  want = np.log((1.6 / 3) / (1.4 / 3))
  np.testing.assert_allclose(ensemble.mean(logits), [[want]], rtol=1e-5)
  # Far out nothing overflows: probabilities 1, 1 and 0.
  far = ensemble.mean([jnp.full((1, 1), x) for x in (200.0, 300.0, -500.0)])
  np.testing.assert_allclose(far, [[np.log(2)]], rtol=1e-5)


def test_members_as_one_model():
  class Constant(nn.Module):
    head: str
    logit: float

    @nn.compact
    def __call__(self, batch, *, train):
      return {self.head: jnp.full((2, 1), self.logit)}, {}

  members = {"late": Constant("late", 1.0), "late 2": Constant("late", -1.0)}
  model = ensemble.Ensemble(members=members)
  outputs, out = model.apply({}, None, train=False)
  np.testing.assert_allclose(outputs["ensemble"], 0, atol=1e-6)
  assert jax.tree.map(lambda x: x.shape, out["members"]) == {
    "late": (2, 1),
    "late 2": (2, 1),
  }


def test_probabilities_of_stays_without_outcomes_are_written(
  small, tmp_path, monkeypatch
):
  """The mean of two members; labels are never read."""
  from types import SimpleNamespace

  run = Run(small("run"))
  monkeypatch.setattr(Run, "label", None)
  N, C = len(run.rows("test")), len(run.labels)
  members = {
    name: SimpleNamespace(
      run=run, predict=lambda split, x=x: {"late": np.full((N, C), x)}
    )
    for name, x in (("a", 1.0), ("b", -1.0))
  }
  monkeypatch.setattr(evaluate, "validated", lambda stages: {"head": "late"})
  path = tmp_path / "out.csv"
  evaluate.write_probabilities(
    commands.alike(members), lambda: commands.averaged(members), path
  )
  head, *lines = path.read_text().splitlines()
  assert head.startswith("stay_id,") and len(lines) == N
  assert {cell for line in lines for cell in line.split(",")[1:]} == {
    "0.500000"
  }
