"""The twin's truth.csv is what its raw files show, before and after building."""

import csv
import shutil

import numpy as np
import pytest

from data import build
from data.synthetic import model, twin
from data.synthetic import world as worlds
from medpatch_jax import schema
from tests import twin_reader

DEATH, PHENOTYPES = "in_hospital_mortality", "phenotyping"


@pytest.fixture(scope="module", params=["independent", "mixed"])
def raw(request, tmp_path_factory):
  path = tmp_path_factory.mktemp("twin") / "raw"
  world = worlds.WORLDS[request.param]
  twin.write(path, subjects=160, seed=11, density=0.02, world=world)
  return path


@pytest.fixture(scope="module")
def truth(raw):
  """{(task, modality, stay_id): (shown, clear) i64[C 2]} as the file says."""
  names = {task: schema.TASKS[task].labels for task in model.EVIDENCE}
  out = {}
  with open(raw / "truth.csv", newline="") as file:
    for row in csv.DictReader(file):
      key = row["task"], row["modality"], int(row["stay_id"])
      line = out.setdefault(key, np.full((len(names[row["task"]]), 2), -1))
      at = names[row["task"]].index(row["label"])
      line[at] = int(row["shown"]), int(row["clear"])
  assert not any((v < 0).any() for v in out.values())
  return out


def test_truth_is_what_an_independent_reader_finds(raw, truth):
  reader = twin_reader.Twin(raw)
  found = {}
  for stay in reader.cohort():
    key = int(stay["stay_id"])
    shown, dying, clear, clear_then = reader.shown_ehr(stay)
    found[PHENOTYPES, "ehr", key] = shown, clear
    film, text = reader.film(stay), reader.reports(stay)
    if film is not None:
      found[PHENOTYPES, "cxr", key] = [part[:-1] for part in film]
    if text:
      both = twin_reader.shown_text(text)
      found[PHENOTYPES, "rr", key] = [part[:-1] for part in both]
    if course := reader.course(stay):
      both = twin_reader.shown_text(course)
      found[PHENOTYPES, "dn", key] = [part[:-1] for part in both]
    if float(stay["los"]) < 2 or not reader.events(stay, 48):
      continue
    found[DEATH, "ehr", key] = [[part @ [1, 2]] for part in (dying, clear_then)]
    film, text = reader.film(stay, 48), reader.reports(stay, 48)
    if film is not None:
      found[DEATH, "cxr", key] = [part[-1:] for part in film]
    if text:
      both = twin_reader.shown_text(text)
      found[DEATH, "rr", key] = [part[-1:] for part in both]
  assert found.keys() == truth.keys()
  for key, (shown, clear) in found.items():
    np.testing.assert_array_equal(truth[key][:, 1], clear, err_msg=str(key[:2]))
    np.testing.assert_array_equal(
      truth[key][:, 0] & clear, np.int64(shown) & clear, err_msg=str(key[:2])
    )
  # Enough of each for the comparison to mean something.
  for task in model.EVIDENCE:
    for modality in schema.TASKS[task].modalities:
      assert sum(k[:2] == (task, modality) for k in found) >= 10


def test_truth_survives_building_and_is_not_read(raw, truth, tmp_path):
  copy = tmp_path / "raw"
  shutil.copytree(raw, copy, ignore=shutil.ignore_patterns("truth.csv"))
  for task in model.EVIDENCE:
    build.build(
      task=task,
      data_dir=tmp_path / "out",
      source="mimic",
      mimic_iv=copy / "mimiciv",
      mimic_cxr=copy / "mimic-cxr-jpg",
      mimic_note=copy / "mimic-iv-note",
      quiet=True,
    )
    _check_records(tmp_path / "out", task, truth)


def _check_records(data_dir, task, truth):
  """Presence, texts and the channels of the series are those of the truth."""
  from medpatch_jax.input.dataset import Dataset

  data = Dataset(data_dir, task)
  columns = {name: i for i, name in enumerate(data.metadata["columns"])}
  seen = 0
  for split in ("train", "validation", "test"):
    fields = ("stay_id", "present", "ehr", "rr", "dn")
    source = data.source(split, fields)
    for record in (source[i] for i in range(len(source))):
      seen += 1
      stay = int(record["stay_id"])
      has = [(task, m, stay) in truth for m in schema.MODALITIES]
      np.testing.assert_array_equal(record["present"], has)
      for field in ("rr", "dn"):
        if (task, field, stay) in truth:
          text = record[field].decode()
          part = slice(-1, None) if task == DEATH else slice(0, 25)
          shown, clear = (x[part] for x in twin_reader.shown_text(text))
          of = truth[task, field, stay]
          np.testing.assert_array_equal(of[:, 1], clear)
          np.testing.assert_array_equal(of[:, 0] & clear, shown & clear)
      if task == PHENOTYPES:  # septic fever, shock, and a low heart rate
        x, shown = record["ehr"], truth[task, "ehr", stay][:, 0] > 0
        assert (x[-2, columns["Temperature"]] > 39.5) == shown[23]
        assert (x[-1, columns["Systolic blood pressure"]] < 80) == shown[24]
        assert (x[-1, columns["Heart rate"]] < 50) == shown[3]
  assert seen == sum(k[:2] == (task, "ehr") for k in truth)
