"""Chest films of the twin: anatomy, noise, and one region per label.

A film is a smooth chest (body, lungs, slow random shading) with mild noise.
Each label owns one quarter of it and one texture: where its item is shown,
the quarter bears an opacity with that texture. Textures are waves, orthogonal
to each other and to the smooth chest, slow enough to survive shrinking to 64
pixels and JPEG. They differ between labels, and the grey of the chest is near
the middle of the range, because a class token that attends to all patches
alike, as an untrained one does, sees the mean of the patches: a few hundred
films are enough to learn from only if labels stand out in that mean.

Noise comes in parts, sixteen a quarter: a quarter that is noise is so in all of
them, and in any other one the same share of parts is. Such parts are darker and
show what ignores the label; a texture is whole in each of the parts left.

Dims: F films, C = 26 labels (phenotypes, then death), H W pixels, G = 8 parts
across and down.
"""

import dataclasses
import functools
import io

import numpy as np
from PIL import Image

from data.synthetic import model, people

ROWS, COLUMNS = 2, 2
PERIODS = 4, 4  # of the slowest wave in a region, down and across
ASPECT = 1.1  # width over height, the same for all films
AMPLITUDE = 30.0  # grey levels at the peak of a texture
SHADOW = 50.0  # grey levels that a part which is noise is darker by
GRID = 8  # G
IN_QUARTER = GRID // ROWS * (GRID // COLUMNS)
MOST_NOISE = 12  # parts of a quarter whose evidence can still be seen
NOISE = 1.5  # grey levels of pixel noise
NUM_LABELS = model.NUM_PHENOTYPES + 1
PHENO, DEATH = model.EVIDENCE

# Waves (across, down) in periods; each as cosine and as sine.
WAVES = (
  (0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0), (1, 2), (2, 1), (1, -2),
  (2, -1), (2, 2), (2, -2), (0, 3),
)  # fmt: skip


