"""The twin's truth.csv is what its raw files show, before and after building."""

import collections
import csv
import json
import shutil

import numpy as np
import pytest

from data import build
from data.synthetic import channels, films, model, places, sentences, twin
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


def world_of(raw):
  return worlds.World(**json.loads((raw / "world.json").read_text()))


@pytest.fixture(scope="module")
def reader(raw):
  return twin_reader.Twin(raw)


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


def test_truth_is_what_an_independent_reader_finds(reader, truth):
  found = {}
  for stay in reader.cohort():
    key = int(stay["stay_id"])
    shown, dying, clear, clear_then = reader.shown_ehr(stay)
    found[PHENOTYPES, "ehr", key] = shown, clear
    film, text = reader.film(stay), reader.reports(stay)
    if film is not None:
      found[PHENOTYPES, "cxr", key] = [part[:-1] for part in film[:2]]
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
      found[DEATH, "cxr", key] = [part[-1:] for part in film[:2]]
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


def test_places_are_where_an_independent_reader_finds_them(raw, reader, truth):
  """Hours, eighths of the film and sentences, of evidence and of noise."""
  kinds, counts = places.KINDS, collections.Counter()
  for task, hours in ((PHENOTYPES, None), (DEATH, 48)):
    found = places.read(raw / places.NAME, task)
    labels = schema.TASKS[task].labels
    first = 25 * (task == DEATH)
    for stay in reader.cohort():
      key = int(stay["stay_id"])
      if (task, "ehr", key) not in truth:
        continue
      at = {
        m: {(kinds[k], label, span) for k, label, span in of.get(key, ())}
        for m, of in found.items()
      }
      noise = {span[0] for k, _, span in at["ehr"] if k == "noise"}
      assert noise == reader.noise_hours(stay, hours)
      counts["hours"] += len(noise)
      bits = truth[task, "ehr", key]
      shown = collections.Counter(k for k, _, _ in at["ehr"])
      slots = [bits >> slot & 1 for slot in range(1 + (task == DEATH))]
      assert shown["evidence"] == sum(b.prod(axis=1).sum() for b in slots)
      assert shown["evidence"] + shown["calm"] == sum(
        b[:, 1].sum() for b in slots
      )
      values = reader.values(stay)
      for kind, label, (hour, end, *_) in at["ehr"]:
        assert end == hour + 1 and (kind == "noise" or hour not in noise)
        if task == PHENOTYPES and kind != "noise":
          channel = channels.PHENOTYPE_CHANNELS[label]
          level = values[channel.variable, hour]
          usual = channels.CALM[channels.ROW[channel.variable], 0]
          near = abs(level - channel.level) < abs(level - usual)
          assert near == (kind == "evidence"), channel
      film = reader.film(stay, hours)
      assert bool(at["cxr"]) == (film is not None)
      if film is not None:
        dark = {(s[2], s[0]) for k, _, s in at["cxr"] if k == "noise"}
        assert dark == film[2]
        counts["parts"] += len(dark)
        for kind, label, (left, right, top, bottom) in at["cxr"]:
          if kind != "noise":
            assert (kind == "evidence") == film[0][first + label]
            corner = [4 * x for x in films.region(first + label)]
            assert [top, left] == corner and (bottom, right) == (
              top + 4,
              left + 4,
            )
      texts = {"rr": reader.reports(stay, hours)}
      texts["dn"] = reader.course(stay) if task == PHENOTYPES else ""
      for m, text in texts.items():
        wanted = {
          (of if of == "noise" else of - first, begin, end)
          for of, begin, end in twin_reader.sentences_of(text)
          if of == "noise" or first <= of < first + len(labels)
        }
        assert wanted == {
          (k if k == "noise" else label, *span[:2]) for k, label, span in at[m]
        }
        counts[m] += sum(k == "noise" for k, _, _ in at[m])
  some = world_of(raw).noise > 0
  assert all((counts[k] > 100) == some for k in ("hours", "parts", "rr", "dn"))


def test_noise_is_elsewhere_too_and_looks_so(raw, reader):
  """The share of other hours, parts and sentences is the world's noise."""
  share = world_of(raw).noise
  found = places.read(raw / places.NAME, PHENOTYPES)
  noise, hours, templates, plain = 0, 0, 0, 0
  for stay in reader.cohort():
    bins = int(float(stay["los"]) * 24 + 1 - 1e-6)
    if 48 <= bins <= 49 or not reader.events(stay, 48):
      continue  # Without such hours.
    of = {s[0] for k, _, s in found["ehr"][int(stay["stay_id"])] if k == 0}
    free = set(range(bins - 2)) - ({46, 47} if bins >= 48 else set())
    noise, hours = noise + len(free & of), hours + len(free)
    carried, values = {}, reader.values(stay)
    for hour in range(bins - 2):  # What noise shows ends with it.
      for name, (low, high) in {"systolic": (90, 150), "ph": (7, 7.7)}.items():
        carried[name] = values.get((name, hour), carried.get(name, low))
        assert low <= carried[name] <= high or hour in of
    text = reader.course(stay)
    templates += text.count("quasi") / 4
    plain += sum(text.count(s) for s in sentences.COURSE_NOISE)
  assert noise / hours == pytest.approx(share, abs=0.02)
  assert templates / (templates + plain) == pytest.approx(share, abs=0.05)
  parts = {}
  for stay, rows in found["cxr"].items():
    for row, column in ((0, 0), (0, 4), (4, 0), (4, 4)):
      parts[stay, row, column] = sum(
        kind == 0 and s[2] - s[2] % 4 == row and s[0] - s[0] % 4 == column
        for kind, _, s in rows
      )
  # All of a quarter that is noise, and of any other the share of its sixteen.
  assert set(parts.values()) == ({16, round(16 * share)} if share else {0})


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
