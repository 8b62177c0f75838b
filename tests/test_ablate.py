"""Sweeps: what a row may be, and the table made of finished runs."""

import copy
import json

import numpy as np
import pytest
from absl import flags as absl_flags

from experiments import ablate, flags
from experiments.tables import sweeps, tabulate
from experiments.tables.sweeps import Row
from experiments.tables.tabulate import Score
from medpatch_jax.evaluate import report
from medpatch_jax.input import dataset

ROWS = (Row("a"), Row("b", ("--fuser=lstm",), "a"))


@pytest.fixture
def values(tmp_path):
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  found = copy.deepcopy(absl_flags.FLAGS)
  found(["ablate", f"--data_dir={tmp_path}"])
  return found


def _score(auroc, auprc=0.5, shift=0.0, stays="same"):
  """A run whose resamples lie evenly about its points."""
  draws = np.linspace(-0.01, 0.01, 1001) + shift
  return Score(
    (stays,),
    {"auroc": auroc, "auprc": auprc},
    {"auroc": auroc + draws, "auprc": auprc + draws},
  )


def test_gains_are_taken_seed_by_seed_and_draw_by_draw():
  found = {
    ("a", 0): _score(0.80),
    ("a", 1): _score(0.90),
    ("b", 0): _score(0.81, 0.4),
    ("b", 1): _score(0.93, 0.4),
    ("b", 2): _score(0.99, 0.4),  # Its reference is not finished.
  }
  a, b = tabulate.summarise(ROWS, found)
  assert a["auroc"].mean == pytest.approx(0.85)
  assert a["auroc"].spread == pytest.approx(0.0707107, abs=1e-6)
  # Percentiles 2.5 and 97.5 of the draws about the mean.
  assert (a["auroc"].low, a["auroc"].high) == pytest.approx((0.8405, 0.8595))
  assert a["auroc_gain"] is None
  assert b["auroc"].mean == pytest.approx(0.91)
  gain = b["auroc_gain"]
  assert (gain.mean, gain.spread) == pytest.approx((0.02, 0.0141421), abs=1e-6)
  # The draws of both are the same: nothing is left to resample.
  assert (gain.low, gain.high) == pytest.approx((0.02, 0.02))
  assert gain.p == pytest.approx(2 / 1002)
  assert b["auprc_gain"].mean == pytest.approx(-0.1)
  text = tabulate.markdown([a, b])
  assert "| b | 3 | **0.9100** ± 0.0917" in text
  assert "| a | +0.0200 ± 0.0141 (+0.0200, +0.0200) |" in text
  assert r"b & \textbf{0.9100} $\pm$ 0.0917" in tabulate.latex([a, b])


def test_best_is_bold_only_if_it_beats_all_others():
  noise = np.random.default_rng(0).normal(0, 0.01, 1001)
  rows = (Row("a"), Row("b"), Row("c"))
  found = {
    ("a", 0): _score(0.80),
    ("b", 0): _score(0.801, shift=noise),
    ("c", 0): _score(0.70),
  }
  best = [line["auroc"].best for line in tabulate.summarise(rows, found)]
  assert best == [False, False, False]  # b beats c, not a.
  found["b", 0] = _score(0.85, shift=noise)
  best = [line["auroc"].best for line in tabulate.summarise(rows, found)]
  assert best == [False, True, False]
  # On other stays than c there is no test.
  found["c", 0] = _score(0.70, stays="others")
  lines = tabulate.summarise(rows, found)
  assert not any(line["auroc"].best for line in lines)


def test_a_line_for_each_pattern_of_presence_with_the_bound_last(tmp_path):
  def write(name, seed, modalities, patterns):
    keys = ("modalities", "stays", "auroc", "bayes")
    result = {"version": report.VERSION, "modalities": modalities}
    result["patterns"] = [dict(zip(keys, p)) for p in patterns]
    folder = tmp_path / f"{name}-{seed}"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(result))
    return (name, seed), folder

  value = lambda x: {"value": x}  # noqa: E731
  bound = {"auroc": value(0.9)}
  both, rest = ["ehr", "rr"], (None, 300, value(0.5), bound)
  one = (["ehr"], 250, value(0.75), None)
  rare = (["rr"], 199, value(0.6), bound)
  folders = dict(
    [
      write("a", 0, both, [(both, 1200, value(0.8), bound), one, rest]),
      write("a", 1, both, [(both, 1200, value(0.7), bound), one, rare]),
      write("b", 0, both, [(both, 1200, value(0.85), bound)]),
      write("c", 0, ["ehr"], [(["ehr"], 1700, value(0.9), bound)]),
    ]
  )
  rows = [Row(name) for name in "abc"]
  assert tabulate.by_presence(rows, folders).splitlines() == [
    "| present | stays | a | b | Bayes |",
    "| --- | --- | --- | --- | --- |",
    "| ehr, rr | 1,200 | 0.7500 | 0.8500 | 0.9000 |",
    "| ehr | 250 | 0.7500 |  |  |",
  ]


