"""Worlds: how the twin's modalities hang together, and the bits they share."""

import dataclasses

import numpy as np
import pytest

from data.errors import InputError
from data.synthetic import information, model, people, vitals, world

PHENO, DEATH = model.EVIDENCE


def _gate(rule):
  """P(Y, A, B) of two fair coins and Y = rule(a, b) in 0 to 3."""
  joint = np.zeros((4, 2, 2))
  for a in (0, 1):
    for b in (0, 1):
      joint[rule(a, b), a, b] = 0.25
  return joint


# Bits of Bertschinger et al. 2014, table 1: (first, second, redundant,
# synergistic). I(Y; A) of AND is 0.3113 bits.
@pytest.mark.parametrize(
  ("rule", "wanted"),
  [
    (lambda a, b: a & b, (0, 0, 0.3113, 0.5)),
    (lambda a, b: a ^ b, (0, 0, 0, 1)),
    (lambda a, b: 2 * a + b, (1, 1, 0, 0)),
    (lambda a, b: a, (1, 0, 0, 0)),
  ],
  ids=["and", "xor", "copy", "first"],
)
def test_information_of_logical_gates(rule, wanted):
  found = information.decompose(_gate(rule))
  assert tuple(found) == information.PARTS
  np.testing.assert_allclose(list(found.values()), wanted, atol=1e-4)


def test_information_adds_up_and_redundancy_is_of_both():
  """Two copies of one coin: all is redundant; parts sum to the whole."""
  both = np.zeros((2, 2, 2))
  both[0, 0, 0] = both[1, 1, 1] = 0.5
  found = information.decompose(both)
  np.testing.assert_allclose(list(found.values()), [0, 0, 1, 0], atol=1e-6)
  joint = np.random.default_rng(0).dirichlet(np.ones(18)).reshape(2, 3, 3)
  found = information.decompose(joint)
  assert sum(found.values()) == pytest.approx(
    information.mutual(joint.reshape(2, 9)), abs=1e-9
  )
  assert min(found.values()) > -1e-6


def test_each_world_has_the_information_it_is_named_for():
  bits = {
    name: information.pairs(world.Items(of, PHENO), model.PREVALENCE)[
      "ehr", "rr"
    ]
    for name, of in world.WORLDS.items()
  }
  share = {
    n: {k: v / sum(b.values()) for k, v in b.items()} for n, b in bits.items()
  }
  assert share["synergistic"]["synergistic"] > 0.9
  assert share["redundant"]["redundant"] > 0.7
  assert share["independent"]["synergistic"] < 0.45
  # Places that are noise tell nothing: both are clear in 0.36 of the stays.
  less = sum(bits["unreliable"].values()) / sum(bits["independent"].values())
  assert 0.36 < less < 0.7


@pytest.mark.parametrize("task", [PHENO, DEATH])
def test_items_follow_the_table(task):
  """Whatever is drawn first: frequencies are those of P(items | label)."""
  of = dataclasses.replace(world.WORLDS["mixed"], dilute_cxr=0.5)
  items, table = world.Items(of, task), world.table(of, task)
  rng, n = np.random.default_rng(1), 200_000
  for label in (False, True):
    known = {}
    for m in model.EVIDENCE[task]:
      shown = items.draw(rng, m, np.full(n, label), known)
      known |= {(m, s): shown[:, s].astype(int) for s in range(shown.shape[1])}
    place = sum(known[c] << i for i, c in enumerate(items.order[::-1]))
    found = np.bincount(place, minlength=2 ** len(items.order)) / n
    np.testing.assert_allclose(found, table[int(label)].ravel(), atol=0.005)


def test_a_diluted_modality_tells_less():
  """At 1 nothing, whatever the others show, and they tell what they told."""
  bits = [
    information.pairs(
      world.Items(world.World(synergy=0.4, dilute_rr=share), PHENO),
      model.PREVALENCE,
    )["ehr", "rr"]
    for share in (0.0, 0.5, 1.0)
  ]
  total = [sum(b.values()) for b in bits]
  assert total[0] > 1.5 * total[1] > 1.5 * total[2] > 0
  noise = bits[2]
  unique = noise.pop("first")
  np.testing.assert_allclose(list(noise.values()), 0, atol=1e-6)
  assert unique == pytest.approx(total[2])
  # Half of the items are the table's, half are shown at the rate of p0.
  of = model.EVIDENCE[PHENO]["rr"]
  items = world.Items(world.World(dilute_rr=0.5), PHENO)
  for label, rate in ((False, of.p0), (True, of.p1)):
    wanted = (rate + of.p0) / 2
    assert items.chance(("rr", 0), label, {}) == pytest.approx(wanted)


