"""Reads a twin's raw files the slow way and finds what evidence they show.

Independent of data/mimic and of the writer: csv rows, dictionaries and loops,
by the rules of MIMIC.md sections 2 to 4.
"""

import csv
import datetime
import gzip
import io
import pathlib
import re

import numpy as np
from PIL import Image

from data.synthetic import channels, films, sentences

# Variable -> (items in tie order, valid range, scale of an item).
VARIABLES = {
  "diastolic": ((220051, 225310, 220180, 224643, 227242), (0, 375)),
  "fio2": ((223835,), (0.2, 1.1)),
  "gcs_eye": ((220739,), (1, 4)),
  "gcs_motor": ((223901,), (1, 6)),
  "gcs_verbal": ((223900,), (1, 5)),
  "glucose": ((225664, 220621, 226537, 50931, 50809), (0, 2200)),
  "heart_rate": ((220045,), (0, 390)),
  "mean_pressure": ((220052, 225312, 224322, 220181), (0, 375)),
  "saturation": ((220277, 220227, 50817), (0, 150)),
  "respiratory_rate": ((220210, 224690), (0, 330)),
  "systolic": ((220050, 225309, 220179, 224167, 227243), (0, 375)),
  "temperature": ((223762, 223761), (14.2, 47)),
  "weight": ((226512, 224639, 226531), (0, 250)),
  "ph": ((223830, 220274, 50820), (6.3, 10)),
  "capillary_refill": ((223951, 224308), (0, 1)),
}
RANK = {
  item: (name, rank)
  for name, (items, _) in VARIABLES.items()
  for rank, item in enumerate(items)
}


def rows(root, folder, name):
  """Rows of a table as dicts, .csv or .csv.gz."""
  path = pathlib.Path(root) / folder / f"{name}.csv"
  if path.exists():
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))
  raw = gzip.decompress(pathlib.Path(f"{path}.gz").read_bytes())
  return list(csv.DictReader(io.StringIO(raw.decode("utf-8"))))


def when(text):
  return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")


def value_of(row, name):
  """A row's number in the variable's unit, None if it is missing."""
  text, number = row["value"], row["valuenum"]
  if name == "capillary_refill":
    return 0.0 if "Normal" in text or text == "Brisk" else 1.0
  if "/" in text:
    number = text.split("/")[name == "diastolic"]
  if number == "":
    return None
  value, item = float(number), int(row["itemid"])
  if name == "fio2" and value > 1:
    value /= 100
  if name == "saturation" and value <= 1:
    value *= 100
  if name == "temperature" and (item == 223761 or value >= 79):
    value = (value - 32) / 1.8
  if item == 226531:
    value *= 0.453592
  low, high = VARIABLES[name][1]
  return value if low <= value <= high else None


