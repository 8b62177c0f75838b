"""Subjects, admissions and ICU stays of the twin, with their labels.

Everything here but the labels is independent of the labels, except that an
in-hospital death ends a subject's history (no later admission).

Dims: S subjects, A admissions, N stays of one chunk. Times are int64 seconds
since 1970 in the shifted calendar; hours count from a stay's intime.
"""

import dataclasses

import numpy as np

from data.synthetic import model

MAX_ADMISSIONS = 3
MAX_STAYS = 2
HOUR = 3600
DAY = 86400
MORTALITY_HOURS = 48
MIN_HOURS = 6  # the evidence block of vitals.py fits into every stay

UNITS = (
  "Medical Intensive Care Unit (MICU)",
  "Surgical Intensive Care Unit (SICU)",
  "Medical/Surgical Intensive Care Unit (MICU/SICU)",
  "Cardiac Vascular Intensive Care Unit (CVICU)",
  "Coronary Care Unit (CCU)",
  "Trauma SICU (TSICU)",
  "Neuro Stepdown",
)
# Ethnic group by version: both names of a pair map to the same group.
# (v1.0, later versions, share)
RACES = (
  ("WHITE", "WHITE", 0.55),
  ("WHITE", "WHITE - OTHER EUROPEAN", 0.05),
  ("WHITE", "WHITE - RUSSIAN", 0.03),
  ("BLACK/AFRICAN AMERICAN", "BLACK/AFRICAN AMERICAN", 0.09),
  ("BLACK/AFRICAN AMERICAN", "BLACK/CAPE VERDEAN", 0.02),
  ("HISPANIC/LATINO", "HISPANIC/LATINO - PUERTO RICAN", 0.03),
  ("HISPANIC/LATINO", "HISPANIC OR LATINO", 0.01),
  ("ASIAN", "ASIAN", 0.02),
  ("ASIAN", "ASIAN - CHINESE", 0.01),
  ("AMERICAN INDIAN/ALASKA NATIVE", "AMERICAN INDIAN/ALASKA NATIVE", 0.01),
  ("OTHER", "OTHER", 0.04),
  ("OTHER", "PORTUGUESE", 0.01),
  ("UNKNOWN", "UNKNOWN", 0.09),
  ("UNABLE TO OBTAIN", "UNABLE TO OBTAIN", 0.04),
)
AGE_GROUPS = ((18, 20), (21, 40), (41, 60), (61, 80), (81, 91))
AGE_COUNTS = np.array([561, 6096, 17336, 25385, 9994])  # published cohort


@dataclasses.dataclass
class People:
  """One chunk. Suffix of a field tells its dimension.

  Subjects S: subject_id, gender "F" or "M", age_s (anchor_age), anchor_year,
  year_group, race (row of RACES), dod (seconds of the date or -1) and
  dod_in_hospital. Admissions A: of_subject (row), hadm_id, admit, discharge,
  death (bool), death_time (or -1), label bool[A 25], icd_version, index (0, 1
  or 2 within the subject). Stays N: of_admission, of_subject_n, stay_id,
  intime, outtime, transfer (bool), unit, eventless (no event at all),
  late_events (none in the first 48 h), no_outtime (v3.1 leaves it empty),
  cohort (passes rules 1 to 3 and has an event).
  """

  subject_id: np.ndarray
  gender: np.ndarray
  anchor_age: np.ndarray
  anchor_year: np.ndarray
  year_group: np.ndarray
  race: np.ndarray
  dod: np.ndarray
  dod_in_hospital: np.ndarray
  of_subject: np.ndarray
  hadm_id: np.ndarray
  admit: np.ndarray
  discharge: np.ndarray
  death: np.ndarray
  death_time: np.ndarray
  label: np.ndarray
  icd_version: np.ndarray
  of_admission: np.ndarray
  of_subject_n: np.ndarray
  stay_id: np.ndarray
  intime: np.ndarray
  outtime: np.ndarray
  transfer: np.ndarray
  unit: np.ndarray
  eventless: np.ndarray
  late_events: np.ndarray
  no_outtime: np.ndarray
  cohort: np.ndarray

  @property
  def hours(self):
    """Length of stay f64[N] in hours."""
    return (self.outtime - self.intime) / HOUR

  @property
  def long(self):
    """bool[N], at least 48 h: may be in the mortality cohort."""
    return self.outtime - self.intime >= MORTALITY_HOURS * HOUR


