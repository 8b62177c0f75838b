"""Every block of code in README.md and docs/ is run, or said who runs it.

A block that is not in `BLOCKS` fails. Commands take minutes and are run by
`pytest -m slow tests/test_docs.py`, on a small twin's raw files in the place of
MIMIC's and with few epochs; that their modules and flags exist is looked at
every time, and Python is run every time.
"""

import ast
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data import synthetic
from data.synthetic import world as worlds
from experiments.config import flag
from experiments.config.config import FLAGS
from experiments.config.machine import Processes
from experiments.tables import sweeps
from medpatch_jax import __main__ as console
from medpatch_jax import schema
from tests import challenge_files, exported, small_run, tables_folder

ROOT = pathlib.Path(__file__).parent.parent
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = "--epochs=1 --calibration_steps=2 --batch_size=32"
# A block's file and its place there -> `shell` and `python`, run here; or who
# runs it elsewhere, or why nothing is to be run.
BLOCKS = {
  ("README.md", 0): "tests/test_commands.py runs the quickstart",
  ("README.md", 1): "what it prints",
  ("README.md", 2): "this is pytest",
  ("README.md", 3): "shell",
  ("challenge2012.md", 0): "tests/test_challenge_predict.py runs the second",
  ("data.md", 0): "shell",
  ("data.md", 1): "tests/test_embeddings_mimic.py builds with such folders",
  ("data.md", 2): "tests/test_embeddings_mimic.py writes such a file",
  ("data.md", 3): "tests/test_mimic.py builds as published, with such a file",
  ("data.md", 4): "tests/test_mimic.py reads such a file",
  ("deviations.md", 0): "shell",
  ("experiments.md", 0): "shell",
  ("experiments.md", 1): "sweep",
  ("export.md", 0): "shell",
  ("export.md", 1): "python",
  ("export.md", 2): "shell",
  ("export.md", 3): "python",
  ("export.md", 4): "python",
  ("export.md", 5): "python",
  ("export.md", 6): "shell",
  ("meds.md", 0): "tests/test_meds.py builds; the rest is of own_data.md",
  ("meds.md", 1): "tests/test_meds.py reads it",
  ("own_data.md", 0): "shell",
  ("own_data.md", 1): "what is printed; tests/test_tables.py has each line",
  ("own_data.md", 2): "python",
  ("own_data.md", 3): "shell",
  ("own_data.md", 4): "tests/test_hancock.py runs both commands",
  ("own_data.md", 5): "shell",
  ("pretrained.md", 0): ".ci/run does it in an environment with the extras",
  ("records.md", 0): "python",
  ("report.md", 0): "tests/test_browser.py looks at such a page",
  ("report.md", 1): "tests/test_browser.py looks at such a page",
  ("results.md", 0): "shell",
  ("results.md", 1): "shell",
  ("results.md", 2): "shell",
  ("results.md", 3): "shell",
  ("results.md", 4): "shell",
  ("results.md", 5): "shell",
  ("results.md", 6): "shell",
  ("statistics.md", 0): "shell",
  ("statistics.md", 1): "part of results.json; tests/test_report.py has it",
  ("statistics.md", 2): "part of results.json; tests/test_windows.py has it",
  ("training.md", 0): "tests/test_parallel.py runs two processes",
  ("training.md", 1): "tests/test_kills.py kills runs",
  ("training.md", 2): "runs this suite with the lowest versions",
}


def blocks():
  """(file's name, number of the block in it) -> its text."""
  return {
    (path.name, i): text
    for path in FILES
    for i, text in enumerate(
      re.findall(r"^```\w*\n(.*?)^```", path.read_text("utf-8"), re.S | re.M)
    )
  }


def commands(text):
  """Commands of a block, one a line, remarks cut off, first of alternatives.

  What is in brackets may be left out and is taken along.
  """
  text = re.sub(r"\\\n\s*", " ", text)
  lines = [re.sub(r"\s#.*", "", line) for line in text.splitlines()]
  lines = [re.sub(r"[\[\]]", "", line).strip() for line in lines]
  return [re.sub(r"(=[\w.-]+)(\|[\w.]+)+", r"\1", x) for x in lines if x]


def test_every_block_is_in_the_table():
  found = set(blocks())
  assert found == set(BLOCKS), found ^ set(BLOCKS)


