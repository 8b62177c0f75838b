"""Planted evidence and noise against the tokens and confidence of a run."""

import numpy as np
import pytest

from data.synthetic import places, sentences, world
from experiments import confidence
from experiments.tables import planted
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import calibrate
from medpatch_jax.evaluate import planted as evaluate
from tests import small_run

OTHER, MIXED, NOISE, CALM, EVIDENCE = range(5)


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
  """(records, raw files) of a small unreliable twin."""
  root = tmp_path_factory.mktemp("unreliable")
  small_run.records(
    root / "records",
    raw_dir=root / "raw",
    world=world.WORLDS["unreliable"],
  )
  return root / "records", root / "raw"


@pytest.fixture
def stages(twin, tmp_path, drawn_parameters):
  return untrained(twin, tmp_path)


def untrained(twin, tmp_path, *words):
  config = small_run.configuration(twin[0], tmp_path / "run", *words)
  return small_run.Untrained(Run(config))


@pytest.fixture
def where(twin):
  return places.read(twin[1] / places.NAME, "phenotyping")


def test_shares_and_auroc_by_hand():
  """Five tokens, two labels."""
  score = np.array([[0.9, 0.6], [0.8, 0.6], [0.7, 0.6], [0.6, 0.9], [0.5, 0.6]])
  kind = np.array([
    [EVIDENCE, OTHER], [NOISE, NOISE], [EVIDENCE, OTHER], [NOISE, NOISE],
    [OTHER, EVIDENCE],
  ])  # fmt: skip
  found = evaluate.measure(score, kind, thresholds=(0.64, 0.76))
  of = found["planted_label"]
  assert of["tokens"] == {
    "other": 3, "mixed": 0, "noise": 4, "calm": 0, "evidence": 3,
  }  # fmt: skip
  # Noise: of the first label 1 and 1 of 2 are low, of the second 1 and 1.
  assert of["low"]["noise"] == [0.5, 0.5]
  # Evidence: none, then one of two; of the second label the one is low.
  assert of["low"]["evidence"] == [(0 + 1) / 2, (0.5 + 1) / 2]
  assert of["low"]["calm"] == [None, None]
  # Against noise: 0.9 beats 0.8 and 0.6, 0.7 beats 0.6; then 0.6 ties 0.6 and
  # loses to 0.9.
  assert of["evidence_noise"] == pytest.approx((3 / 4 + 0.5 / 2) / 2)
  assert of["per_label"]["evidence_noise"] == pytest.approx([0.75, 0.25])
  # Against the rest: 0.9 beats all three, 0.7 two; then three ties of four.
  assert of["evidence_rest"] == pytest.approx((5 / 6 + 1.5 / 4) / 2)
  # Means 0.75, 0.7, 0.65, 0.75, 0.55, the first, third and last are evidence.
  of = found["mean_over_labels"]
  assert of["tokens"]["evidence"] == 3 and of["tokens"]["noise"] == 2
  assert of["low"]["evidence"] == [1 / 3, 1]
  assert of["evidence_noise"] == pytest.approx(1.5 / 6)
  assert of["evidence_rest"] == of["evidence_noise"] == of["rest_noise"]


def test_without_a_kind_there_is_no_number():
  found = evaluate.measure(np.full((3, 1), 0.7), np.full((3, 1), NOISE))
  of = found["planted_label"]
  assert [of[name] for name in evaluate.AUROCS] == [None] * 3
  text = evaluate.markdown(
    {
      "thresholds": [0.75],
      "calibration": "none",
      "modalities": {"ehr": {"none": found}},
    }
  )
  assert "| ehr | none | planted label | - | - | - |" in text


def test_places_fall_on_the_tokens_that_hold_them(stages, where):
  """What a token of each modality is made of says the same as its kind."""
  run, counts = stages.run, np.zeros(5, int)
  for m in run.config.modalities:
    kinds = planted.kinds(run, m, "train", where)
    for kind, row in zip(kinds, run.rows("train", m)):
      fields = run.fields("train", m, row)
      shown = {"ehr": _hours, "cxr": _patches}.get(m, _pieces)
      shown(run, kind, fields)
    assert {NOISE, EVIDENCE} <= set(np.unique(kinds))
    counts += np.bincount(kinds.ravel(), minlength=5)
  assert (counts > 100).all()


def _column(run, name):
  return list(run.channels.columns()).index(name)