def year_of(seconds):
  """Calendar year int64[...] of int64[...] seconds."""
  return (
    seconds.astype("datetime64[s]").astype("datetime64[Y]").astype(int) + 1970
  )


def draw(rng, first, count, total):
  """Draws subjects `first` to `first + count` of `total`, as People."""
  rows = np.arange(first, first + count)
  subject_id = _ids(rng, 10_000_000, rows, total)
  race = rng.choice(len(RACES), count, p=_normalise([r[2] for r in RACES]))
  group = rng.choice(len(AGE_GROUPS), count, p=_normalise(AGE_COUNTS))
  low, high = np.array(AGE_GROUPS).T
  age = rng.integers(low[group], high[group] + 1)
  age = np.where(rng.random(count) < 0.02, rng.integers(12, 18, count), age)

  admissions = _admissions(rng, rows, total)
  of_subject = admissions["of_subject"]
  first_admit = np.full(count, np.iinfo(np.int64).max)
  np.minimum.at(first_admit, of_subject, admissions["admit"])
  anchor_year = year_of(first_admit) - rng.integers(0, 2, count)
  stays = _stays(rng, admissions, total)
  dod, in_hospital = _date_of_death(rng, count, admissions)
  out = People(
    subject_id=subject_id,
    gender=np.where(rng.random(count) < 0.443, "F", "M"),
    anchor_age=age,
    anchor_year=anchor_year,
    year_group=rng.integers(0, 4, count),
    race=race,
    dod=dod,
    dod_in_hospital=in_hospital,
    cohort=np.zeros(len(stays["stay_id"]), bool),
    **{k: v for k, v in admissions.items() if k != "key"},
    **stays,
  )
  out.cohort = _cohort(out)
  return out


def _normalise(weights):
  weights = np.asarray(weights, np.float64)
  return weights / weights.sum()


