"""Tables of people, diagnoses, films and notes, from what was drawn.

Dims: S subjects, A admissions, N stays, F films, R notes.
"""

import numpy as np
import pyarrow as pa

from data.synthetic import charts, codes, films, items, people, tables
from data.synthetic.charts import stamps
from medpatch_jax import schema

YEAR_GROUPS = {
  False: ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2017 - 2019"),
  True: ("2008 - 2010", "2011 - 2013", "2014 - 2016", "2020 - 2022"),
}
ADMISSION_TYPES = ("EW EMER.", "URGENT", "OBSERVATION ADMIT", "ELECTIVE")
FROM = ("EMERGENCY ROOM", "PHYSICIAN REFERRAL", "TRANSFER FROM HOSPITAL")
TO = ("HOME", "HOME HEALTH CARE", "SKILLED NURSING FACILITY", "REHAB", "")
INSURANCE = ("Medicare", "Medicaid", "Other")
MARITAL = ("MARRIED", "SINGLE", "WIDOWED", "DIVORCED", "")


def write(folder, rng, folk):
  """Appends patients, admissions, icustays and diagnoses of a chunk."""
  folder.write("patients", patients(folk, folder.layout))
  folder.write("admissions", admissions(rng, folk, folder.layout))
  folder.write("icustays", icustays(folk, folder.layout))
  folder.write("diagnoses_icd", diagnoses(rng, folk))


def patients(folk, layout):
  """Table of patients; v1.0 knows deaths in hospital only."""
  groups = np.array(YEAR_GROUPS[layout == "v3.1"])
  known = (folk.dod >= 0) & (folk.dod_in_hospital | (layout != "v1.0"))
  dod = folk.dod.astype("datetime64[s]").astype("datetime64[D]")
  return pa.table(
    {
      "subject_id": folk.subject_id,
      "gender": pa.array(folk.gender),
      "anchor_age": folk.anchor_age,
      "anchor_year": folk.anchor_year,
      "anchor_year_group": pa.array(groups[folk.year_group]),
      "dod": pa.array(dod, mask=~known),
    }
  )


def admissions(rng, folk, layout):
  """Table of admissions, with both `race` and `ethnicity`."""
  n = len(folk.hadm_id)
  emergency = rng.random(n) < 0.6
  to = np.where(folk.death, "DIED", _pick(rng, TO, n))
  race = folk.race[folk.of_subject]
  english = "English" if layout == "v3.1" else "ENGLISH"
  registered = folk.admit - rng.integers(60, 600, n) * 60
  left = folk.admit + rng.integers(10, 120, n) * 60
  return pa.table(
    {
      "subject_id": folk.subject_id[folk.of_subject],
      "hadm_id": folk.hadm_id,
      "admittime": stamps(folk.admit),
      "dischtime": stamps(folk.discharge),
      "deathtime": stamps(folk.death_time),
      "admission_type": pa.array(_pick(rng, ADMISSION_TYPES, n)),
      "admit_provider_id": charts.providers(rng, n),
      "admission_location": pa.array(_pick(rng, FROM, n)),
      "discharge_location": tables.strings(to.tolist()),
      "insurance": pa.array(_pick(rng, INSURANCE, n)),
      "language": pa.array(np.where(rng.random(n) < 0.9, english, "?")),
      "marital_status": tables.strings(_pick(rng, MARITAL, n).tolist()),
      "race": pa.array(np.array([r[1] for r in people.RACES])[race]),
      "ethnicity": pa.array(np.array([r[0] for r in people.RACES])[race]),
      "edregtime": stamps(np.where(emergency, registered, -1)),
      "edouttime": stamps(np.where(emergency, left, -1)),
      "hospital_expire_flag": folk.death.astype(np.int8),
    }
  )


def icustays(folk, layout):
  """Table of ICU stays; v3.1 leaves a few times of leaving empty."""
  units = np.array(people.UNITS)
  other = (folk.unit + 1) % len(units)
  last = np.where(folk.transfer, other, folk.unit)
  unknown = folk.no_outtime & (layout == "v3.1")
  return pa.table(
    {
      "subject_id": folk.subject_id[folk.of_subject_n],
      "hadm_id": folk.hadm_id[folk.of_admission],
      "stay_id": folk.stay_id,
      "first_careunit": pa.array(units[folk.unit]),
      "last_careunit": pa.array(units[last]),
      "intime": stamps(folk.intime),
      "outtime": stamps(np.where(unknown, -1, folk.outtime)),
      "los": pa.array(folk.hours / 24, mask=unknown),
    }
  )