def flags_of(module):
  """Names of a command's flags, read off its source."""
  path = ROOT / (module.replace(".", "/") + ".py")
  if path.with_suffix("").is_dir():
    path = path.with_suffix("") / "__main__.py"
  text = path.read_text("utf-8")
  if "options.define(" in text:
    text += (ROOT / "experiments/report/options.py").read_text("utf-8")
  names = set()
  if "experiment_flags.define()" in text:
    names |= {*FLAGS, *flag.of(Processes)}
  for node in ast.walk(ast.parse(text.replace("from __future__", "#"))):
    name = getattr(getattr(node, "func", None), "attr", "")
    if name.startswith("DEFINE_") or name == "add_argument":
      first = node.args[0]
      if isinstance(first, ast.Constant):
        names.add(first.value.lstrip("-"))
  if module == "data.build":
    from data.mimic import rules

    names |= set(rules.CHOICES)
  if re.search(r"world\w*\.define\(", text):
    names |= {"world", *worlds.STRENGTHS}
  return names


def typed():
  """(module, words) of every command in any block."""
  for key, text in blocks().items():
    for line in commands(text):
      if not re.match("(srun )?python -m|medpatch ", line):
        continue
      words = shlex.split(line.removeprefix("srun "))
      if words[:2] == ["python", "-m"] and words[2] != "tests.lowest":
        yield key, words[2], words[3:]
      elif words[:1] == ["medpatch"]:
        name = words[1]
        yield key, console.MODULES.get(name, f"experiments.{name}"), words[2:]


def test_commands_and_flags_exist():
  for key, module, words in typed():
    known = flags_of(module)
    given = {w[2:].partition("=")[0] for w in words if w.startswith("--")}
    assert given <= known, (key, module, given - known)


# Python, on the model and the records it is about.


@pytest.fixture(scope="module")
def place(small_records, tmp_path_factory):
  """A folder with what the examples name: DIR is a model of mortality."""
  root = tmp_path_factory.mktemp("docs")
  (root / "OUT").symlink_to(small_records)
  task = "in_hospital_mortality"
  small_run.records(root / "records", task, subjects=60)
  stages = exported.stages(root / "records", root / "run", task=task)
  try:
    import jax2onnx  # noqa: F401

    onnx = (48,)
  except ImportError:
    onnx = ()
  exported.write(root / "DIR", stages, exported.drawn(stages), onnx)
  grey = np.full((64, 64), 90, np.uint8)
  Image.fromarray(grey).save(root / "film.jpg")
  return root


def pythons():
  """Blocks of Python; those with packages of an extra are marked so."""
  for key, how in BLOCKS.items():
    if how == "python":
      extra = "onnxruntime" in blocks().get(key, "")
      yield pytest.param(key, marks=[pytest.mark.extra] if extra else [])


@pytest.mark.parametrize("key", list(pythons()), ids=str)
def test_python_runs(place, key, monkeypatch, capsys):
  text = blocks()[key]
  monkeypatch.chdir(place)
  if "np.load(" in text:  # What the block before writes.
    exec(blocks()["export.md", 3], {})  # noqa: S102
  names = {}
  exec(compile(text, str(key), "exec"), names)  # noqa: S102
  if key == ("export.md", 1):
    assert 0 < names["found"].probability[0] < 1
    assert set(names["found"].confidence) == {"ehr", "cxr", "rr"}
  if "found" in names and "print" in text:
    assert "[" in capsys.readouterr().out


def test_the_example_of_a_sweep_is_one(tmp_path):
  file = tmp_path / "sweep.json"
  file.write_text(blocks()["experiments.md", 1])
  rows = sweeps.load(str(file), schema.MODALITIES)
  assert [row.trained for row in rows] == [None, None, "plain"]


def test_an_unknown_input_is_named_with_the_known_ones(place):
  import medpatch_jax

  model = medpatch_jax.load(place / "DIR")
  with pytest.raises(ValueError, match="'dn'; known are ehr, cxr, rr, hours"):
    model.predict({"dn": None})


