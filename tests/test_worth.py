"""Late weights beside the bits that each source of a twin tells."""

import numpy as np
import pytest

from data.synthetic import information, model, world
from experiments import worth

PHENO = "phenotyping"


def _entropy(p):
  return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_bits_of_a_modality_alone(noise):
  """By hand: what one binary item tells, in the places that are not noise."""
  items = world.Items(world.World(noise=noise), PHENO)
  prior = model.PREVALENCE
  pairs = information.pairs(items, prior)
  for m in model.EVIDENCE[PHENO]:
    of = model.EVIDENCE[PHENO][m]
    shown = prior * of.p1 + (1 - prior) * of.p0
    left = prior * _entropy(of.p1) + (1 - prior) * _entropy(of.p0)
    wanted = (1 - noise) * (_entropy(shown) - left).mean()
    assert worth.alone(pairs, m) == pytest.approx(wanted, abs=1e-5), m


def test_what_is_drawn_is_what_the_table_says():
  line = {"source": "ehr", "bits": 0.2, "weight": 1.1, "moves": 0.7}
  pair = {"source": "ehr x rr", "bits": 0.1, "weight": 0.3, "moves": 0.4}
  drawing = worth.draw({"mine": [line, pair]})
  assert drawing.rows == [
    ["mine", "ehr", 0.2, 1.1, 0.7],
    ["mine", "ehr x rr", 0.1, 0.3, 0.4],
  ]
  points = [[p.get_xydata() for p in a.lines] for a in drawing.figure.axes]
  np.testing.assert_allclose(points, [[[[0.2, 0.7]]], [[[0.1, 0.4]]]])
  assert "| mine | ehr | 0.2000 | 1.10 | 0.70 |" in worth.markdown(
    {"mine": [line]}
  )


def test_what_moves_is_weight_times_evidence():
  given = np.array([[1.0, 0.0], [-1.0, 0.0]])
  line = worth._line("ehr", 0.1, np.array([2.0, 4.0]), given)
  assert line["weight"] == 3.0
  assert line["moves"] == 1.0  # Of 2 and 0.