class Twin:
  """The raw files of one twin, indexed."""

  def __init__(self, root, hosp="mimiciv/hosp", core="mimiciv/hosp"):
    self.root = root
    self.stays = rows(root, "mimiciv/icu", "icustays")
    self.admissions = {r["hadm_id"]: r for r in rows(root, core, "admissions")}
    self.patients = {r["subject_id"]: r for r in rows(root, core, "patients")}
    self.chart = rows(root, "mimiciv/icu", "chartevents")
    self.labs = rows(root, hosp, "labevents")
    self.films = rows(root, "mimic-cxr-jpg", "mimic-cxr-2.0.0-metadata")
    self.radiology = rows(root, "mimic-iv-note/note", "radiology")
    self.discharge = rows(root, "mimic-iv-note/note", "discharge")
    self._by_subject, self._events = {}, {}
    for table in ("chart", "labs", "films", "radiology"):
      found = {}
      for row in getattr(self, table):
        found.setdefault(row["subject_id"], []).append(row)
      self._by_subject[table] = found

  def of(self, table, subject):
    return self._by_subject[table].get(subject, [])

  def cohort(self):
    """Stays by rules 1 to 3 that have an event inside."""
    kept = [s for s in self.stays if s["first_careunit"] == s["last_careunit"]]
    count = {}
    for s in kept:
      count[s["hadm_id"]] = count.get(s["hadm_id"], 0) + 1
    out = []
    for s in kept:
      patient = self.patients[s["subject_id"]]
      year = int(self.admissions[s["hadm_id"]]["admittime"][:4])
      age = int(patient["anchor_age"]) + year - int(patient["anchor_year"])
      if count[s["hadm_id"]] == 1 and age >= 18 and self.events(s):
        out.append(s)
    return out

  def events(self, stay, hours=None):
    """(variable, rank, hours from intime, value) inside the window."""
    key = stay["stay_id"], hours
    if key not in self._events:
      self._events[key] = self._read(stay, hours)
    return self._events[key]

  def _read(self, stay, hours):
    begin, end = when(stay["intime"]), when(stay["outtime"])
    if hours is not None:
      end = min(end, begin + datetime.timedelta(hours=hours))
    out = []
    for table in ("chart", "labs"):
      for row in self.of(table, stay["subject_id"]):
        found = RANK.get(int(row["itemid"]))
        if found is None or not begin <= when(row["charttime"]) <= end:
          continue
        value = value_of(row, found[0])
        at = (when(row["charttime"]) - begin).total_seconds() / 3600
        if value is not None:
          out.append((*found, at, value))
    return out

  def shown_ehr(self, stay):
    """Items bool[25] of the phenotypes and bool[2] of death, and which of
    their hours are no noise: bool[25], bool[2]."""
    hours = when(stay["outtime"]) - when(stay["intime"])
    bins = int(hours.total_seconds() / 3600 + 1 - 1e-6)
    last = self.values(stay)
    calm = dict(zip(channels.VARIABLES, channels.CALM[:, 0]))

    def near(name, index, level):
      found = last[name, index]
      return abs(found - level) < abs(found - calm[name])

    def clear(name, index):
      if (name, index) not in last:
        return True
      return not near(name, index, channels.MARKS[name])

    hour = [
      bins - (2 if c.slot == "early" else 1)
      for c in channels.PHENOTYPE_CHANNELS
    ]
    shown = [
      near(c.variable, at, c.level)
      for c, at in zip(channels.PHENOTYPE_CHANNELS, hour)
    ]
    fine = [clear("ph", at) for at in hour]
    dying, calm_then = [False, False], [True, True]
    if hours.total_seconds() >= 48 * 3600 and self.events(stay, 48):
      both = [
        {near(n, i, level) for n, level in channels.DEATH_LEVELS.items()}
        for i in (46, 47)
      ]
      assert all(len(b) == 1 for b in both)  # the two variables agree
      dying = [b.pop() for b in both]
      calm_then = [clear("heart_rate", i) for i in (46, 47)]
    return tuple(map(np.array, (shown, dying, fine, calm_then)))

  def values(self, stay, hours=None):
    """{(variable, hour): the value that counts}."""
    out = {}
    for name, _, at, value in sorted(
      self.events(stay, hours), key=lambda row: (row[2], -row[1], row[3])
    ):
      out[name, int(at - 1e-6)] = value
    return out

  def noise_hours(self, stay, hours=None):
    """Hours whose last pH or heart rate is a disconnected monitor's."""
    return {
      hour
      for (name, hour), value in self.values(stay, hours).items()
      if (name == "ph" and value > 7.7)
      or (name == "heart_rate" and value > 220)
    }

  def film(self, stay, hours=None):
    """`shown_film` of the window's last AP film, None without one."""
    begin, end = when(stay["intime"]), when(stay["outtime"])
    if hours is not None:
      end = min(end, begin + datetime.timedelta(hours=hours))
    best = None
    for row in self.of("films", stay["subject_id"]):
      clock, part = row["StudyTime"].split(".")
      at = when(
        f"{row['StudyDate'][:4]}-{row['StudyDate'][4:6]}-{row['StudyDate'][6:]}"
        f" {clock.zfill(6)[:2]}:{clock.zfill(6)[2:4]}:{clock.zfill(6)[4:]}"
      ) + datetime.timedelta(milliseconds=int(part))
      if row["ViewPosition"] == "AP" and begin <= at <= end:
        best = max(best or (at, row), (at, row), key=lambda p: p[0])
    return None if best is None else self.shown_film(best[1])

  def shown_film(self, row):
    """Items bool[26] that a film shows, by projection on the textures, bool[26]
    whether their quarter is no darker than it should be, and the dark eighths
    {(row, column)}."""
    subject = f"p{row['subject_id']}"
    path = pathlib.Path(self.root) / "mimic-cxr-jpg/files" / subject[:3]
    path = path / subject / f"s{row['study_id']}" / f"{row['dicom_id']}.jpg"
    pixels = np.asarray(Image.open(path), np.float32)
    size = min(pixels.shape)
    chest, dark = films.anatomy(size, False), set()
    seen = np.ones(pixels.shape, bool)
    edges = [[-(-n * i // 8) for i in range(9)] for n in pixels.shape]
    for i in range(8):
      for j in range(8):
        at = slice(*edges[0][i : i + 2]), slice(*edges[1][j : j + 2])
        if (pixels[at] - chest[at]).mean() < -films.SHADOW / 2:
          dark.add((i, j))
          seen[at] = False
    textures = films.patterns(size) * seen
    power = np.einsum("chw,chw->c", textures, textures)
    part = np.einsum("chw,hw->c", textures, pixels - chest)
    part = part / np.maximum(power, 1)
    assert np.all((part < 0.3) | (part > 0.7)), "neither shown nor not"
    clear = np.array([
      any((4 * row + i % 4, 4 * column + i // 4) not in dark for i in range(16))
      for row, column in map(films.region, range(26))
    ])  # fmt: skip
    return part > 0.5, clear, dark

  def reports(self, stay, hours=None):
    """Joined reports of the window, "" without one."""
    begin, end = when(stay["intime"]), when(stay["outtime"])
    if hours is not None:
      end = min(end, begin + datetime.timedelta(hours=hours))
    found = [
      (when(r["charttime"]), int(r["note_seq"]), r["text"])
      for r in self.of("radiology", stay["subject_id"])
      if begin <= when(r["charttime"]) <= end and r["text"].strip()
    ]
    return "\n\n".join(text.strip() for _, _, text in sorted(found))

  def course(self, stay):
    """The admission's last discharge note, "" without one."""
    found = [
      (int(r["note_seq"]), r["text"])
      for r in self.discharge
      if r["hadm_id"] == stay["hadm_id"] and r["note_type"] == "DS"
    ]
    return max(found)[1].strip() if found else ""


def shown_text(text):
  """Items bool[26] that a text shows, and bool[26]: none of a template."""
  has, template = (
    [
      bool(re.search(rf"\b{before}{words[0]}\b", text))
      for words in sentences.WORDS
    ]
    for before in ("", "pseudo")
  )
  return np.array(has), np.invert(template)


def sentences_of(text):
  """(label's number, or "noise"; begin, end) of each that has one's words."""
  found = set()
  for number, words in enumerate(sentences.WORDS):
    for hit in re.finditer(rf"\b(pseudo|quasi)?{words[0]}\b", text):
      begin = max(text.rfind(mark, 0, hit.start()) for mark in ".\n") + 1
      begin += text[begin] == " "
      end = text.index(".", hit.end()) + 1
      found.add(("noise" if hit[1] else number, begin, end))
  return found