def _ids(rng, base, keys, slots):
  """Distinct ids int64[n]: key i of `slots` lies in the i-th equal step."""
  step = max(1, 9_990_000 // slots)
  return base + keys * step + rng.integers(0, step, len(keys))


def _admissions(rng, rows, total):
  """Admissions of each subject in time; a death ends the history.

  Times are laid out last, by `_stays`, since an admission is as long as its
  stays: here `admit` is set, `discharge` is not.
  """
  count = rng.choice([1, 2, 3], len(rows), p=[0.8, 0.15, 0.05])
  of_subject = np.repeat(np.arange(len(rows)), count)
  index = np.concatenate([np.arange(c) for c in count])
  death = rng.random(len(index)) < model.DEATH_RATE
  dead_before = np.zeros(len(index), bool)
  for i in range(1, len(index)):
    if index[i]:
      dead_before[i] = dead_before[i - 1] or death[i - 1]
  base = rng.integers(150, 225, len(rows)) * 365 * DAY  # years 2120 to 2194
  base = base + rng.integers(0, 365 * DAY, len(rows))
  gap = rng.integers(60 * DAY, 460 * DAY, len(index))
  admit = base[of_subject] + index * 500 * DAY + gap
  admit = admit // 60 * 60  # charted to the minute
  label = rng.random((len(index), model.NUM_PHENOTYPES)) < model.PREVALENCE
  version = np.where(rng.random(len(index)) < 0.45, 9, 10)
  key = rows[of_subject] * MAX_ADMISSIONS + index
  hadm_id = _ids(rng, 20_000_000, key, total * MAX_ADMISSIONS)
  keep = ~dead_before
  return {
    "of_subject": of_subject[keep],
    "hadm_id": hadm_id[keep],
    "admit": admit[keep],
    "discharge": np.zeros(keep.sum(), np.int64),
    "death": death[keep],
    "death_time": np.full(keep.sum(), -1),
    "label": label[keep],
    "icd_version": version[keep],
    "key": key[keep],
  }


def _lengths(rng, size):
  """Lengths of stay int64[size] in seconds.

  Log-normal with median 44 h, so that 44 % reach 48 h as published, within 6
  to 240 h. The last, partial hour has at least 15 minutes, so that evidence
  charted in it fits. One in a hundred is 48 h sharp, one a minute less.
  """
  hours = np.clip(44 * np.exp(0.65 * rng.standard_normal(size)), MIN_HOURS, 240)
  part = 0.25 + 0.7 * (hours % 1)
  seconds = ((hours // 1 + part) * HOUR).astype(np.int64)
  odd = rng.random(size)
  seconds = np.where(odd < 0.01, MORTALITY_HOURS * HOUR, seconds)
  return np.where(
    (odd >= 0.01) & (odd < 0.02), MORTALITY_HOURS * HOUR - 60, seconds
  )


def _stays(rng, admissions, total):
  """Stays in time; sets the admissions' discharge and time of death."""
  admit = admissions["admit"]
  count = rng.choice([0, 1, 2], len(admit), p=[0.04, 0.88, 0.08])
  of_admission = np.repeat(np.arange(len(admit)), count)
  second = np.concatenate([np.arange(c) for c in count]).astype(bool)
  n = len(second)
  length = _lengths(rng, n)
  # Seconds that are no whole minute, as in MIMIC.
  wait = rng.integers(4 * HOUR, 20 * HOUR, n)
  intime = admit[of_admission] + wait
  before = np.flatnonzero(second) - 1
  intime[second] = intime[before] + length[before] + wait[second] + 8 * HOUR
  outtime = intime + length

  end = admit + rng.integers(DAY, 4 * DAY, len(admit))
  np.maximum.at(end, of_admission, outtime)
  stay_on = rng.integers(4 * HOUR, 120 * HOUR, len(admit))
  # Those who die do so within half a day of leaving the unit.
  stay_on = np.where(admissions["death"], stay_on // 10, stay_on)
  discharge = (end + stay_on) // 60 * 60
  admissions["discharge"] = discharge
  admissions["death_time"] = np.where(admissions["death"], discharge, -1)

  unit = rng.integers(0, len(UNITS), n)
  rate = np.where(
    np.bincount(of_admission, minlength=len(admit)) > 1, 0.3, 0.05
  )
  transfer = rng.random(n) < rate[of_admission]
  odd = rng.random(n)
  late = (odd >= 0.012) & (odd < 0.03) & (length >= 60 * HOUR)
  key = admissions["key"][of_admission] * MAX_STAYS + second
  return {
    "of_admission": of_admission,
    "of_subject_n": admissions["of_subject"][of_admission],
    "stay_id": _ids(rng, 30_000_000, key, total * MAX_ADMISSIONS * MAX_STAYS),
    "intime": intime,
    "outtime": outtime,
    "transfer": transfer,
    "unit": unit,
    "eventless": odd < 0.012,
    "late_events": late,
    # Never a stay of the cohort, so that the layouts agree.
    "no_outtime": transfer & (rng.random(n) < 0.1),
  }


def _date_of_death(rng, count, admissions):
  """Date of death int64[S] (-1 if unknown) and whether it was in hospital.

  One death in two hundred is dated the day after discharge, so that a label
  derived from dates differs from the flag for a few stays. A tenth of the
  survivors have a state record within a year of their last discharge.
  """
  last = np.zeros(count, np.int64)
  np.maximum.at(last, admissions["of_subject"], admissions["discharge"])
  in_hospital = np.zeros(count, bool)
  in_hospital[admissions["of_subject"][admissions["death"]]] = True
  odd = rng.random(count)
  later = ~in_hospital & (odd < 0.1)
  day = last + np.where(in_hospital & (odd < 0.005), DAY, 0)
  day = day + np.where(later, rng.integers(5 * DAY, 365 * DAY, count), 0)
  dod = np.where(in_hospital | later, day // DAY * DAY, -1)
  return dod, in_hospital


def _cohort(people):
  """bool[N]: rules 1 to 3 of MIMIC.md section 2, and at least one event."""
  kept = ~people.transfer
  alone = np.bincount(people.of_admission[kept], minlength=len(people.hadm_id))[
    people.of_admission
  ]
  subject = people.of_subject_n
  admit_year = year_of(people.admit)[people.of_admission]
  age = people.anchor_age[subject] + admit_year - people.anchor_year[subject]
  return kept & (alone == 1) & (age >= 18) & ~people.eventless
