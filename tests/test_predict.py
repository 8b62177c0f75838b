"""Raw stays: prepared as the builder does, refused where they must be."""

import csv
import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import medpatch_jax
from medpatch_jax.input import channels, series, stay, variables
from medpatch_jax.predict import __main__ as command
from medpatch_jax.predict import reliability
from tests import exported, tables_folder


@pytest.fixture(scope="module")
def model(mine):
  return medpatch_jax.load(mine.model)


def raw(mine, number):
  """A stay of the tables, as a user would give it."""
  found = tables_folder.rows()
  (row,) = [s for s in found["stays"] if s["stay_id"] == number]
  own = {
    k: [r for r in found[k] if r["stay_id"] == number]
    for k in ("events", "notes", "images")
  }
  inside = [r for r in own["images"] if r["hour"] <= row["hours"]]
  return {
    "hours": row["hours"],
    "ehr": [(r["hour"], r["variable"], r["value"]) for r in own["events"]],
    "cxr": [(r["hour"], mine.tables / r["path"]) for r in inside],
    **{
      kind: [(r["hour"], r["text"]) for r in own["notes"] if r["kind"] == kind]
      for kind in ("nursing", "triage")
    },
  }


def test_raw_input_becomes_what_the_records_hold(mine, model):
  """Bit for bit what a run reads of the built records, for every stay."""
  run, seen = mine.stages.run, 0
  for split in ("train", "validation", "test"):
    ids = run.data.source(split, ("stay_id",))
    for row in run.rows(split):
      want = run._example(
        split, dict.fromkeys(model.modalities, False), row, None
      )
      number = int(ids[int(row)]["stay_id"])
      got, _ = model.preparation.example(raw(mine, number))
      np.testing.assert_array_equal(got["present"], want["present"])
      for m, fields in want["inputs"].items():
        assert (got["inputs"][m] is None) == (fields is None), (number, m)
        for name, value in (fields or {}).items():
          np.testing.assert_array_equal(got["inputs"][m][name], value)
      seen += 1
  assert seen == 4


def test_added_channels_of_raw_input_are_those_of_the_records(
  mine, model, tmp_path
):
  words = ("--modalities=ehr", "--staleness", "--deviation", "--clip_z=1")
  run = exported.stages(mine.root / "records", tmp_path, *words).run
  exact = dataclasses.replace(
    model.preparation,
    channels=channels.Channels.from_json(run.channels.to_json()),
  )
  ids, seen = run.data.source("train", ("stay_id",)), 0
  for row in run.rows("train"):
    want = run._input("train", "ehr", row, None)["x"]
    got, _ = exact.example(raw(mine, int(ids[int(row)]["stay_id"])))
    np.testing.assert_array_equal(got["inputs"]["ehr"]["x"], want)
    assert want.shape[1] == run.shapes.columns["ehr"]
    seen += len(want)
  with_added, without = (
    r.shapes.columns["ehr"] for r in (run, mine.stages.run)
  )
  assert seen and with_added > without


