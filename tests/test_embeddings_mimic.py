"""--embeddings=KIND=FOLDER: what of MIMIC's windows they are seen in."""

import json

import numpy as np
import pytest

from data import errors
from tests import mimic_raw
from tests.test_mimic import read

MODEL = "org/encoder-1"
# Name of a file -> its array: radiographs of two subjects, one of them taken
# too late for mortality; reports; a stay.
FILES = {
  "dicom_id": {"d14": 14, "d15": 15, "d61": 61, "d13": 13},
  "note_id": {"1-RR-2": 2, "1-RR-4": 4, "1-RR-5": 5, "6-RR-1": 6},
  "stay_id": {"1010": 10},
}


def write(folder, key, model=MODEL, width=4):
  folder.mkdir()
  about = {"model": model, "key": key}
  (folder / "embeddings.json").write_text(json.dumps(about))
  for name, value in FILES[key].items():
    array = np.full((2, width), value, np.float16)
    np.save(folder / f"{name}.npy", array)
  return folder


def build(root, out, **folders):
  given = ",".join(f"{kind}={folder}" for kind, folder in folders.items())
  return mimic_raw.build(
    root, out, task="in_hospital_mortality", embeddings=given
  )


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  return mimic_raw.write(tmp_path_factory.mktemp("raw"))


def test_they_are_seen_when_what_they_were_made_of_is(raw, tmp_path):
  folders = {
    kind: write(tmp_path / kind, key)
    for kind, key in (
      ("film", "dicom_id"), ("report", "note_id"), ("wave", "stay_id"),
    )
  }  # fmt: skip
  path = build(raw, tmp_path / "out", **folders)
  stays, metadata = read(path)
  one = stays[1]
  # The film that is shown, at its hour; no later report than the window.
  np.testing.assert_array_equal(one["film"], np.full((2, 4), 14, np.float16))
  assert one["film"].dtype == np.float16
  assert one["film_hours"] == one["cxr_hour"]
  np.testing.assert_array_equal(one["report"][:, 0], [2, 2, 4, 4])
  np.testing.assert_array_equal(one["report_hours"], [1, 2])
  assert one["wave"].shape == (2, 4) and one["wave_hours"] == [0]
  assert one["present"].tolist() == [True, True, True, False, True, True, True]
  assert stays[6]["present"].tolist()[4:] == [True, True, False]
  assert stays[6]["wave"].shape == (0, 4)
  assert metadata["modalities"][4:] == ["film", "report", "wave"]
  assert metadata["inputs"] == ["ehr", "cxr", "rr", "film", "report", "wave"]
  assert metadata["embeddings"]["report"] == {
    "model": MODEL, "width": 4, "dtype": "float16", "tokens": 4,
  }  # fmt: skip
  # What is not given changes nothing.
  bare, _ = read(mimic_raw.build(raw, tmp_path / "b", "in_hospital_mortality"))
  np.testing.assert_array_equal(bare[1]["ehr"], one["ehr"])
  assert bare[1]["rr"] == one["rr"] and len(bare[1]["present"]) == 4


def _width(folder):
  np.save(folder / "d61.npy", np.zeros((1, 5)))


def _nan(folder):
  np.save(folder / "d14.npy", np.full((1, 4), np.nan))


def _stranger(folder):
  np.save(folder / "d99.npy", np.zeros((1, 4)))


def _other(folder):
  (folder / "d61.npy").unlink()
  np.savez(folder / "d61.npz", tokens=np.zeros((1, 4)), model="org/other")


def _key(folder):
  about = {"model": MODEL, "key": "study"}
  (folder / "embeddings.json").write_text(json.dumps(about))


def _unnamed(folder):
  (folder / "embeddings.json").unlink()


def _none(folder):
  for path in folder.glob("*.npy"):
    path.unlink()


@pytest.mark.parametrize(
  "harm, wanted",
  [
    (_width, "file 4 in order of name is 5 wide where others are 4"),
    (_nan, "file 2 in order of name holds a NaN"),
    (_stranger, "1 files, the first of them file 5 .* name no dicom_id"),
    (_other, "file 4 .* is of another model than embeddings.json says"),
    (_key, "embeddings.json: key is one of dicom_id, note_id, stay_id"),
    (_unnamed, "embeddings.json.*wanted .*model"),
    (_none, "holds no .npy or .npz file"),
  ],
)
def test_bad_folders_are_refused(raw, harm, wanted, tmp_path):
  folder = write(tmp_path / "film", "dicom_id")
  harm(folder)
  with pytest.raises((errors.InputError, ValueError), match=wanted) as error:
    build(raw, tmp_path / "out", film=folder)
  assert "\n" not in str(error.value) and "d61" not in str(error.value)


def test_names_and_tasks_that_cannot_be_are_refused(raw, tmp_path):
  folder = write(tmp_path / "film", "note_id")
  for words, wanted in (
    (f"rr={folder}", "--embeddings=rr=.*no modality's"),
    (f"Film={folder}", "wanted KIND=FOLDER"),
    (f"film={tmp_path / 'nowhere'}", "is no folder"),
    ("film", "wanted KIND=FOLDER"),
  ):
    with pytest.raises(errors.InputError, match=wanted):
      mimic_raw.build(raw, tmp_path / "out", embeddings=words)
  given = {"film": folder}
  for task, wanted in (
    ("decompensation", "tasks that predict once a stay"),
    ("radiology", "is by note_id, and the task reads none"),
  ):
    with pytest.raises(errors.InputError, match=wanted):
      mimic_raw.build(
        raw, tmp_path / "out", task, embeddings=f"film={given['film']}"
      )
