"""Embeddings of other models: built, trained on, exported, predicted from."""

import copy
import csv
import json

import numpy as np
import pyarrow as pa
import pytest
from absl import flags as absl_flags
from pyarrow import parquet

import medpatch_jax
from experiments import evaluate, export, flags, train
from experiments.config import Config
from experiments.training import start
from experiments.training.run import Run
from medpatch_jax.predict import __main__ as command
from tests import tables_folder
from tests.tables_folder import SECRET, _event, _stay
from tests.test_tables import read

MODEL = "org/encoder-1"


def row(stay, hour, path, kind="film", model=MODEL):
  return dict(stay_id=stay, kind=kind, hour=hour, path=path, model=model)


def small():
  """Three stays; the first has two films, the third one after its window."""
  return {
    "stays": [
      _stay(1, 11, 3, 1, 0, "train", "F", 60),
      _stay(2, 12, 3, 0, 1, "train", "M", 30),
      _stay(3, 13, 3, 0, 0, "test", "F", 70),
    ],
    "variables": [dict(name="Pulse", normal=80)],
    "events": [_event(s, 0.5, "Pulse", 90) for s in (1, 2, 3)],
    "embeddings": [
      row(1, 2, "b.npy"),
      row(1, 1, "a.npz"),
      row(2, 0, "b.npy", "report"),
      row(3, 3.5, "a.npz"),
    ],
  }


A = np.arange(8, dtype=np.float16).reshape(2, 4)
B = np.array([9, 8, 7, 6], np.float16)


def write(folder, tables=None):
  tables_folder.write(folder, tables or small())
  np.savez(folder / "a.npz", tokens=A, model=MODEL)
  np.save(folder / "b.npy", B)
  return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  root = tmp_path_factory.mktemp("embeddings")
  tables_folder.build(write(root / "in"), root / "out")
  return *read(root / "out"), root


def test_a_record_holds_the_tokens_as_they_were(built):
  stays, data, _ = built
  assert data.modalities == ("ehr", "film", "report")
  # In order of hour, one after the other; what was made later is not seen.
  assert stays[1]["film"].dtype == np.float16
  np.testing.assert_array_equal(stays[1]["film"], [*A, B])
  np.testing.assert_array_equal(stays[1]["film_hours"], [1, 2])
  assert stays[3]["film"].shape == (0, 4) and not len(stays[3]["film_hours"])
  assert [s["present"].tolist() for s in stays.values()] == [
    [True, s == 1, s == 2] for s in stays
  ]
  assert data.embeddings["film"] == {
    "model": MODEL, "width": 4, "dtype": "float16", "tokens": 3,
  }  # fmt: skip
  assert data.embeddings["report"]["tokens"] == 1
  report = json.loads((data.path / "report.json").read_text())
  assert report["facts"]["embeddings_outside_the_hours_of_the_stay"] == "<11"


def test_lists_of_a_parquet_column_are_the_same_records(built, tmp_path):
  stays, *_ = built
  tables = small()
  arrays = {"a.npz": A, "b.npy": B[None]}
  rows = tables.pop("embeddings")
  tables_folder.write(tmp_path / "in", tables)
  columns = {k: [r[k] for r in rows] for k in rows[0] if k != "path"}
  columns["tokens"] = [arrays[r["path"]].astype(float).tolist() for r in rows]
  path = tmp_path / "in/embeddings.parquet"
  parquet.write_table(pa.table(columns), path)
  tables_folder.build(tmp_path / "in", tmp_path / "out")
  again, data = read(tmp_path / "out")
  for number, stay in stays.items():
    np.testing.assert_array_equal(stay["film"], again[number]["film"])
  assert data.embeddings["film"]["dtype"] == "float32"
  columns["tokens"][1][1] = [0.0, float("nan"), 1.0, 2.0]
  parquet.write_table(pa.table(columns), path)
  tables_folder.refused(
    tmp_path / "in", tmp_path / "new", "column tokens: holds a NaN.*row 2"
  )


