"""HANCOCK's public features of 763 head and neck cancer patients -> own tables.

Six modalities: five kinds of variables, and the eight stains of tissue as
embeddings of eight tokens (docs/own_data.md), or as a series of them.
"""

import csv
import dataclasses
import pathlib

import numpy as np

from data import splits
from medpatch_jax.input import places

# Modality -> its file; the stains have one each.
FILES = {
  "clinical": "clinical.csv",
  "pathological": "pathological.csv",
  "blood": "blood.csv",
  "icd": "icd_codes.csv",
  "density": "tma_cell_density.csv",
}
STAINS = ("HE", "CD3", "CD8", "CD56", "CD68", "CD163", "MHC1", "PDL1")
MODALITIES = (*FILES, "stains")
# What the stains become: embeddings, or a series of a variable for each number.
STAINED = ("embeddings", "series")
# What made the stains' numbers, as their files are called.
MODEL = "HANCOCK tma_tile_dtr_256"
# Columns whose numbers stand for words.
CLASSES = (
  *("smoking_status", "primary_tumor_site", "histologic_type"),
  *("resection_status", "pT_stage", "pN_stage"),
)
TASKS = {
  "death": ("survival_status", "deceased"),
  "recurrence": ("recurrence", "yes"),
}


@dataclasses.dataclass(frozen=True)
class Patients:
  """Dims: N patients, F columns, S stains, D width of an embedding.

  Attributes:
    ids: N words.
    values: modality -> f64[N F], NaN where nothing is known; stains f64[N S D].
    names: modality -> names of the columns; stains have D.
    label: f64[N] in {0, 1}, NaN where the outcome is kept apart.
  """

  ids: list[str]
  values: dict[str, np.ndarray]
  names: dict[str, list[str]]
  label: np.ndarray


def _rows(path) -> dict[str, dict[str, str]]:
  places.readable("hancock", path)
  with open(path, newline="", encoding="utf-8") as file:
    return {row.pop("patient_id"): row for row in csv.DictReader(file)}


def read(folder, task: str) -> Patients:
  """Reads the folder.

  Raises:
    ValueError: a file is not there.
  """
  folder = pathlib.Path(folder)
  found = {m: _rows(folder / name) for m, name in FILES.items()}
  ids = sorted(found["clinical"])
  names = {m: list(next(iter(rows.values()))) for m, rows in found.items()}
  values = {
    m: np.array(
      [[float(rows.get(i, {}).get(n) or "nan") for n in names[m]] for i in ids]
    )
    for m, rows in found.items()
  }
  stains = []
  for stain in STAINS:
    path = folder / f"tma_tile_dtr_256_{stain}.npz"
    places.readable("hancock", path)
    with np.load(path) as file:
      vectors = {i: file[i] for i in file}
    blank = np.full_like(next(iter(vectors.values())), np.nan)
    stains.append([vectors.get(i, blank) for i in ids])
  values["stains"] = np.array(stains, np.float64).swapaxes(0, 1)
  names["stains"] = [f"stain {d}" for d in range(values["stains"].shape[2])]
  column, word = TASKS[task]
  targets = _rows(folder / "targets.csv")
  label = [targets[i][column] == word if i in targets else np.nan for i in ids]
  return Patients(ids, values, names, np.array(label, np.float64))


def folds(patients: Patients, count: int, salt) -> np.ndarray:
  """Fold of each patient i64[N], as many cases in each; -1 without outcome."""
  place = [splits.fraction(i, salt) for i in patients.ids]
  fold = np.full(len(place), -1)
  for outcome in (0, 1):
    mine = np.flatnonzero(patients.label == outcome)
    mine = mine[np.argsort(np.array(place)[mine])]
    fold[mine] = np.arange(len(mine)) % count
  return fold


def held_out(patients: Patients, test, salt) -> np.ndarray:
  """Split of each patient, str[N]: about a fifth of the others is validation."""
  inner = folds(patients, 5, f"held out {salt}")
  split = np.where(inner == 0, "validation", "train")
  return np.where(test, "test", split)


def write(
  folder, patients: Patients, split, keep, stained="embeddings"
) -> None:
  """Writes own tables of the patients bool[N] that are kept.

  Args:
    folder: theirs; created.
    patients: of `read`.
    split: of each, str[N].
    keep: which are written, bool[N].
    stained: of `STAINED`.
  """
  import pyarrow as pa
  from pyarrow import parquet

  folder.mkdir(parents=True, exist_ok=True)
  number = np.array([int(i) for i in patients.ids])
  stays = {
    "stay_id": number[keep],
    "subject_id": number[keep],
    "hours": np.full(keep.sum(), len(STAINS)),
    "label_outcome": pa.array(patients.label[keep], from_pandas=True),
    "split": split[keep],
  }
  parquet.write_table(pa.table(stays), folder / "stays.parquet")
  # Another run of the same workdir may have left it.
  (folder / "embeddings.parquet").unlink(missing_ok=True)
  if stained == "embeddings":
    _write_stains(folder, patients.values["stains"], number, keep)
  parts, names, lines = [], [], []
  for m in MODALITIES if stained == "series" else FILES:
    x = patients.values[m]
    x = x if x.ndim == 3 else x[:, None]  # One token, or one for each stain.
    row, token, column = np.nonzero(~np.isnan(x) & keep[:, None, None])
    variable = len(names) + column
    parts.append((number[row], token + 0.5, variable, x[row, token, column]))
    for name, own in zip(patients.names[m], np.moveaxis(x, 2, 0)):
      words = np.unique(own[~np.isnan(own)]).astype(int).astype(str)
      lines.append([name, m, "|".join(words) if name in CLASSES else ""])
    names += patients.names[m]
  stay, hour, variable, value = map(np.concatenate, zip(*parts))
  events = {
    "stay_id": stay,
    "hour": hour,
    "variable": pa.DictionaryArray.from_arrays(
      variable.astype(np.int32), pa.array(names)
    ),
    "value": value,
  }
  parquet.write_table(pa.table(events), folder / "events.parquet")
  with open(folder / "variables.csv", "w", newline="") as file:
    csv.writer(file).writerows([("name", "kind", "categories"), *lines])


def _write_stains(folder, stains, number, keep):
  """embeddings.parquet: of each patient a token for each stain there is."""
  import pyarrow as pa
  from pyarrow import parquet

  row, token = np.nonzero(~np.isnan(stains).any(axis=2) & keep[:, None])
  vectors = stains[row, token].astype(np.float32)
  table = {
    "stay_id": number[row],
    "kind": ["stains"] * len(row),
    "hour": token + 0.5,
    "model": [MODEL] * len(row),
    "tokens": pa.FixedSizeListArray.from_arrays(
      vectors.ravel(), stains.shape[2]
    ).cast(pa.list_(pa.float32())),
  }
  parquet.write_table(pa.table(table), folder / "embeddings.parquet")