def test_runs_about_other_stays_have_a_gain_but_no_interval():
  found = {("a", 0): _score(0.8), ("b", 0): _score(0.9, stays="others")}
  _, b = tabulate.summarise(ROWS, found)
  assert b["auroc_gain"].mean == pytest.approx(0.1)
  assert b["auroc_gain"].low is None and b["auroc_gain"].p is None


MODALITIES = ("ehr", "cxr", "rr", "dn")


@pytest.mark.parametrize("name", sweeps.SWEEPS)
def test_every_row_of_every_sweep_is_a_configuration(name, values, monkeypatch):
  described = dataset.Description(
    inputs=MODALITIES,
    kinds=dict(zip(MODALITIES, ("series", "image", "text", "text"))),
    labels=tuple("abc"),
    hours=None,
  )
  monkeypatch.setattr(dataset, "describe", lambda *_: described)
  rows = sweeps.load(name, MODALITIES)
  names = [row.name for row in rows]
  assert len(set(names)) == len(names) > 1
  first = {}
  for row in rows:
    config = ablate.configure(row, 0, values, "sweep")
    # One folder holds one training.
    trained = {"given": config.given}
    assert first.setdefault(config.workdir, trained) == trained
    assert row.reference in (None, *names) and row.reference != row.name
  results = [ablate.configure(r, 0, values, "sweep").results for r in rows]
  assert len(set(results)) == len(rows)


def test_every_row_of_the_sweep_of_deviations_changes_one_thing():
  rows = {row.name: row for row in sweeps.load("deviations", MODALITIES)}
  assert {"image_norm", "late_norm", "presence_order", "all"} <= rows.keys()
  for row in rows.values():
    if row.reference and row.name != "all":
      base = rows[row.reference].flags
      assert row.flags[: len(base)] == base
      assert len(row.flags) == len(base) + 1


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (None, "wanted one of deviations, .* or a JSON file"),
    ([{"flags": []}], "wanted a list of"),
    ({"name": "a"}, "it is an object, wanted a list"),
    ([{"name": 1}], r"\[0\].name is a whole number, wanted a text"),
    (
      [{"name": "a", "flags": "--x=1"}],
      r"\[0\].flags is a text, wanted a list",
    ),
    ([{"name": "a", "flags": [1]}], r"flags\[0\] is a whole number"),
    ([{"name": "a", "reference": 1}], "reference is a whole number, wanted"),
    ([{"name": ".."}], "'..' is no name of a folder"),
    ([{"name": "a/../../b"}], "is no name of a folder"),
    ([{"name": ""}], "is no name of a folder"),
    ([{"name": "a"}, {"name": "a"}], "'a' is there twice"),
    ([{"name": "a", "reference": "z"}], "reference 'z', which is no row"),
    ([{"name": "a", "trained": "z"}], "trained 'z', which is no row"),
  ],
)
def test_a_wrong_sweep_is_refused(content, said, tmp_path):
  path = tmp_path / "sweep.json"
  if content is not None:
    path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=said):
    sweeps.load(str(path), MODALITIES)


@pytest.mark.parametrize(
  ("flag", "said"),
  [
    ("--fusr=lstm", "row 'x' of the sweep: .*fusr"),
    ("--fuser=gru", "row 'x' of the sweep: .*gru"),
  ],
)
def test_a_row_with_a_wrong_flag_is_named(flag, said, values, tmp_path):
  with pytest.raises(ValueError, match=said):
    ablate.configure(Row("x", (flag,)), 0, values, tmp_path)
