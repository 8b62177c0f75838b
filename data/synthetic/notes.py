"""Radiology reports and discharge notes of the twin.

A stay's evidence sentences stand in its first report, those of phenotyping
also in the discharge note, among sentences that carry none; at most the first
300 words hold evidence, so that a cap on the number of windows never cuts it.

Dims: N stays, A admissions, R notes, C = 26 labels (death last).
"""

import dataclasses
import random

import numpy as np

from data.synthetic import model, people, sentences

MINUTE = 60
NUM_LABELS = model.NUM_PHENOTYPES + 1
PHENO, DEATH = model.EVIDENCE
PRIOR = np.append(model.PREVALENCE, model.DEATH_RATE)
LONG_SHARE = 0.03  # of notes have over 510 pieces


def sections(rng, noise, frames, shown, template=()):
  """The two sections of a note: sentences in random order, then a summary.

  Args:
    rng: random.Random.
    noise: sentences of this note without evidence.
    frames: sentence frames with two places.
    shown: labels (ints) to show.
    template: labels whose sentences come from a template, whatever the label.

  Returns:
    (sentences list of str, summary lines list of str).
  """
  body, summary = list(noise), []
  for label in (*shown, *template):
    before = sentences.IN_PLACE if label in template else ""
    words = sentences.words_of(rng, label, before)
    body.append(rng.choice(frames).format(*words))
    summary.append(sentences.SUMMARY_FRAME.format(*words))
  rng.shuffle(body)
  rng.shuffle(summary)
  return body, summary


def _pad(rng, text, bank):
  """Sentences after `text` until it has well over 510 words."""
  words = len(text.split())
  more = []
  while words < 560:
    more.append(rng.choice(bank))
    words += len(more[-1].split())
  return text + "\n" + "\n".join(more) + "\n"


def report(rng, shown, template=()):
  """Text of one radiology report that shows the labels `shown` (ints).

  Sentences of the labels `template` (ints) are of a template.
  """
  bank = sentences.REPORT_NOISE
  noise = rng.sample(bank, rng.randint(2, 4))
  body, summary = sections(rng, noise, sentences.REPORT_FRAMES, shown, template)
  text = (
    "EXAMINATION:  CHEST (PORTABLE AP)\n \nINDICATION:  ___ year old in the "
    f"ICU // interval change\n \nFINDINGS: \n \n{' '.join(body)}\n \n"
    "IMPRESSION: \n \n" + "\n".join(summary or ["No change."]) + "\n"
  )
  return _pad(rng, text, bank) if rng.random() < LONG_SHARE else text


def follow_up(rng):
  """Text of a later report without any evidence."""
  noise = " ".join(rng.sample(sentences.REPORT_NOISE, 2))
  return f"FINDINGS: \n \n{noise}\n \nIMPRESSION: \n \nNo change.\n"


def discharge(rng, shown, template=()):
  """Text of one discharge note that shows the labels `shown` (ints).

  Sentences of the labels `template` (ints) are of a template.
  """
  bank = sentences.COURSE_NOISE
  noise = rng.sample(bank, rng.randint(4, 7))
  body, summary = sections(rng, noise, sentences.COURSE_FRAMES, shown, template)
  text = (
    " \nName:  ___                     Unit No:   ___\n \n"
    "Admission Date:  ___              Discharge Date:   ___\n \n"
    "Service: MEDICINE\n \nBrief Hospital Course:\n"
    f"{' '.join(body)}\n \nDischarge Diagnoses:\n"
    + "\n".join(summary)
    + "\n \nDischarge Disposition:\nHome\n \nFollowup Instructions:\n___\n"
  )
  return _pad(rng, text, bank) if rng.random() < LONG_SHARE else text


@dataclasses.dataclass
class Notes:
  """Notes of one chunk, sorted by subject, time and sequence.

  subject (row) i64[R], admission (row) i64[R], time and stored s i64[R], kind
  "RR", "AR", "DS" or "AD", named (radiology: hadm_id is given) bool[R], text.
  """

  subject: np.ndarray
  admission: np.ndarray
  time: np.ndarray
  kind: np.ndarray
  named: np.ndarray
  text: list


def draw(rng, folk, presence, evidence):
  """Draws all notes of one chunk, and adds them to `evidence`.

  Returns:
    (radiology Notes, discharge Notes).
  """
  words = random.Random(int(rng.integers(2**62)))
  found = (
    _radiology(rng, words, folk, presence, evidence),
    _discharges(rng, words, folk, presence, evidence),
  )
  if share := evidence.world.noise:
    words = random.Random(evidence.seed())
    weights = evidence.items[PHENO].rate("rr", PRIOR).tolist()
    for notes in found:
      notes.text = [
        sentences.spoil(words, text, share, weights) for text in notes.text
      ]
  return found


