"""A flag is declared once, and everything that has to know it does."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from absl import flags as absl_flags

from experiments import flags
from experiments.config import config, page
from experiments.config.config import BEHAVIOURS, FLAGS
from experiments.config.flag import Affects
from medpatch_jax import schema
from tests import small_run

# A bool of the fusion, as somebody adds it: its flag, and the field of the
# module that reads it.
DECLARED = """
  louder: bool = choice(
    False,
    bool,
    Affects.FUSION,
    "The late head says twice as much.",
    paper="no such thing",
    of_medpatch=True,
    of_authors=False,
    module="medpatch",
  )
  deafness: float = choice(
    0.0, float, Affects.SERIES, "Of the series.", low=0.0, high=0.5
  )
"""
SCRIPT = """
import json, sys
from absl import flags
from experiments import flags as ours
from experiments.config import config, page
from experiments.training import models
from experiments.training.run import Run
from medpatch_jax.pipeline import Architecture

ours.define()
def read(*words):
  flags.FLAGS.unparse_flags()
  for name in flags.FLAGS:
    flags.FLAGS[name].unparse()
  flags.FLAGS(["train", "--data_dir=" + sys.argv[1], "--workdir=w", *words])
  return config.Config.from_flags(flags.FLAGS)
def refused(*words):
  try:
    read(*words)
  except (ValueError, flags.Error) as error:
    return str(error)
plain, made = read(), read("--louder", "--deafness=0.25")
architecture = models.architecture(Run(made))
print(json.dumps({
  "config": [plain.louder, made.louder],
  "key": [c.key("unimodal", m)["deafness"] for c in (plain, made) for m in ("ehr",)],
  "not": ["deafness" in made.key("unimodal", "cxr"), "louder" in made.key("pools", "ehr")],
  "recorded": [made.given["louder"], made.given["deafness"]],
  "range": refused("--deafness=0.9"),
  "baseline": refused("--louder", "--model=early"),
  "authors": refused("--louder", "--authors=a", "--modalities=ehr"),
  "card": made.training()["louder"],
  "page": page.text(),
  "module": architecture.medpatch().louder,
  "exported": Architecture.from_json(architecture.to_json()).medpatch().louder,
}))
"""


def test_a_flag_added_in_one_place_is_known_everywhere(
  repository, tmp_path, small_records
):
  for folder in ("data", "experiments", "medpatch_jax"):
    shutil.copytree(repository / folder, tmp_path / folder)
  _insert(
    tmp_path / "experiments/config/fusion.py",
    '  """Choices of stage 3."""\n',
    DECLARED,
  )
  _insert(
    tmp_path / "medpatch_jax/medpatch.py",
    "  classifier_norm: bool = True\n",
    "  louder: bool = False\n",
  )
  done = subprocess.run(
    [sys.executable, "-c", SCRIPT, str(small_records)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=False,
    env={"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"},
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  assert found["config"] == [False, True]
  assert found["key"] == [0.0, 0.25] and found["not"] == [False, False]
  assert found["recorded"] == [True, 0.25]
  assert "0.5" in found["range"]
  assert "--louder is MedPatch's" in found["baseline"]
  assert "--authors brings its own, False" in found["authors"]
  assert found["card"] is True
  row = "| `--louder` | The late head says twice as much. | yes, no | no"
  assert f"{row} | no such thing |  | stage 3 |" in found["page"]
  assert found["module"] and found["exported"]


def _insert(path, after, text):
  old = path.read_text("utf-8")
  assert old.count(after) == 1
  path.write_text(old.replace(after, after + text), "utf-8")


def test_the_page_of_flags_is_current(repository):
  written = (repository / "docs/flags.md").read_text("utf-8")
  assert written == page.text(), "python -m experiments.config.page > it"


def test_the_help_says_what_holds_where_a_flag_is_not_given():
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  said = absl_flags.FLAGS["threshold"].help
  assert said.endswith("Default: 0.75, or 0.8113 bits for entropy.")


def test_behaviours_of_the_released_code_all_say_what_they_reach():
  assert tuple(BEHAVIOURS) == schema.RELEASED


# What keys of a workdir of before were made of: a cache of then is read.
TRAINING = """data_dir task preset pairs train_fraction held_out missing_train
  hours_per_stay seed batch_size schedule adam_b2 clip patience classifier_norm
  authors dtype init_from freeze stage modality learning_rate epochs
  as_released"""
OWN = {
  "ehr": "ehr staleness deviation ehr_dropout clip_z",
  "cxr": "vit augment",
  "rr": "bert max_note_windows",
}


@pytest.mark.parametrize("m", OWN)
@pytest.mark.parametrize(
  ("stage", "more"),
  [
    ("unimodal", ""),
    ("confidence", ""),
    ("calibrate", "calibration calibration_steps"),
    ("pools", "calibration calibration_steps confidence threshold missing"),
    ("token_calibration", "missing"),
    ("tokens", "missing"),
  ],
)
def test_keys_are_of_what_a_result_depends_on(
  small_records, tmp_path, m, stage, more
):
  made = small_run.configuration(
    small_records, tmp_path, "--as_released=all", "--seed=3"
  )
  split = "test" if "missing" in more else None
  key = made.key(stage, m, split)
  assert set(key) == set(f"{TRAINING} {OWN[m]} {more}".split())
  assert (key["seed"], key["batch_size"], key["schedule"]) == (3, 32, None)
  assert key["epochs"] == 1 and key["learning_rate"] == 0.01
  behaviours = {
    "ehr": ["padding_tokens"],
    "cxr": ["image_norm", "mirror"],
    "rr": ["padding_tokens"],
  }[m]
  if stage == "pools":
    behaviours += ["absent_tokens", "ehr_uncalibrated", "entropy_direction"]
  if stage == "tokens":
    behaviours += ["absent_tokens"]
  assert sorted(key["as_released"]) == sorted(behaviours)


def test_ranges_hold_for_what_is_not_parsed_too(small_records, tmp_path):
  made = small_run.configuration(small_records, tmp_path)
  given = made.given | {"workdir": tmp_path, "stage": "all"}
  free = {n: f.default for n, f in FLAGS.items() if n not in given}
  for change, said in (
    ({"held_out": 1.5}, "held_out=1.5: wanted a number from 0 to 0.9"),
    ({"fuser": "sum"}, "fuser=sum: wanted concat"),
    ({"train_fraction": 0.0}, "wanted a number above 0 to 1"),
  ):
    with pytest.raises(ValueError, match=re.escape(said)):
      config.Config.from_flags(None, **free | given | change)


def test_what_is_free_to_change_is_not_recorded():
  free = {n for n, f in FLAGS.items() if f.affects is Affects.NOTHING}
  assert free | {"missing_test"} == set(FLAGS) - set(config.RECORDED)