def diagnoses(rng, folk):
  """Table of diagnoses: one or two codes of each positive phenotype.

  The number of other codes ignores the labels.
  """
  rows = []
  for i, (version, label) in enumerate(zip(folk.icd_version, folk.label)):
    found = []
    for c in np.flatnonzero(label):
      bank = codes.PHENOTYPE_CODES[schema.PHENOTYPES[c][0]][int(version)]
      size = min(len(bank), 1 + (rng.random() < 0.2))
      found += rng.choice(bank, size, replace=False).tolist()
    bank = codes.DISTRACTOR_CODES[int(version)]
    found += rng.choice(bank, rng.integers(1, 8), replace=False).tolist()
    rng.shuffle(found)
    rows += [(i, k + 1, code, version) for k, code in enumerate(found)]
  row, seq, code, version = zip(*rows)
  row = np.array(row)
  return pa.table(
    {
      "subject_id": folk.subject_id[folk.of_subject[row]],
      "hadm_id": folk.hadm_id[row],
      "seq_num": np.array(seq),
      "icd_code": pa.array(code),
      "icd_version": np.array(version),
    }
  )


def write_films(folder, rng, folk, film, size):
  """Appends the csvs of MIMIC-CXR-JPG and writes the films."""
  order = np.lexsort((film.time, film.subject))
  height, width = films.anatomy(size, False).shape
  meta, split, findings = [], [], {"chexpert": [], "negbio": []}
  for i in order:
    subject = int(folk.subject_id[film.subject[i]])
    view, procedure, meaning = films.VIEWS[film.view[i]]
    study = int(rng.integers(50_000_000, 60_000_000))
    words = rng.integers(0, 2**32, 5)
    dicom = "-".join(f"{word:08x}" for word in words)
    date, clock = study_time(int(film.time[i]))
    meta.append((
      dicom, subject, study, procedure, view, height, width, date, clock,
      procedure, meaning, "Erect",
    ))  # fmt: skip
    split.append((dicom, study, subject, _part(rng)))
    for name, rows in findings.items():
      values = rng.choice(
        ["", "1.0", "0.0", "-1.0"], 14, p=[0.7, 0.17, 0.1, 0.03]
      )
      if name == "chexpert":
        values = _findings(film.shown[i], values)
      if study % 97:  # CheXpert could not read every report.
        rows.append((subject, study, *values.tolist()))
    lateral = view in ("LATERAL", "LL")
    noise = film.dark[i], film.wild[i]
    pixels = films.render(rng, film.shown[i], lateral, size, *noise)
    folder.write_bytes(
      f"{tables.FILMS}/p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg",
      films.encode(pixels),
    )
  folder.write_quoted("metadata", meta)
  folder.write_quoted("split", split)
  for name, rows in findings.items():
    folder.write_quoted(name, rows)


def _findings(shown, values):
  """CheXpert's words of a film: positive where it shows the label's texture.

  Args:
    shown: bool[C], items of the film; the first 14 stand for the findings.
    values: str[14], words for what is not shown; "1.0" is none of them.
  """
  findings = shown[: len(values)].copy()
  none = schema.FINDINGS.index("No Finding")
  findings[none] = not np.delete(findings, none).any()
  return np.where(findings, "1.0", np.where(values == "1.0", "", values))


def study_time(ms):
  """StudyDate and StudyTime of `ms`; the time lost its leading zeros."""
  moment = np.datetime64(ms, "ms").item()
  clock = moment.hour * 10000 + moment.minute * 100 + moment.second
  return f"{moment:%Y%m%d}", f"{clock + moment.microsecond / 1e6:.3f}"


def write_notes(folder, folk, radiology, discharge):
  """Appends radiology and discharge; note_seq counts within a subject."""
  for name, notes in (("radiology", radiology), ("discharge", discharge)):
    rows, seq, before = [], 0, -1
    for i, text in enumerate(notes.text):
      seq = seq + 1 if notes.subject[i] == before else 2
      before = notes.subject[i]
      subject = folk.subject_id[before]
      kind = notes.kind[i]
      hadm = folk.hadm_id[notes.admission[i]] if notes.named[i] else ""
      at = str(np.datetime64(int(notes.time[i]), "s")).replace("T", " ")
      # A report is there from the minute that its evidence counts from.
      stored = int(notes.time[i]) + 5400 * (name == "discharge")
      stored = str(np.datetime64(stored, "s")).replace("T", " ")
      rows.append((
        f"{subject}-{kind}-{seq}", subject, hadm, kind, seq, at, stored, text
      ))  # fmt: skip
    folder.write_quoted(name, rows)


def write_dictionaries(folder):
  """Writes d_items and d_labitems."""
  folder.write_quoted("d_items", [
    (i.itemid, i.label, i.label, "chartevents", i.category, i.unit,
     "Text" if i.variable in items.SPELLINGS else "Numeric", "", "")
    for i in items.ITEMS if not i.lab
  ] + [
    (itemid, label, label, "chartevents", category, "",
     "Text" if isinstance(charted[0], str) else "Numeric", "", "")
    for itemid, label, category, charted in items.UNUSED
  ])  # fmt: skip
  folder.write_quoted("d_labitems", [
    (i.itemid, i.label, "Blood", i.category) for i in items.ITEMS if i.lab
  ] + [lab[:4] for lab in items.OTHER_LABS])  # fmt: skip


def _pick(rng, names, n):
  return np.array(names)[rng.integers(0, len(names), n)]


def _part(rng):
  draw = rng.random()
  return "train" if draw < 0.9 else "validate" if draw < 0.95 else "test"
