"""Batches read from records as the loop reads them, for `speeds`."""

import functools
import pathlib

import numpy as np

from experiments.bench import read
from medpatch_jax import presets, schema
from medpatch_jax.input import channels, dataset, examples, tokenise, words
from medpatch_jax.input.loader import Loader

BASE = presets.PRESETS["base"]
STAYS = 64  # Records, which are read again and again.
LABELS = 25


def records(folder) -> dataset.Dataset:
  """Stays of 48 hours with a film and notes, written where there are none."""
  folder = pathlib.Path(folder)
  if not dataset.built(folder, read.TASK):
    read.write(folder, STAYS)
  return dataset.Dataset(folder, read.TASK)


def loader(data, m: str, batch_size: int, batches: int, learn: bool) -> Loader:
  """So many batches of one modality at the published size.

  Args:
    data: of `records`.
    m: modality.
    batch_size: stays.
    batches: of an epoch.
    learn: films are augmented, as in training.
  """
  kind = schema.KINDS[m]
  source = data.source("train", (m,))
  shapes = BASE.shapes({"ehr": len(data.mean)})
  series = channels.Channels(
    tuple(data.metadata["columns"]), data.mean, data.std
  )
  tokeniser = None
  if kind == "text":
    text = examples.string(source[0][m])
    # As if enough patients had that note, or it would be read by letters.
    notes = ((patient, text) for patient in range(words.PATIENTS))
    tokeniser = tokenise.Tokeniser.train(notes, BASE.vocab_size)

  def fetch(row, rng):
    stored = source[row % STAYS][m]
    if kind == "series":
      fields = series(stored)
    elif kind == "text":
      fields = examples.text(stored, tokeniser, shapes)
    else:
      fields = examples.image(stored, shapes.image_size)
    if rng is not None:
      fields = examples.augment(fields, rng)
    return {
      "inputs": {m: fields},
      "present": np.ones(1, bool),
      "label": np.zeros(LABELS, np.float32),
    }

  return Loader(
    rows=np.arange(batches * batch_size),
    batch_size=batch_size,
    fetch=fetch,
    collate=functools.partial(
      examples.collate,
      kinds={m: kind},
      labels=LABELS,
      shapes=shapes,
      names=(m,),
    ),
    augment=learn and kind == "image" and BASE.augment,
  )