def _hours(run, kind, fields):
  """pH 8.0 and heart rates of 250 are noise; septic fever is evidence."""
  mean, std = run.data.mean, run.data.std
  names = list(run.data.metadata["columns"])

  def values(name):
    i = names.index(name)
    return fields["x"][:, i] * std[i] + mean[i]

  noise = (values("pH") > 7.7) | (values("Heart rate") > 220)
  hours = len(noise)
  # What the mark leaves is carried on until it is measured again, in an hour.
  np.testing.assert_array_equal((kind[:hours] == NOISE).all(axis=1), noise)
  assert (kind[hours:] == OTHER).all()
  fever = np.flatnonzero(kind[:, 23] == EVIDENCE)
  assert all(values("Temperature")[fever] > 39.5)
  assert set(fever) <= {hours - 2}


def _patches(run, kind, fields):
  """Patches that are noise are dark; evidence lies in its label's quarter."""
  image = np.float32(fields["image"]).reshape(8, 8, 8, 8).mean(axis=(1, 3))
  noise = (kind[1:] == NOISE).all(axis=1).reshape(8, 8)
  assert (kind[0] == OTHER).all()  # The class token.
  for label in range(25):
    row, column = divmod(label % 4, 2)
    of = kind[1:, label].reshape(8, 8) >= CALM
    quarter = np.zeros((8, 8), bool)
    quarter[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = True
    assert not (of & (noise | ~quarter)).any()
    assert not of.any() or (of | noise)[quarter].all()
  if noise.any() and not noise.all():
    assert image[noise].mean() < image[~noise].mean() - 25


def _pieces(run, kind, fields):
  """The pieces of a label's words, in any window, and those of templates."""
  decode = run.tokeniser._tokenizer.decode
  for label, words in enumerate(sentences.WORDS[:25]):
    first = run.tokeniser._tokenizer.encode(
      f". {words[0]},", add_special_tokens=False
    ).ids[1:-1]
    at = np.flatnonzero(kind[:, label] == EVIDENCE)
    pieces = fields["piece"][:, at]
    has = any(
      words[0] in decode([int(p) for p in window]).replace(" ", "")
      for window in pieces
    )
    assert has == bool(len(at)) or len(first) > 20
  noise = (kind == NOISE).all(axis=1)
  assert not noise[0]  # [CLS] of every window.
  assert (fields["mask"][:, noise].any(axis=0)).all()


def test_a_span_is_where_its_piece_stands(stages):
  text = "No change.\n" * 40 + "New oliguria, azotemia anuria."
  tokeniser, shape = stages.run.tokeniser, (16, 5)
  piece, mask, _ = tokeniser.windows(text, *shape)
  spans = tokeniser.spans(text, *shape)
  assert spans.shape == (*piece.shape, 2)
  special = ~mask | np.isin(piece, (tokeniser.cls, tokeniser.sep))
  assert (spans[special] == 0).all()
  for number, (begin, end) in zip(piece[~special], spans[~special]):
    word = tokeniser._tokenizer.id_to_token(int(number)).removeprefix("##")
    assert word in ("[UNK]", text[begin:end].lower())


def test_the_whole_measure_of_a_run(twin, tmp_path, drawn_parameters):
  stages = untrained(twin, tmp_path, "--modalities=ehr,dn")
  found = confidence.measure(stages, twin[1] / places.NAME)
  assert list(found["modalities"]) == list(stages.config.modalities)
  for m, named in found["modalities"].items():
    assert list(named) == [*calibrate.KINDS, confidence.DISTANCE]
    before, after = (named[k]["planted_label"] for k in ("none", "position"))
    assert before["tokens"] == after["tokens"] and before["tokens"]["noise"]
    shares = np.array(before["low"]["noise"], float)
    assert (np.diff(shares) >= 0).all() and 0 <= shares[0] <= shares[-1] <= 1
    # One temperature of all tokens of a label keeps their order.
    label = named["label"]["planted_label"]
    assert label["evidence_noise"] == pytest.approx(
      before["evidence_noise"], abs=1e-6
    ), m
  text = evaluate.markdown(found)
  assert "| dn | after | planted label | noise |" in text


def test_what_cannot_be_measured_is_refused(twin, stages, where, tmp_path):
  whole = Stages(Run(small_run.configuration(twin[0], tmp_path / "new")))
  with pytest.raises(ValueError, match="unimodal/ehr: the stage is not comp"):
    confidence.check(whole)
  with pytest.raises(ValueError, match=r"places.*wanted the places\.parquet"):
    confidence.measure(stages, tmp_path / places.NAME)
  with pytest.raises(ValueError, match="stays of the records are not in it"):
    planted.kinds(stages.run, "ehr", "test", dict.fromkeys(where, {}))