def test_a_coin_tells_only_with_another():
  """In a wholly synergistic world, by hand: P(rr differs | positive) is 0.9."""
  items = world.Items(world.World(synergy=1.0), PHENO)
  absent = world.UNKNOWN
  states = [
    (1, absent, 0, absent),
    (1, absent, 1, absent),
    (1,) + 3 * (absent,),
  ]
  wanted = [np.log(0.9 / 0.1), np.log(0.1 / 0.9), 0.0]
  np.testing.assert_allclose(items.llr(np.array(states)), wanted, atol=1e-12)


def test_absent_and_noise_say_the_same_nothing():
  shown = np.array([[[True]], [[True]], [[False]]])
  clear = np.array([[[True]], [[False]], [[True]]])
  exists = np.array([True, True, False])
  states = world.Source(shown, clear, exists).states
  assert states.ravel().tolist() == [1, world.UNKNOWN, world.UNKNOWN]


def test_sources_of_a_stay_hang_together_in_the_twin():
  """EHR, film, report and note of one stay, drawn as the twin draws them."""
  from data.synthetic import films, notes, series

  rng = np.random.default_rng(0)
  folk = people.draw(rng, 0, 3000, 3000)
  evidence = world.Evidence(world.World(synergy=1.0), np.random.default_rng(1))
  presence = model.Presence()
  series.items_of(rng, folk, evidence)
  films.draw(rng, folk, presence, evidence)
  notes.draw(rng, folk, presence, evidence)
  for (task, modality), source in evidence.sources.items():
    label = (folk.label if task == PHENO else folk.death[:, None])[
      folk.of_admission
    ]
    among = source.exists & folk.cohort & (folk.long | (task == PHENO))
    coin = evidence.sources[task, "ehr"].shown[among][..., 0]
    same = source.shown[among][..., 0] ^ coin ^ label[among]
    wanted = world.MISREAD if modality != "ehr" else label[among].mean()
    assert same.mean() == pytest.approx(wanted, abs=0.02), (task, modality)


def test_noise_elsewhere_ignores_the_labels():
  """Which hours and parts are noise, and what is shown in them."""
  from data.synthetic import films, series

  rng = np.random.default_rng(0)
  folk = people.draw(rng, 0, 2000, 2000)
  evidence = world.Evidence(world.World(noise=0.4), np.random.default_rng(1))
  shown = series.items_of(rng, folk, evidence)
  film = films.draw(rng, folk, model.Presence(), evidence)
  stay, hour = np.nonzero(shown.elsewhere)
  label = folk.label[folk.of_admission]
  share = shown.elsewhere.sum(axis=1) / vitals.num_bins(folk)
  used = np.flatnonzero(film.last >= 0)
  numbers = {
    "hours": (np.tile(share[:, None], 25), label),
    "shown": (shown.wild, label[stay]),
    "parts": (film.wild[film.last[used], :25], label[used]),
  }
  for name, (found, of) in numbers.items():
    for c in range(25):
      r = np.corrcoef(found[:, c], of[:, c])[0, 1]
      assert abs(r) < 4.5 / np.sqrt(len(of)), (name, c)
  # At the rate of a place of evidence.
  rate = evidence.items[PHENO].rate("ehr", model.PREVALENCE)
  np.testing.assert_allclose(shown.wild.mean(axis=0), rate, atol=0.02)


def test_bad_worlds_are_refused():
  with pytest.raises(InputError, match="--noise=1.5: wanted 0 to 1"):
    world.World(noise=1.5)
  with pytest.raises(InputError, match="at most 1 together"):
    world.named("synergistic", redundancy=0.5)
  with pytest.raises(InputError, match="--world=mixd: wanted one of indep"):
    world.named("mixd")
  changed = world.named("mixed", noise=0.1)
  assert changed == world.World(redundancy=0.3, synergy=0.4, noise=0.1)