def test_a_prediction_says_what_it_is_made_of(mine, model):
  both = model.predict_batch([raw(mine, 1), raw(mine, 3)])
  one = both[0]
  assert one.labels == ("death", "sepsis")
  late = sum(one.late_weights[s] * one.logits[s] for s in one.late_weights)
  np.testing.assert_allclose(late, one.logits["late"], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(sum(one.late_weights.values()), 1, rtol=1e-5)
  np.testing.assert_allclose(
    one.probability, 1 / (1 + np.exp(-one.logits["combined"])), rtol=1e-5
  )
  assert one.confidence["ehr"].shape == (3, 2)
  assert np.all((one.confidence["ehr"] >= 0.5) & (one.confidence["ehr"] <= 1))
  # A stay is predicted alike alone and beside others.
  np.testing.assert_allclose(
    model.predict(raw(mine, 3)).probability, both[1].probability, rtol=1e-5
  )
  assert set(both[1].confidence) == {"ehr"} and "cxr" not in both[1].logits
  # Nothing was measured, so nothing is said of how far it can be believed.
  assert np.isnan(one.calibration_error).all()


def image(mode="L", size=(40, 60), kind="PNG", turn=None):
  rng = np.random.default_rng(0)
  shape = (size[1], size[0], 3) if mode == "RGB" else size[::-1]
  high = 65536 if mode == "I;16" else 256
  pixels = rng.integers(0, high, shape).astype(
    np.uint16 if mode == "I;16" else np.uint8
  )
  out, more = io.BytesIO(), {}
  if turn:
    more["exif"] = Image.Exif()
    more["exif"][0x0112] = turn
  Image.fromarray(pixels).save(out, kind, **more)
  return out.getvalue()


def blank(side):
  """A small file of a large image."""
  out = io.BytesIO()
  Image.new("1", (side, side)).save(out, "PNG")
  return out.getvalue()


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ({}, "none of ehr, cxr, nursing, triage: nothing is predicted"),
    ({"ehr": [], "triage": " \n"}, "an empty text: taken as absent"),
    ({"ehr": [(99, "Pulse", 80)]}, "1 events outside the 3 hours"),
    ({"xray": b""}, "an unknown input, 'xray'; known are ehr, cxr"),
    ({"ehr": [(1, "Puls", 80)]}, "row 1: an unknown variable; .*'Pulse'"),
    ({"ehr": [(1, "Pulse", "fast")]}, "row 1: Pulse wants a number"),
    ({"ehr": [(1, "Rhythm", "vf")]}, "wants one of sinus, af, paced"),
    ({"ehr": [(1, "Pulse")]}, r"row 1: wanted \(hour, variable, value\)"),
    ({"ehr": [("x", "Pulse", 80)]}, "the hour a number"),
    ({"ehr": [(1, "Pulse", 80)], "hours": 9}, "trained on the first 3 hours"),
    ({"cxr": image("I;16")}, "16 bits a pixel; save it with 8"),
    ({"cxr": image()[:200]}, "ends early, or is no JPEG or PNG"),
    ({"cxr": b"GIF89a"}, "no JPEG or PNG"),
    ({"cxr": "nowhere.jpg"}, "no such file"),
    ({"cxr": np.zeros((9, 9, 3), np.uint8)}, "wanted grey values"),
    ({"cxr": np.zeros((9, 9), np.uint16)}, r"an array uint16\[9, 9\]; wanted"),
    ({"cxr": image(size=(10, 90))}, "at most 4 times the shorter"),
    *(
      ({"cxr": blank(side)}, "more than 50,000,000 pixels")
      for side in (8_000, 10_000, 20_000)  # The last two worry Pillow, too.
    ),
    ({"cxr": bytes(100_000_001)}, "100,000,001 bytes; at most 100,000,000"),
    (dict.fromkeys(("ehr", "cxr", "nursing", "triage")), "none of ehr, cxr"),
    ({"ehr": [(1, "Pulse", None)], "nursing": []}, "no event left"),
    ({"triage": [(1, None)]}, r"note 1: wanted \(hour, text\)"),
    ({"triage": "a" * 10_000_001}, "10,000,001 characters; at most"),
  ],
)
def test_what_cannot_be_predicted_from_is_refused(given, said, model):
  with pytest.raises(ValueError, match=said):
    model.predict(given)


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (
      {"ehr": [(0.5, "Pulse", 900), (1, "Pulse", 80)]},
      "Pulse: 1 of 2 values outside 20 to 250 : taken as missing",
    ),
    ({"cxr": image("RGB")}, "a colour image: made grey"),
    ({"cxr": image(kind="JPEG", turn=6)}, "turned upright"),
    ({"cxr": np.full((90, 90), 7, np.uint8)}, "one grey throughout"),
    (
      {"triage": "pale. " * 170_000},
      "6,747 windows .* first 4 are read, 6,743 left",
    ),
  ],
)
def test_what_was_done_to_an_input_is_said(given, said, model):
  _, remarks = model.preparation.example(given)
  (remark,) = remarks
  import re

  assert re.search(said, remark), remark