def _first_times(rng, folk, presence):
  """Time s i64[N] of each stay's first report, -1 for none.

  In stays of at least 48 h it lies before hour 48 or, in some, only after.
  Times are whole minutes inside the window.
  """
  n = len(folk.stay_id)
  begin = -(-folk.intime // MINUTE) * MINUTE
  middle = np.minimum(folk.outtime, folk.intime + people.MORTALITY_HOURS * 3600)
  minutes = (middle - begin) // MINUTE
  edge = rng.random(n)
  part = np.where(edge < 0.02, 0, np.where(edge > 0.98, 1, rng.random(n) ** 2))
  early = begin + (part * minutes).astype(np.int64) * MINUTE
  begin = (middle // MINUTE + 1) * MINUTE
  minutes = (folk.outtime - begin) // MINUTE
  late = begin + (rng.random(n) * np.maximum(minutes, 0)).astype(int) * MINUTE
  rate = np.where(folk.long, presence.rr_early, presence.rr_short)
  is_early = rng.random(n) < rate
  is_late = folk.long & (minutes > 0) & (rng.random(n) < presence.rr_late)
  return np.where(is_early, early, np.where(is_late, late, -1)), is_early


def _radiology(rng, words, folk, presence, evidence):
  """Radiology Notes."""
  n = len(folk.stay_id)
  at, is_early = _first_times(rng, folk, presence)
  label = folk.label[folk.of_admission]
  death = folk.death[folk.of_admission]
  shown = evidence.draw(rng, PHENO, "rr", label)
  in_48h = is_early & folk.long
  decoy = evidence.decoy(rng, DEATH, "rr", model.DEATH_RATE, (n, 1))
  drawn = evidence.draw(rng, DEATH, "rr", death[:, None])[..., 0]
  dying = np.where(in_48h[:, None], drawn, decoy)
  decoys = evidence.decoy(rng, PHENO, "rr", PRIOR, (2 * n, NUM_LABELS))
  shown = np.concatenate([shown[..., 0], dying], axis=1)
  clear = evidence.clear(shown.shape)
  evidence.add(PHENO, "rr", shown[:, :-1], clear[:, :-1], at >= 0)
  evidence.add(DEATH, "rr", shown[:, -1:], clear[:, -1:], in_48h)

  rows = []  # stay, time, order at one time, kind, text
  for i in np.flatnonzero(at >= 0):
    text = report(words, *_parts(shown[i], clear[i]))
    rows.append((i, at[i], 0, "RR", text))
    if rng.random() < 0.05:
      text = words.choice(sentences.ADDENDUM)
      rows.append((i, at[i], 1, "AR", text))
  for i in np.repeat(np.arange(n), rng.poisson(0.5, n) * (at >= 0)):
    room = (folk.outtime[i] - at[i]) // MINUTE
    if room > 1:
      later = at[i] + (1 + int(rng.integers(room))) * MINUTE
      if later <= folk.outtime[i]:
        rows.append((i, later, 0, "RR", follow_up(words)))
  for i in np.flatnonzero((at < 0) & (rng.random(n) < 0.1)):
    middle = (folk.intime[i] + folk.outtime[i]) // 2 // MINUTE * MINUTE
    rows.append((i, middle, 0, "RR", ""))  # a note of no length is no note
  rows += _outside(rng, words, folk, decoys)

  stay = np.array([r[0] for r in rows], np.int64)
  admission = folk.of_admission[stay]
  return _sorted(
    folk.of_subject[admission], admission, rows, rng.random(len(rows)) < 0.7
  )


def _parts(shown, clear):
  """Labels i64[...] with a sentence, and those with one of a template."""
  return np.flatnonzero(shown & clear), np.flatnonzero(~clear)


def _outside(rng, words, folk, decoys):
  """Reports before and after a stay, some by one minute, with decoys."""
  n = len(folk.stay_id)
  begin = -(-folk.intime // MINUTE) * MINUTE
  end = folk.outtime // MINUTE * MINUTE
  for side, (edge, sign) in enumerate(((begin, -1), (end, 1))):
    for i in np.flatnonzero(rng.random(n) < 0.12):
      minutes = 1 if rng.random() < 0.3 else int(rng.integers(1, 180))
      items = np.flatnonzero(decoys[side * n + i])
      yield i, edge[i] + sign * minutes * MINUTE, 0, "RR", report(words, items)


def _discharges(rng, words, folk, presence, evidence):
  """Discharge Notes.

  Rarely an admission has two; the later one counts, with its addendum.
  """
  n = len(folk.hadm_id)
  # The note hangs together with the admission's one stay that is a record.
  stay = np.full(n, -1)
  stay[folk.of_admission[folk.cohort]] = np.flatnonzero(folk.cohort)
  shown = evidence.draw(rng, PHENO, "dn", folk.label, stay)[..., 0]
  decoys = evidence.decoy(rng, PHENO, "dn", model.PREVALENCE, shown.shape)
  has = rng.random(n) < presence.dn
  clear = evidence.clear(shown.shape)
  of = folk.of_admission
  evidence.add(PHENO, "dn", shown[of], clear[of], has[of])
  rows = []
  for i in range(n):
    time = folk.discharge[i] // people.DAY * people.DAY  # dated, not timed
    if not has[i]:
      if rng.random() < 0.2:
        rows.append((i, time, 0, "DS", ""))
      continue
    if rng.random() < 0.02:
      text = discharge(words, np.flatnonzero(decoys[i]))
      rows.append((i, time, 0, "DS", text))
    text = discharge(words, *_parts(shown[i], clear[i]))
    rows.append((i, time, 1, "DS", text))
    if rng.random() < 0.02:
      rows.append((i, time, 2, "AD", words.choice(sentences.ADDENDUM)))
  admission = np.array([r[0] for r in rows], np.int64)
  named = np.ones(len(rows), bool)
  return _sorted(folk.of_subject[admission], admission, rows, named)


def _sorted(subject, admission, rows, named):
  """Notes of `rows` in order of subject, time and rank."""
  time = np.array([r[1] for r in rows], np.int64)
  rank = np.array([r[2] for r in rows], np.int64)
  order = np.lexsort((rank, time, subject))
  return Notes(
    subject[order],
    admission[order],
    time[order],
    np.array([r[3] for r in rows], dtype=object)[order],
    named[order],
    [rows[i][4] for i in order],
  )
