"""Which token of a run holds which planted place: an hour, a patch, token ids.

Dims: N stays, T tokens, C labels, W windows, L token ids of a window.
"""

import numpy as np

from data.synthetic import films, places
from experiments.training import models
from experiments.training.run import Run
from medpatch_jax.evaluate.planted import (
  CALM,
  EVIDENCE,
  MIXED,
  NOISE,
  OTHER,
)
from medpatch_jax.input import examples

# A place's kind, by its number in `places.KINDS` -> a token's.
_OF = {"noise": NOISE, "calm": CALM, "evidence": EVIDENCE}
TOKEN = np.array([_OF[kind] for kind in places.KINDS])


def kinds(run: Run, m: str, split: str, planted) -> np.ndarray:
  """The kind i8[N T C] of every token of the stays that have `m`.

  Args:
    run: of which the tokens are.
    m: modality.
    split: its name; rows in the order of `run.rows(split, m)`.
    planted: places of every modality, of `places.read`.

  Raises:
    ValueError: a stay that the twin does not know, or an encoder whose tokens
      are no hours, no whole parts of a radiograph and no token ids.
  """
  T, C = models.positions(run, m, split), len(run.labels)
  source = run.data.source(split, ("stay_id", m))
  rows, known = run.rows(split, m), set(planted["ehr"])
  out = np.full((len(rows), T, C), OTHER, np.int8)
  for i, row in enumerate(rows):
    record = source[int(row)]
    stay = int(record["stay_id"])
    if stay not in known:
      raise ValueError(
        "--truth: stays of the records are not in it; give the folder of the raw"
        " files that the records were built from."
      )
    of = planted[m].get(stay, [])
    out[i] = _of_kind(run, m)(run, of, record[m], T, C)
  return out


def _of_kind(run, m):
  kind = run.config.kinds[m]
  return {"series": _hours, "image": _patches, "text": _text}[kind]


def _hours(run, of, record, T, C):
  """A token is an hour, after a class token of a transformer."""
  first = run.config.ehr == "transformer"
  out = np.full((T, C), OTHER, np.int8)
  # Noise last: an hour that is noise shows no label.
  for kind, label, (begin, end, *_) in sorted(of, key=_noise_last):
    at = slice(begin + first, end + first)
    out[at, label if label >= 0 else slice(None)] = TOKEN[kind]
  return out


def _patches(run, of, record, T, C):
  """A token is a patch, counted along rows, after the class token."""
  side = run.config.sizes.image_size // run.config.sizes.cxr["patch"]
  if side % films.GRID:
    raise ValueError(
      f"radiographs of {side} patches a side: wanted a multiple of {films.GRID},"
      " or a patch lies in several parts of the image."
    )
  step = side // films.GRID
  grid = np.full((side, side, C), OTHER, np.int8)
  for kind, label, (left, right, top, bottom) in sorted(of, key=_noise_last):
    at = slice(top * step, bottom * step), slice(left * step, right * step)
    grid[(*at, label if label >= 0 else slice(None))] = TOKEN[kind]
  return np.concatenate(
    [np.full((1, C), OTHER, np.int8), grid.reshape(T - 1, C)]
  )


def _noise_last(place):
  return places.KINDS[place[0]] == "noise"


def _text(run, of, record, T, C):
  """A token is the mean over windows of what stands at one position.

  It is evidence if a token id of one window is, noise if those of all are, and
  mixed if some are.
  """
  spans = run.tokeniser.spans(
    examples.string(record), run.shapes.window, run.shapes.max_windows
  )
  begin, end = spans[..., 0], spans[..., 1]
  real = end > begin
  noise, hit = np.zeros(real.shape, bool), np.zeros((*real.shape, C), bool)
  for kind, label, (first, last, *_) in of:
    inside = real & (begin < last) & (end > first)
    if TOKEN[kind] == NOISE:
      noise |= inside
    else:
      hit[..., label] |= inside
  some, all_ = noise.any(0), real.any(0) & (noise | ~real).all(0)
  plain = np.where(all_, NOISE, np.where(some, MIXED, OTHER))
  return np.where(hit.any(0), EVIDENCE, plain[:, None]).astype(np.int8)