@pytest.mark.parametrize(
  "array, wanted",
  [
    (np.zeros((2, 5), np.float16), r"is 5 wide where others of film are 4"),
    (np.full((2, 4), np.nan), "holds a NaN or an infinite number"),
    (np.full((2, 4), 1e300), "holds a NaN or an infinite number"),
    (np.zeros((1, 2, 4)), r"found float64 \[1, 2, 4\]; wanted an array"),
    (np.zeros((2, 4), int), r"found int64 \[2, 4\]; wanted an array"),
    (np.zeros((0, 4)), r"found float64 \[0, 4\]; wanted an array"),
    (np.zeros((3, 1)), "is 1 wide; wanted 2 or more"),
    (b"no array", "is no .npy or .npz file, or is cut off"),
    (np.array([{SECRET: 1}], object), "is no .npy or .npz file"),
  ],
)  # fmt: skip
def test_bad_arrays_are_refused_by_row(tmp_path, array, wanted):
  tables = small()
  tables["embeddings"].append(row(2, 1, "c.npy"))
  folder = write(tmp_path / "in", tables)
  if isinstance(array, bytes):
    (folder / "c.npy").write_bytes(array)
  else:
    np.save(folder / "c.npy", array)
  tables_folder.refused(
    folder, tmp_path / "out", rf"embeddings.csv, column path: {wanted}.*\(row 5"
  )


@pytest.mark.parametrize(
  "change, wanted",
  [
    ({"stay_id": 99}, "stay_id: is of no stay of the table stays .row 2"),
    ({"model": "org/other"}, "column model: another model than the first"),
    ({"model": ""}, "column model: is empty; wanted the name of the model"),
    ({"path": "gone.npy"}, "column path: names no file of the folder .row 2"),
    ({"path": "../a.npz"}, "column path: leads outside the folder"),
    ({"path": ""}, "column path: wanted one of path and tokens"),
    ({"kind": "Film"}, "column kind: no lower-case word"),
    ({"kind": "ehr"}, "column kind: no lower-case word"),
    ({"hour": "x"}, "column hour: no number"),
  ],
)
def test_bad_rows_are_refused(tmp_path, change, wanted):
  tables = small()
  tables["embeddings"][1] |= change
  folder = write(tmp_path / "in", tables)
  tables_folder.refused(folder, tmp_path / "out", wanted)


def test_a_file_of_another_model_is_refused(tmp_path):
  folder = write(tmp_path / "in")
  np.savez(folder / "a.npz", tokens=A, model="org/other")
  tables_folder.refused(
    folder, tmp_path / "out", "is of another model than the table says .row 2"
  )


def test_a_link_out_of_the_folder_is_refused(tmp_path):
  folder = write(tmp_path / "in")
  np.save(tmp_path / "b.npy", B)
  (folder / "b.npy").unlink()
  (folder / "b.npy").symlink_to(tmp_path / "b.npy")
  tables_folder.refused(folder, tmp_path / "out", "leads outside the folder")


# Training on them, and predicting.


def many(folder, number=60):
  """Stays whose label an embedding tells, of 1 to 3 tokens."""
  rng = np.random.default_rng(0)
  tables = {name: [] for name in ("stays", "events", "embeddings")}
  tables["variables"] = [dict(name="Pulse", normal=80)]
  folder.mkdir()
  for stay in range(1, number + 1):
    split = ("train", "train", "validation", "test")[stay % 4]
    died = int(rng.random() < 0.5)
    tables["stays"].append(
      dict(stay_id=stay, subject_id=stay, hours=4, split=split, label_x=died)
    )
    tables["events"].append(_event(stay, 1, "Pulse", 80 + stay % 3))
    if stay % 5:
      tokens = rng.normal(size=(1 + stay % 3, 6))
      tokens[:, 0] += 3 * (2 * died - 1)
      np.save(folder / f"{stay}.npy", tokens.astype(np.float16))
      tables["embeddings"].append(row(stay, 1, f"{stay}.npy"))
  return tables_folder.write(folder, tables)