# Commands, on small files.


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """Raw files, records, a run, an exported model and tables to predict."""
  root = tmp_path_factory.mktemp("world")
  synthetic.write(
    root / "raw", subjects=200, seed=0, layout="v2.2", density=0.05
  )
  raw = " ".join(
    f"--{flag}={root}/raw/{name}"
    for flag, name in (
      ("mimic_iv", "mimiciv"),
      ("mimic_cxr", "mimic-cxr-jpg"),
      ("mimic_note", "mimic-iv-note"),
    )
  )
  for task in ("phenotyping", "in_hospital_mortality"):
    typed_in(
      root,
      f"python -m data.build --source=mimic {raw} --task={task} --data_dir=OUT",
    )
  typed_in(
    root,
    "python -m experiments.train --data_dir=OUT --task=in_hospital_mortality"
    f" --workdir=RUN {SMALL}",
  )
  typed_in(root, "python -m experiments.evaluate --workdir=RUN")
  for name in ("RUN1", "RUN2", "RUN3"):
    shutil.copytree(root / "RUN", root / name)
  typed_in(root, "python -m experiments.export --workdir=RUN --out=MODEL")
  tables_folder.write(root / "MINE")
  rows = "stay_id,hours\n1,48\n2,48\n"
  (root / "TABLES").mkdir()
  (root / "TABLES/stays.csv").write_text(rows)
  rows = "stay_id,hour,variable,value\n1,2,Heart rate,80\n2,3,Heart rate,90\n"
  (root / "TABLES/events.csv").write_text(rows)
  challenge_files.write(root / "CHALLENGE")
  return root


def typed_in(folder, line):
  """Runs one line in a folder; it must end well."""
  words = shlex.split(line)
  if words[0] == "medpatch":
    words[:1] = ["python", "-m", "medpatch_jax"]
  done = subprocess.run(
    [sys.executable, *words[1:]],
    cwd=folder,
    env=os.environ
    | {
      "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}",
      "JAX_PLATFORMS": "cpu",
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, (line, done.stderr[-2000:])
  return done.stdout


# What stands for a place of the reader's, or takes too long as it is written.
REPLACED = [
  ("--preset=base --bert=DIR --vit=FILE", ""),
  ("--mimic_iv=DIR", "--mimic_iv={world}/raw/mimiciv"),
  ("--mimic_cxr=DIR", "--mimic_cxr={world}/raw/mimic-cxr-jpg"),
  ("--mimic_note=DIR", "--mimic_note={world}/raw/mimic-iv-note"),
  ("--challenge=DIR", "--challenge={world}/CHALLENGE"),
  ("--tables=DIR", "--tables={world}/MINE"),
  ("--init_from=DIR", "--init_from={world}/MODEL"),
  ("--task=TASK", "--task=in_hospital_mortality"),
  ("--task=...", "--task=phenotyping"),
  ("--sweep=NAME", "--sweep=pairs"),
  ("--tables=TABLES", "--tables={world}/TABLES"),
  ("--runs=RUN,RUN,RUN", "--runs=RUN1,RUN2,RUN3"),
  ("--subjects=2000", "--subjects=80"),
  ("--subjects=4000", "--subjects=80"),
  ("--subjects=12000", "--subjects=80"),
  ("--subjects=3000", "--subjects=80"),
  ("v2.2-4000-", "v2.2-80-"),
  ("v2.2-12000-", "v2.2-80-"),
  ("v2.2-3000-", "v2.2-80-"),
  ("v1.0", "v2.2"),
  ("--seeds=5", "--seeds=1 --shard=1/40"),
  ("--what=bootstrap", "--what=bootstrap --stays=200 --resamples=50"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
  "key", [k for k, how in BLOCKS.items() if how == "shell"], ids=str
)
def test_commands_end_well(world, tmp_path, key):
  lines = commands(blocks()[key])
  for name in ("RUN", "RUN1", "RUN2", "RUN3"):
    if not any("train" in line and f"={name}" in line for line in lines):
      shutil.copytree(world / name, tmp_path / name)
  if not any("data.build" in line for line in lines):
    shutil.copytree(world / "OUT", tmp_path / "OUT")
  if not any("export " in line for line in lines):
    shutil.copytree(world / "MODEL", tmp_path / "DIR")
  if key[0] == "results.md" and key[1] == 1:  # Of the build above it.
    shutil.copytree(world / "raw", tmp_path / "twin")
  if key == ("own_data.md", 3):
    subprocess.run(
      [sys.executable, "-c", blocks()["own_data.md", 2]],
      cwd=tmp_path,
      check=True,
    )
  for line in lines:
    for old, new in REPLACED:
      line = line.replace(old, new.format(world=world))
    if key == ("results.md", 1):
      line = line.replace("OUT/synthetic-v2.2-80-seed0-density0.05", "twin")
    if "=NAME" in line:  # Of own tables.
      name = "mine" if key[0] == "own_data.md" else "in_hospital_mortality"
      line = line.replace("=NAME", f"={name}")
    if re.search(r"\.(train|ablate|paper) |medpatch train", line):
      line += f" {SMALL}"
    if ".paper" in line:
      line += " --draws=0 --tasks=phenotyping"
    typed_in(tmp_path, line)