def test_a_film_s_file_that_is_too_large_is_not_read(model, tmp_path):
  with open(tmp_path / "film.png", "wb") as file:
    file.truncate(100_000_001)
  with pytest.raises(ValueError, match="over 100,000,000 bytes"):
    model.predict({"cxr": tmp_path / "film.png"})


def test_a_sideways_film_is_turned():
  left = np.tile(np.arange(0, 240, 6, dtype=np.uint8), (40, 1))
  out = io.BytesIO()
  exif = Image.Exif()
  exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
  Image.fromarray(left).save(out, "JPEG", quality=95, exif=exif)
  stored, _ = stay.film(out.getvalue(), 40)
  with Image.open(io.BytesIO(stored)) as film:
    assert film.getexif().get(0x0112, 1) == 1
    np.testing.assert_allclose(
      np.asarray(film, int), np.rot90(left, -1).astype(int), atol=12
    )


def test_mimic_s_rules_hold_for_a_raw_stay():
  """Units, ranges, the carried weight and the coma scale's sum, by hand."""
  rules = {"items": "table", "outliers": "clamp", "ties": "item"}
  recipe = series.Recipe.of({"rules": rules | {"carry_in": 24.0}, "hours": 2})
  rows = [
    (0.5, "Temperature", 98.6),
    (0.5, "Fraction inspired oxygen", 40),
    (1.5, "Systolic blood pressure", "120/80"),
    (1.5, "pH", 9),
    (-3, "Weight", 70),
    (0.2, "Glasgow coma scale eye opening", "To Speech"),
    (0.2, "Glasgow coma scale motor response", "Obeys Commands"),
    (0.2, "Glasgow coma scale verbal response", "Confused"),
  ]
  grid, said = recipe.grid(rows)
  columns = variables.columns()
  value = {name: grid[:, i] for i, name in enumerate(columns)}
  np.testing.assert_allclose(value["Temperature"], 37, atol=1e-5)
  np.testing.assert_allclose(value["Fraction inspired oxygen"], 0.4, rtol=1e-6)
  np.testing.assert_allclose(value["Systolic blood pressure"], [118, 120])
  np.testing.assert_allclose(value["pH"], [7.4, 8.4], rtol=1e-6)
  np.testing.assert_allclose(value["Weight"], 70)
  assert value["Glasgow coma scale total->13"].tolist() == [1, 1]
  assert [s for s in said if s.startswith("pH")] == [
    "pH: 1 of 1 values beyond the valid range: set to its end"
  ]


def test_as_published_holds_for_a_raw_stay():
  """Of two values at one time the greater text, given as text or number."""
  rules = {"items": "published", "outliers": "keep", "ties": "text"}
  rules |= {"normals": "data", "carry_in": 0.0}
  recipe = series.Recipe.of({"rules": rules, "hours": 1})
  names = variables.columns()
  for few, many in (("8", "23"), (8, 23.0)):
    for order in ((few, many), (many, few)):
      grid, _ = recipe.grid([(0.5, "Respiratory rate", v) for v in order])
      assert grid[0, names.index("Respiratory rate")] == 8
  eye = names.index("Glasgow coma scale eye opening->Spontaneously")
  assert grid[0, eye] == 1


def test_the_interval_is_wilson_s_of_the_bin():
  # 30 of 100: Wilson's interval is (0.2189, 0.3958), Newcombe 1998.
  np.testing.assert_allclose(
    reliability.wilson(0.3, 100), (0.2189, 0.3958), atol=1e-4
  )
  curve = {"edges": [0, 0.5, 1], "count": [100, 0], "predicted": [0.2, None]}
  bins = reliability.Bins.of([curve | {"observed": [0.3, None]}, None], 2)
  found = bins.error(np.array([0.4, 0.4]))
  np.testing.assert_allclose(found[0], (0.0189, 0.1958), atol=1e-4)
  assert np.isnan(found[1]).all()
  assert np.isnan(bins.error(np.array([0.9, 0.4]))).all()  # No stay was there.