@functools.cache
def patterns(size):
  """Textures f32[C H W] of every label on a film of short side `size`."""
  height, width = size, int(round(size * ASPECT))
  y, x = np.mgrid[:height, :width] + 0.5
  y, x = y / height * ROWS, x / width * COLUMNS
  out = np.zeros((NUM_LABELS, height, width), np.float32)
  for label in range(NUM_LABELS):
    row, column = region(label)
    inside = (y // 1 == row) & (x // 1 == column)
    across, down = WAVES[label // 2]
    phase = across * PERIODS[1] * (x - column) + down * PERIODS[0] * (y - row)
    wave = (np.cos, np.sin)[label % 2](2 * np.pi * phase)
    out[label] = AMPLITUDE * np.where(inside, wave, 0.0)
  return out


@functools.cache
def parts(size):
  """Which part i64[H W], counted along rows, a pixel lies in."""
  height, width = size, int(round(size * ASPECT))
  y, x = (np.arange(n) * GRID // n for n in (height, width))
  return y[:, None] * GRID + x


def region(label):
  """(row, column) of a label's region."""
  return divmod(label % (ROWS * COLUMNS), COLUMNS)


@functools.cache
def anatomy(size, lateral):
  """A mean chest f32[H W] in grey levels; lungs are dark."""
  height, width = size, int(round(size * ASPECT))
  y, x = np.mgrid[:height, :width]
  y = (y + 0.5) / height - 0.5
  x = ((x + 0.5) / width - 0.5) * ASPECT
  lungs = [(0.0, 0.32)] if lateral else [(-0.24, 0.2), (0.24, 0.2)]
  out = np.full((height, width), 140.0)
  for centre, half in lungs:
    inside = ((x - centre) / half) ** 2 + ((y + 0.02) / 0.42) ** 2
    out -= 25 / (1 + np.exp(8 * (inside - 1)))
  return out.astype(np.float32)


@functools.cache
def _shades(size):
  """Slow waves f32[8 H W] whose random sums shade a film."""
  height, width = size, int(round(size * ASPECT))
  y, x = np.mgrid[:height, :width] / size
  waves = [
    np.cos(np.pi * (a * x + b * y) + c)
    for a, b, c in [
      (1, 0, 0),
      (0, 1, 0),
      (1, 1, 0),
      (1, -1, 1),
      (2, 0, 1),
      (0, 2, 1),
      (2, 1, 2),
      (1, 2, 2),
    ]  # fmt: skip
  ]
  return np.stack(waves).astype(np.float32)


def render(rng, shown, lateral, size, dark=None, wild=None):
  """A film u8[H W] showing the items bool[C] at short side `size`.

  Parts that are `dark` bool[G G] show the items `wild` bool[C] instead.
  """
  shade = 0.5 * rng.standard_normal(8).astype(np.float32)
  out = anatomy(size, lateral) + rng.normal(0, 0.5)
  out = out + np.tensordot(shade, _shades(size), 1)
  out = out + NOISE * rng.standard_normal(out.shape, np.float32)
  if dark is not None and dark.any():
    noise = dark.ravel()[parts(size)]
    textures = (patterns(size)[of].sum(0) for of in (wild, shown))
    out = out + np.where(noise, *textures) - SHADOW * noise
  elif shown.any():
    out = out + patterns(size)[shown].sum(0)
  return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def encode(film):
  """JPEG bytes of u8[H W] film."""
  out = io.BytesIO()
  Image.fromarray(film).save(out, "JPEG", quality=92)
  return out.getvalue()


@dataclasses.dataclass
class Films:
  """Studies of one chunk; a stay's last AP film of a window is its evidence.

  subject (row) i64[F], time ms since 1970 i64[F], view (row of VIEWS) i64[F],
  shown bool[F C], clear bool[F R]: regions without noise. `last` and `early` i64[N] give the film that a stay's
  phenotyping and mortality record uses, -1 for none.
  """

  subject: np.ndarray
  time: np.ndarray
  view: np.ndarray
  shown: np.ndarray
  dark: np.ndarray
  wild: np.ndarray
  last: np.ndarray
  early: np.ndarray


# View, procedure, and the words of the DICOM codes.
VIEWS = (
  ("AP", "CHEST (PORTABLE AP)", "antero-posterior"),
  ("PA", "CHEST (PA AND LAT)", "postero-anterior"),
  ("LATERAL", "CHEST (PA AND LAT)", "lateral"),
  ("LL", "CHEST (PA AND LAT)", "left lateral"),
  ("", "CHEST (PORTABLE AP)", ""),
)
MS = 1000
WINDOW = people.MORTALITY_HOURS * people.HOUR


def draw(rng, folk, presence, evidence):
  """Draws which films exist, when, and what they show, as Films.

  Adds the films that records use to `evidence`, a world.Evidence.
  """
  label = folk.label[folk.of_admission]
  death = folk.death[folk.of_admission]
  n = len(folk.stay_id)
  prior = np.append(model.PREVALENCE, model.DEATH_RATE)

  early_time, late_time = _times(rng, folk, presence)
  used = np.where(late_time >= 0, late_time, early_time)
  subject, time, view, shown = [], [], [], []

  def add(stay, at, which, items):
    subject.append(folk.of_subject_n[stay])
    time.append(at)
    view.append(which)
    shown.append(items)

  def decoys(count):
    return evidence.decoy(rng, PHENO, "cxr", prior, (count, NUM_LABELS))

  # The evidence: phenotypes in the stay's last film, death in the last one
  # of the first 48 hours; often the same film.
  index = np.full((2, n), -1)
  count = 0
  for i, at in enumerate((early_time, late_time)):
    stay = np.flatnonzero(at >= 0)
    items = decoys(len(stay))
    final = at[stay] == used[stay]
    drawn = evidence.draw(rng, PHENO, "cxr", label[stay], stay)[..., 0]
    items[final, :-1] = drawn[final]
    if i == 0:
      drawn = evidence.draw(rng, DEATH, "cxr", death[stay, None], stay)
      items[:, -1] = np.where(folk.long[stay], drawn[:, 0, 0], items[:, -1])
    add(stay, at[stay], np.zeros(len(stay), int), items)
    index[i, stay] = count + np.arange(len(stay))
    count += len(stay)

  for stay, at, which in _others(rng, folk, early_time, used):
    add(stay, at, which, decoys(len(stay)))
  shown = np.concatenate(shown)
  clear = evidence.clear((len(shown), ROWS * COLUMNS))
  of_label = clear[
    :, [r * COLUMNS + c for r, c in map(region, range(NUM_LABELS))]
  ]
  shown = evidence.spoil(
    PHENO, "cxr", prior, shown[..., None], of_label[..., None]
  )[..., 0]
  wild = evidence.wild(PHENO, "cxr", prior, len(shown))
  wild = np.where(of_label, wild, shown)
  last = np.where(late_time >= 0, index[1], index[0])
  early = np.where(folk.long, index[0], -1)
  for task, film, part in (
    (PHENO, last, slice(-1)),
    (DEATH, early, slice(-1, None)),
  ):
    evidence.add(
      task, "cxr", shown[film, part], of_label[film, part], film >= 0
    )
  return Films(
    np.concatenate(subject),
    np.concatenate(time),
    np.concatenate(view),
    shown,
    _dark(evidence, clear),
    wild,
    last,
    early,
  )


def _dark(evidence, clear):
  """Parts bool[F G G] that are noise, where quarters bool[F R] are clear."""
  dark = evidence.spoilt(clear.shape, IN_QUARTER, MOST_NOISE)
  dark = (dark | ~clear[..., None]).reshape(
    -1, ROWS, COLUMNS, GRID // ROWS, GRID // COLUMNS
  )
  return dark.transpose(0, 1, 3, 2, 4).reshape(-1, GRID, GRID)


def _times(rng, folk, presence):
  """Time ms of each stay's last AP film up to hour 48, and of one after.

  -1 for none. A few lie on the very edge of a window, or a minute after 48 h.
  """
  n = len(folk.stay_id)
  start, end = folk.intime * MS, folk.outtime * MS
  middle = np.minimum(end, start + WINDOW * MS)
  rate = np.where(folk.long, presence.cxr_early, presence.cxr_short)
  at = start + (rng.random(n) * (middle - start)).astype(np.int64)
  edge = rng.random(n)
  at = np.where(edge < 0.03, start, np.where(edge > 0.97, middle, at))
  early = np.where(rng.random(n) < rate, at, -1)
  room = end - middle - 60 * MS
  at = middle + 60 * MS + (rng.random(n) * np.maximum(room, 0)).astype(np.int64)
  edge = rng.random(n)
  at = np.where(edge < 0.05, middle + 60 * MS, np.where(edge > 0.97, end, at))
  exists = folk.long & (room >= 0) & (rng.random(n) < presence.cxr_late)
  return early, np.where(exists, at, -1)


def _others(rng, folk, early, used):
  """Films no record uses: (stay, time, view) of each kind.

  AP ones before the last, other views in the window, AP ones outside it (some
  by one minute), and outpatients' weeks before an admission.
  """
  n = len(folk.stay_id)
  start, end = folk.intime * MS, folk.outtime * MS

  def some(rate, where=True):
    return np.flatnonzero((rng.random(n) < rate) & where)

  # The film before the last of its window is neither window's last.
  stay = some(0.4, early > start + 60 * MS)
  at = start[stay] + (rng.random(len(stay)) * (early - start)[stay]).astype(int)
  yield stay, np.minimum(at, early[stay] - MS), np.zeros(len(stay), int)
  stay = some(0.12)
  at = start[stay] + (rng.random(len(stay)) * (end - start)[stay]).astype(int)
  yield stay, at, rng.integers(1, len(VIEWS), len(stay))
  stay = some(0.25, used >= 0)
  yield (
    stay,
    np.minimum(used[stay] + 1, end[stay]),
    rng.integers(1, 4, len(stay)),
  )
  for edge, sign in ((start, -1), (end, 1)):
    stay = some(0.1)
    minutes = np.where(
      rng.random(len(stay)) < 0.3, 1, rng.integers(1, 180, len(stay))
    )
    yield stay, edge[stay] + sign * minutes * 60 * MS, np.zeros(len(stay), int)
  stay = some(0.05)
  days = rng.integers(25, 50, len(stay))
  at = folk.admit[folk.of_admission[stay]] * MS - days * people.DAY * MS
  yield stay, at + 12345, rng.integers(0, 3, len(stay))
