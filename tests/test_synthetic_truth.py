"""The twin's truth.csv is what its raw files show, before and after building."""

import csv
import shutil

import numpy as np
import pytest

from data import build
from data.synthetic import model, twin
from medpatch_jax import schema
from tests import twin_reader

DEATH, PHENOTYPES = "in_hospital_mortality", "phenotyping"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  path = tmp_path_factory.mktemp("twin") / "raw"
  twin.write(path, subjects=160, seed=11, density=0.02)
  return path


@pytest.fixture(scope="module")
def truth(raw):
  """{(task, modality, stay_id): llr f64[C]} as the file says."""
  names = {task: schema.TASKS[task].labels for task in model.EVIDENCE}
  out = {}
  with open(raw / "truth.csv", newline="") as file:
    for row in csv.DictReader(file):
      key = row["task"], row["modality"], int(row["stay_id"])
      line = out.setdefault(key, np.full(len(names[row["task"]]), np.nan))
      line[names[row["task"]].index(row["label"])] = float(row["llr"])
  assert not any(np.isnan(v).any() for v in out.values())
  return out


def test_truth_is_what_an_independent_reader_finds(raw, truth):
  reader = twin_reader.Twin(raw)
  found = {}
  for stay in reader.cohort():
    key = int(stay["stay_id"])
    shown, dying = reader.shown_ehr(stay)
    found[PHENOTYPES, "ehr", key] = shown
    film, text = reader.film(stay), reader.reports(stay)
    if film is not None:
      found[PHENOTYPES, "cxr", key] = film[:-1]
    if text:
      found[PHENOTYPES, "rr", key] = twin_reader.shown_text(text)[:-1]
    if course := reader.course(stay):
      found[PHENOTYPES, "dn", key] = twin_reader.shown_text(course)[:-1]
    if float(stay["los"]) < 2 or not reader.events(stay, 48):
      continue
    found[DEATH, "ehr", key] = np.array([dying])
    film, text = reader.film(stay, 48), reader.reports(stay, 48)
    if film is not None:
      found[DEATH, "cxr", key] = film[-1:]
    if text:
      found[DEATH, "rr", key] = twin_reader.shown_text(text)[-1:]
  assert found.keys() == truth.keys()
  for key, count in found.items():
    llr = model.EVIDENCE[key[0]][key[1]].llr(count)
    np.testing.assert_allclose(truth[key], llr, atol=1e-6, err_msg=str(key[:2]))
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
          shown = twin_reader.shown_text(text)[part]
          llr = model.EVIDENCE[task][field].llr(shown)
          np.testing.assert_allclose(truth[task, field, stay], llr, atol=1e-6)
      if task == PHENOTYPES:  # septic fever, shock, and a low heart rate
        x, llr = record["ehr"], truth[task, "ehr", stay] > 0
        assert (x[-2, columns["Temperature"]] > 39.5) == llr[23]
        assert (x[-1, columns["Systolic blood pressure"]] < 80) == llr[24]
        assert (x[-1, columns["Heart rate"]] < 50) == llr[3]
  assert seen == sum(k[:2] == (task, "ehr") for k in truth)