def read(path):
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def test_tables_are_predicted_and_a_stopped_command_goes_on(
  mine, model, tmp_path, monkeypatch
):
  monkeypatch.setattr(command, "PART", 2)
  monkeypatch.setattr(medpatch_jax, "load", lambda _: model)  # Compiled before.
  whole, cut = tmp_path / "whole.csv", tmp_path / "cut.csv"
  assert command.run(mine.model, mine.tables, whole) == (4, 1)
  rows = read(whole)
  assert [r["stay_id"] for r in rows] == ["1", "2", "3", "4"]
  for r in rows:
    want = model.predict(raw(mine, int(r["stay_id"])))
    got = [float(r[n]) for n in want.labels]
    np.testing.assert_allclose(got, want.probability, atol=2e-6)
    assert r["warnings"] == "; ".join(want.warnings)
  predict, calls = command._predict, []

  def stops(*arguments):
    calls.append(arguments[2])
    if len(calls) == 2:
      raise KeyboardInterrupt
    return predict(*arguments)

  monkeypatch.setattr(command, "_predict", stops)
  with pytest.raises(KeyboardInterrupt):
    command.run(mine.model, mine.tables, cut)
  assert not cut.exists()
  command.run(mine.model, mine.tables, cut)
  assert calls == [0, 2, 2, 4]  # The first part was not predicted again.
  assert cut.read_bytes() == whole.read_bytes()
  assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.csv", "whole.csv"]


def test_jsonl_and_parquet_hold_the_same(mine, model, tmp_path, monkeypatch):
  from pyarrow import parquet

  monkeypatch.setattr(medpatch_jax, "load", lambda _: model)
  for name in ("a.jsonl", "a.parquet"):
    command.run(mine.model, mine.tables, tmp_path / name)
  lines = [
    json.loads(x) for x in (tmp_path / "a.jsonl").read_text().split("\n")[:-1]
  ]
  table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
  for line, row in zip(lines, table, strict=True):
    assert line["stay_id"] == row["stay_id"]
    assert line["probability"] == {k: row[k] for k in ("death", "sepsis")}
    assert line["calibration_error"]["death"] == [None, None]


def change(table, **cells):
  def damage(tables):
    tables[table][0] |= cells

  return damage


@pytest.mark.parametrize(
  ("damage", "said"),
  [
    (change("events", variable="Puls"), "events.csv, column variable: .*row 1"),
    (
      change("events", value="fast"),
      "events.csv, column value: no number .row 1",
    ),
    (
      change("events", stay_id="9"),
      "column stay_id: is of no stay of the table",
    ),
    (change("notes", kind="poem"), "notes.csv, column kind: .*--skip_unknown"),
    (change("notes", hour="soon"), "notes.csv, column hour: no number"),
    (change("images", hour=2.5, path="../x"), "path: leads outside the folder"),
    (change("stays", hours=0), "stays.csv, column hours: no number .* above 0"),
    (change("stays", stay_id=2), "column stay_id: .* wanted each stay once"),
  ],
)
def test_wrong_tables_are_refused_and_nothing_is_written(
  damage, said, mine, tmp_path
):
  tables = tables_folder.rows()
  damage(tables)
  folder = tables_folder.write(tmp_path / "tables", tables)
  with pytest.raises(ValueError, match=said):
    command.run(mine.model, folder, tmp_path / "out.csv")
  assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("how", ["link", "absolute"])
def test_a_film_outside_the_tables_folder_is_not_read(how, mine, tmp_path):
  outside = tmp_path / "outside.png"
  outside.write_bytes(tables_folder.film(10))
  tables = tables_folder.rows()
  tables["images"][0] |= {
    "hour": 2.5,
    "path": "link.png" if how == "link" else outside,
  }
  folder = tables_folder.write(tmp_path / "tables", tables)
  (folder / "link.png").symlink_to(outside)
  with pytest.raises(ValueError, match="leads outside the folder"):
    command.run(mine.model, folder, tmp_path / "out.csv")


def test_the_command_ends_in_one_line(repository, tmp_path):
  done = subprocess.run(
    [sys.executable, "-m", "medpatch_jax.predict", f"--model={tmp_path}/m"]
    + [f"--tables={tmp_path}", "--out=x.csv"],
    cwd=repository,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr.count("\n") == 1 and "found nothing" in done.stderr
