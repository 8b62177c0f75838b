"""Tasks that predict at every hour: exported, and predicted from raw stays."""

import csv
import types

import numpy as np
import pytest

import medpatch_jax
from experiments.training.run import Run
from medpatch_jax import schema
from medpatch_jax.predict import __main__ as command
from tests import exported, mimic_raw, tables_folder

ADMISSIONS = "mimiciv/hosp/admissions"
# The charted stay of subject 1 as a user would give it: hours since intime
# (the first of January, ten o'clock), our units, one source of each value.
EVENTS = [
  (-25, "Weight", 80),  # Too early.
  (-17, "Weight", 200 * 0.453592),
  (-1, "Height", 70 * 2.54),
  (-0.5, "Heart rate", 60),
  (0.5, "Systolic blood pressure", "120/80"),
  (0.5, "Diastolic blood pressure", "120/80"),
  (0.5, "Temperature", "98.6"),
  (0.5, "Fraction inspired oxygen", 50),
  (0.5, "Oxygen saturation", 0.97),
  (1, "Heart rate", 88),
  (1.5, "Temperature", 100.4),
  (2.5, "Glasgow coma scale eye opening", "To Speech"),
  (2.5, "Glasgow coma scale motor response", "Localizes Pain"),
  (2.5, "Glasgow coma scale verbal response", "No Response-ETT"),
  (2.75, "Glasgow coma scale eye opening", "4  spontaneously"),
  (3.5, "Respiratory rate", 20),
  (3.5, "Capillary refill rate", "Delayed"),
  (3 + 2 / 3, "Heart rate", 380),
  (3 + 5 / 6, "Heart rate", 500),
  (4 + 1 / 3, "Glucose", 140),
  (4.5, "Glucose", 150),
  (48, "Heart rate", 90),
  (48 + 1 / 60, "Heart rate", 99),
]
FILMS = [(0, 12), (48, 14), (48 + 1 / 60, 15)]  # Hour, study.
REPORTS = [
  (1, 'Heart "large",\nlungs, clear.'),
  (1, "Addendum."),
  (2, "Later report."),
  (48 + 1 / 60, "After 48 hours."),
]


def raw(root, hour):
  """What was known of subject 1 by an hour; later events stay in."""
  films = [study for at, study in FILMS if at <= hour]
  return {
    "hours": hour,
    "ehr": EVENTS,
    "cxr": mimic_raw.film(root, 1, films[-1]) if films else None,
    "rr": [(at, text) for at, text in REPORTS if at <= hour],
  }


@pytest.fixture(scope="module", params=["decompensation", "length_of_stay"])
def hourly(request, tmp_path_factory):
  """A task's records of the raw stays, a run on them, and its export."""
  task, root = request.param, tmp_path_factory.mktemp("hourly")
  tables = mimic_raw.rows()
  mimic_raw.cell(ADMISSIONS, 0, "deathtime", "2150-01-03 20:00:00")(tables)
  mimic_raw.write(root / "raw", tables)
  mimic_raw.build(root / "raw", root / "records", task)
  stages = exported.stages(
    root / "records", root / "run", "--hours_per_stay=0", task=task
  )
  folder = exported.write(root / "model", stages, exported.drawn(stages))
  model = medpatch_jax.load(folder)
  return types.SimpleNamespace(
    root=root, task=task, run=stages.run, folder=folder, model=model
  )


def rows_of(run: Run, subject):
  """(split, row, hour) of every hour of a subject."""
  for split in ("train", "validation", "test"):
    hours = run.data.hours(split)
    records = run.data.source(split, ("subject_id",))
    for row in run.rows(split):
      if int(records[int(row)]["subject_id"]) == subject:
        yield split, int(row), int(hours[row])


def test_a_raw_stay_at_an_hour_is_that_row_of_the_records(hourly):
  run, seen = hourly.run, []
  for split, row, hour in rows_of(run, 1):
    want = run._example(
      split, dict.fromkeys(hourly.model.modalities), row, None
    )
    got, _ = hourly.model.preparation.example(raw(hourly.root / "raw", hour))
    np.testing.assert_array_equal(got["present"], want["present"])
    for m, fields in want["inputs"].items():
      for name, value in fields.items():
        np.testing.assert_allclose(
          got["inputs"][m][name], value, rtol=1e-5, atol=1e-6, err_msg=f"{hour}"
        )
    assert len(got["inputs"]["ehr"]["x"]) == hour
    seen.append(hour)
  assert seen[0] == 5 and 49 in seen and len(seen) > 50


def test_probabilities_are_the_task_s(hourly):
  """Of buckets they sum to one; the later hour is another prediction."""
  root = hourly.root / "raw"
  early, late = hourly.model.predict_batch([raw(root, 6), raw(root, 50)])
  assert not np.allclose(early.probability, late.probability)
  logits = late.logits["combined"].astype(np.float64)
  if hourly.task == "length_of_stay":
    assert late.labels == schema.BUCKETS
    want = np.exp(logits) / np.exp(logits).sum()
  else:
    assert late.labels == ("Death within 24 hours",)
    want = 1 / (1 + np.exp(-logits))
  np.testing.assert_allclose(late.probability, want, rtol=1e-5)
  assert early.confidence["ehr"].shape == (6, len(early.labels))
  assert late.confidence["ehr"].shape == (50, len(late.labels))


def test_a_folder_of_stays_at_their_hours_is_predicted(
  hourly, tmp_path, monkeypatch
):
  """hours is the hour; notes and films of later are not read."""
  monkeypatch.setattr(medpatch_jax, "load", lambda _: hourly.model)
  root, hours = hourly.root / "raw", {7: 6, 8: 50}
  tables = {"stays": [], "events": [], "notes": [], "images": []}
  (tmp_path / "t").mkdir()
  for _, study in FILMS:
    name = f"{study}.jpg"
    (tmp_path / "t" / name).write_bytes(
      mimic_raw.film(root, 1, study).read_bytes()
    )
  for stay, hour in hours.items():
    tables["stays"].append({"stay_id": stay, "hours": hour})
    for at, name, value in EVENTS:
      event = {"stay_id": stay, "hour": at, "variable": name, "value": value}
      tables["events"].append(event)
    for at, text in REPORTS:
      note = {"stay_id": stay, "kind": "rr", "hour": at, "text": text}
      tables["notes"].append(note)
    for at, study in FILMS:
      film = {"stay_id": stay, "hour": at, "path": f"{study}.jpg"}
      tables["images"].append(film)
  folder = tables_folder.write(tmp_path / "t", tables, films=())
  out = tmp_path / "out.csv"
  assert command.run(hourly.folder, folder, out) == (2, 0)
  with open(out, newline="") as file:
    lines = list(csv.DictReader(file))
  for line, (stay, hour) in zip(lines, hours.items(), strict=True):
    assert line["stay_id"] == str(stay)
    # As two rows again: the program is compiled.
    want, _ = hourly.model.predict_batch([raw(root, hour), raw(root, 50)])
    names = want.labels if len(want.labels) > 1 else ("probability",)
    got = [float(line[n]) for n in names]
    np.testing.assert_allclose(got, want.probability, atol=2e-6)
