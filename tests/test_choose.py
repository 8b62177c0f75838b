"""Which head is reported: a choice that knows its error."""

import numpy as np

from experiments import evaluate


def _heads(N, gain, seed=0):
  """Two heads of one label whose AUROC differs by about `gain`."""
  rng = np.random.default_rng(seed)
  label = (rng.random((N, 1)) < 0.1).astype(np.float32)
  late = label + rng.normal(size=(N, 1))
  other = late + 4 * gain * label + 0.5 * rng.normal(size=(N, 1))
  return {"late": late, "combined": other}, label, np.arange(N)


def test_what_few_positives_say_does_not_choose_a_head():
  """Of heads as good as each other on average the simplest is taken mostly."""
  chosen = [evaluate.choose(*_heads(150, 0.05, seed)) for seed in range(40)]
  assert chosen.count("late") >= 30


def test_what_is_better_beyond_its_error_is_taken():
  assert evaluate.choose(*_heads(4000, 0.3)) == "combined"


def test_a_label_without_positives_leaves_the_first():
  heads, label, subject = _heads(50, 0.3)
  assert evaluate.choose(heads, 0 * label, subject) == "late"
