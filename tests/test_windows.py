"""What is past the windows that are read of notes is counted and said."""

import numpy as np
import pytest

from experiments.training import windows
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax.evaluate import disclosure, report, table
from medpatch_jax.export import card
from medpatch_jax.train import loop
from tests.test_report import cohort


def counted(run, split, m) -> np.ndarray:
  """Windows past the first of each note, counted from its pieces."""
  source = run.data.source(split, (m,))
  body = run.shapes.window - 2
  total = []
  for row in run.rows(split, m):
    text = source[int(row)][m].decode()
    pieces = run.tokeniser._tokenizer.encode(text, add_special_tokens=False).ids
    total.append(-(-len(pieces) // body))
  return np.array(total) - 1


def test_a_run_without_any_cache_says_once_what_it_drops(
  small, drawn_parameters, monkeypatch, caplog
):
  caplog.set_level("INFO", "medpatch_jax")

  def fit(stage, *_):
    for loader in (stage.train, stage.validation):
      assert len(list(loader.epoch(0)))
    return stage.params, None

  monkeypatch.setattr(loop, "fit", fit)
  words = ("--modalities=ehr,dn", "--cache_gb=0", "--max_note_windows=1")
  stages = Stages(Run(small("run", *words)))
  stages.encoder("dn")
  stages.confidence("dn")
  said = [line for line in caplog.messages if "dropped" in line]
  assert len(said) == 2
  for split, line in zip(("train", "validation"), said):
    left = counted(stages.run, split, "dn")
    assert line == (
      f"dn: of {(left > 0).sum()} stays of {split} the notes go on after the 1"
      f" windows that are read, {left.sum()} windows in all are dropped;"
      " --max_note_windows reads more"
    )


def test_windows_of_the_scored_split_are_counted_stay_by_stay(small):
  run = Run(small("run", "--modalities=cxr,dn", "--max_note_windows=1"))
  found = windows.of_test(run)
  assert list(found) == ["dn"]
  has = run.present("test")[run.rows("test")][:, 1]
  np.testing.assert_array_equal(found["dn"][has], counted(run, "test", "dn"))
  assert not found["dn"][~has].any() and found["dn"].any()


@pytest.mark.parametrize(
  ("rule", "few", "shown"),
  [
    (disclosure.OPEN, 3, (3, 9)),
    (disclosure.SECRET, 3, ("<11", "hidden")),
    (disclosure.SECRET, 52, ("~50", "~160")),
    (disclosure.SECRET, 295, (">289", "hidden")),
    (disclosure.SECRET, 300, (300, "~900")),
  ],
)
def test_results_say_how_many_stays_and_windows(rule, few, shown):
  """Three windows of each of `few` of 300 stays of a patient each."""
  given = cohort(rule=rule, bound=False)
  given |= {"subject": np.arange(300), "resamples": 10}
  left = np.where(np.arange(300) < few, 3, 0)
  unread = 4, {"rr": left, "dn": 0 * left}
  found = report.build(**given, unread=unread)
  rr, dn = found["unread"]
  assert (rr["modality"], rr["read"]) == ("rr", 4)
  assert (rr["stays"], rr["windows"]) == shown
  assert (dn["stays"], dn["windows"]) == (0, 0)
  lines = [line.split() for line in table.text(found).splitlines()]
  at = [line[:3] for line in lines].index(["Stays", "with", "notes"])
  assert lines[at + 2] == ["RR", str(shown[0]), "4", str(shown[1])]
  assert not lines[at + 3]


def test_the_card_says_how_much_of_a_text_is_read():
  shapes = {"max_windows": 16, "window": 512}
  given = {"architecture": {"kinds": [["dn", "text"]]}, "shapes": shapes}
  said = " ".join(card._windows(given).split())
  assert "first 16 windows of 510 word pieces are read, 8,160 pieces" in said
  given["architecture"]["kinds"] = [["ehr", "series"]]
  assert not card._windows(given)
