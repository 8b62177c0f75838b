"""Sweeps: what a row may be, and the table made of finished runs."""

import copy
import json

import pytest
from absl import flags as absl_flags

from experiments import ablate, flags, sweeps
from experiments.sweeps import Row

ROWS = (Row("a"), Row("b", ("--fuser=lstm",), "a"))


@pytest.fixture
def values(tmp_path):
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  found = copy.deepcopy(absl_flags.FLAGS)
  found(["ablate", f"--data_dir={tmp_path}"])
  return found


def _tidy(row, seed, auroc, auprc):
  return {
    "row": row,
    "seed": seed,
    "chosen": True,
    "auroc": auroc,
    "auprc": auprc,
  }


def test_gains_are_taken_seed_by_seed():
  found = [
    _tidy("a", 0, 0.80, 0.5),
    _tidy("a", 1, 0.90, 0.5),
    _tidy("b", 0, 0.81, 0.4),
    _tidy("b", 1, 0.93, 0.4),
    _tidy("b", 2, 0.99, 0.4),  # Its reference is not finished.
  ]
  a, b = ablate.summarise(ROWS, found)
  assert a["auroc"] == pytest.approx((0.85, 0.0707107), abs=1e-6)
  assert a["auroc_gain"] is None
  assert b["auroc"][0] == pytest.approx(0.91)
  assert b["auroc_gain"] == pytest.approx((0.02, 0.0141421), abs=1e-6)
  assert b["auprc_gain"] == pytest.approx((-0.1, 0.0), abs=1e-6)
  text = ablate.markdown([a, b])
  assert "| b | 3 | 0.9100 ± 0.0917 | 0.4000 ± 0.0000 | a | +0.0200" in text
  assert r"b & 0.9100 $\pm$ 0.0917" in ablate.latex([a, b])


def test_every_row_of_the_sweep_of_deviations_changes_one_thing():
  rows = {row.name: row for row in sweeps.SWEEPS["deviations"]}
  assert {"image_norm", "late_norm", "presence_order", "all"} <= rows.keys()
  for row in rows.values():
    if row.reference and row.name != "all":
      base = rows[row.reference].flags
      assert row.flags[: len(base)] == base
      assert len(row.flags) == len(base) + 1


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (None, "wanted one of deviations, or a JSON file"),
    ([{"flags": []}], "wanted a list of"),
    ([{"name": "a"}, {"name": "a"}], "'a' is there twice"),
    ([{"name": "a", "reference": "z"}], "reference 'z', which is no row"),
  ],
)
def test_a_wrong_sweep_is_refused(content, said, tmp_path):
  path = tmp_path / "sweep.json"
  if content is not None:
    path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=said):
    sweeps.load(str(path))


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