def configure(records, workdir, *words):
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  values = copy.deepcopy(absl_flags.FLAGS)
  small = ("--calibration_steps=2", "--batch_size=32", "--learning_rate=0.03")
  small += ("--late_pooling=mean", "--calibration=none")
  values(["train", f"--data_dir={records}", "--task=mine", *small, *words])
  return Config.from_flags(values, workdir=workdir)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A trained run, its exported model, and the tables."""
  root = tmp_path_factory.mktemp("trained")
  tables_folder.build(many(root / "in"), root / "out", open_license="CC0")
  stages = train.train(configure(root / "out", root / "run", "--epochs=8"))
  evaluate.predict(stages, root / "scored.csv")
  export.to_folder(stages, root / "model")
  return root


def probabilities(path):
  rows = list(csv.DictReader(path.read_text().splitlines()))
  column = "x" if "x" in rows[0] else "probability"
  return {int(r["stay_id"]): float(r[column]) for r in rows}


def test_a_model_learns_from_them_and_predicts_as_evaluated(trained):
  scored = probabilities(trained / "scored.csv")
  records, _ = read(trained / "out")
  told = {s: float(records[s]["label"][0]) for s in scored if s % 5}
  dead = np.mean([scored[s] for s, label in told.items() if label])
  alive = np.mean([scored[s] for s, label in told.items() if not label])
  assert dead > 0.2 + alive
  command.run(trained / "model", trained / "in", trained / "found.csv")
  found = probabilities(trained / "found.csv")
  model = medpatch_jax.load(trained / "model")
  for stay, p in scored.items():
    assert found[stay] == pytest.approx(p, abs=2e-6)
  stay = max(told)
  one = {"hours": 4, "ehr": [(1, "Pulse", 80 + stay % 3)]}
  one["film"] = [(1, records[stay]["film"])]
  found = model.predict(one)
  assert found.probability[0] == pytest.approx(scored[stay], abs=2e-6)
  assert found.confidence["film"].shape == (1 + stay % 3, 1)


def test_the_card_names_the_model_that_made_them(trained):
  card = (trained / "model/README.md").read_text()
  assert f"`film`: made by {MODEL}, 6 wide; of a stay at most 3 tokens" in card


def test_a_run_starts_from_a_model_of_the_same_embeddings_alone(trained):
  words = (f"--init_from={trained / 'model'}", "--modalities=film")
  run = Run(configure(trained / "out", trained / "again", *words))
  start.check(run)
  run.data.embeddings["film"] = run.data.embeddings["film"] | {"model": "org/b"}
  with pytest.raises(ValueError, match="made by org/encoder-1, .* by org/b"):
    start.check(run)


def test_predictions_refuse_other_widths_and_models(trained, tmp_path):
  model = medpatch_jax.load(trained / "model")
  with pytest.raises(ValueError, match="film: is 5 wide, wanted 6"):
    model.predict({"hours": 4, "film": np.zeros((1, 5), np.float32)})
  with pytest.raises(ValueError, match="film: holds a NaN"):
    model.predict({"hours": 4, "film": np.full((1, 6), np.nan)})
  long = model.predict({"hours": 4, "film": np.ones((9, 6), np.float32)})
  assert "9 tokens: only the first 3 are read" in long.warnings[0]
  rows = "stay_id,kind,hour,model,path\n1,film,1,org/other,1.npy\n"
  (tmp_path / "embeddings.csv").write_text(rows)
  (tmp_path / "stays.csv").write_text("stay_id,hours\n1,4\n")
  np.save(tmp_path / "1.npy", np.zeros((1, 6)))
  with pytest.raises(ValueError, match="another model than that of the model"):
    command.run(trained / "model", tmp_path, tmp_path / "found.csv")
