"""Embeddings of MIMIC's radiographs, notes or stays: --embeddings=KIND=FOLDER.

A folder holds embeddings.json, {"model": name of what made them, "key":
"dicom_id", "note_id" or "stay_id"}, and an array KEY.npy or KEY.npz for each.
They are seen in the windows of what they were made of: the radiograph that a
stay's record holds, the reports that are shown in it, with their hours.
"""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import re

import numpy as np

from data.errors import InputError, nearest
from medpatch_jax import files, schema
from medpatch_jax.input import embeddings
from medpatch_jax.input.tables import rows
from medpatch_jax.input.tables.embeddings import Kind

ABOUT = "embeddings.json"
# Key -> (views of the store that it is looked up in, the flag they come from).
KEYS = {
  "dicom_id": (("films",), "mimic_cxr"),
  "note_id": (("radiology", "discharge"), "mimic_note"),
  "stay_id": ((), None),
}
SUFFIXES = (".npy", ".npz")


@dataclasses.dataclass(frozen=True)
class Folder:
  """A folder of embeddings.

  Attributes:
    kind: name of the modality.
    root: the folder.
    model: name of the model that made them.
    key: of `KEYS`, what its files are named after.
  """

  kind: str
  root: pathlib.Path
  model: str
  key: str

  @property
  def view(self) -> str:
    """Name of its table in the store."""
    return f"embedded_{self.kind}"


def parse(words) -> list[Folder]:
  """Reads the flag, KIND=FOLDER by commas.

  Raises:
    InputError: a kind is no name, or a folder does not say what it is.
  """
  found = []
  for word in words.split(",") if words else ():
    kind, _, root = word.partition("=")
    taken = (*rows.RESERVED, *schema.MODALITIES, *(f.kind for f in found))
    if (
      not re.fullmatch(rows.KIND, kind)
      or kind in taken
      or kind.endswith(rows.SUFFIXES)
      or not root
    ):
      raise InputError(
        f"--embeddings={word}: wanted KIND=FOLDER, KIND a lower-case word that is"
        " no modality's, as ecg=DIR."
      )
    found.append(_folder(kind, pathlib.Path(root)))
  return found


def _folder(kind, root):
  if not root.is_dir():
    raise InputError(f"--embeddings={kind}={root}: is no folder.")
  about = files.read_json(
    root / ABOUT,
    {"model": str, "key": str},
    'wanted {"model": name of the model that made them, "key": "dicom_id",'
    ' "note_id" or "stay_id"}.',
  )
  if about["key"] not in KEYS or not about["model"].strip():
    raise InputError(
      f"{root / ABOUT}: key is one of {', '.join(KEYS)}, and model the name of"
      f" what made the embeddings.{nearest(about['key'], KEYS)}"
    )
  return Folder(kind, root, about["model"].strip(), about["key"])


def place(store, folder, names) -> Kind:
  """Joins a folder's files with the stays -> the view `folder.view`.

  Its columns: row, hour, path; every array has been read.

  Args:
    store: `store.Store`, with the views `names`.
    folder: `Folder`.
    names: views that there are.

  Raises:
    InputError: the key's table is not there, a key names nothing of MIMIC, or
      an array is not as the others.
  """
  here = f"--embeddings={folder.kind}={folder.root}"
  views, flag = KEYS[folder.key]
  views = [view for view in views if view in names]
  if flag and not views:
    raise InputError(
      f"{here}: is by {folder.key}, and the task reads none; give --{flag}, or"
      " another task."
    )
  paths = sorted(p for p in folder.root.iterdir() if p.suffix in SUFFIXES)
  if not paths:
    raise InputError(f"{here}: holds no .npy or .npz file.")
  given = {
    "key": np.array([p.stem for p in paths], object),
    "path": np.array([p.name for p in paths], object),
    "n": np.arange(1, len(paths) + 1),
  }
  store.connection.register("given", given)
  store.execute("CREATE OR REPLACE TEMP TABLE keys AS SELECT * FROM given")
  store.connection.unregister("given")
  _strangers(store, folder, here)
  store.derive(
    folder.view,
    f"SELECT row, hour, path FROM ({_join(folder, views)}) ORDER BY row, hour,"
    " path",
  )
  found = store.execute(
    f"SELECT row, path FROM {folder.view} ORDER BY row, hour, path"
  ).fetchall()
  if not found:
    raise InputError(f"{here}: none of its files is of a stay of the cohort.")
  return _checked(folder, here, found, [p.name for p in paths])


def _join(folder, views):
  """SQL of row, hour and path of the files that are of a stay."""
  if folder.key == "stay_id":
    return (
      "SELECT s.row, 0.0 AS hour, k.path FROM keys k JOIN stays s ON k.key ="
      " CAST(s.stay_id AS VARCHAR)"
    )
  if folder.key == "dicom_id":
    return (
      "SELECT f.row, f.hour, k.path FROM keys k JOIN films f ON k.key ="
      " f.dicom_id"
    )
  return " UNION ALL ".join(
    f"SELECT n.row, n.hour, k.path FROM {view} n JOIN stays s ON n.row = s.row"
    " JOIN keys k ON k.key = s.subject_id || '-' || n.kind || '-' || n.seq WHERE"
    " n.text IS NOT NULL"
    for view in views
  )


def _strangers(store, folder, here):
  """Refuses files whose key names nothing of MIMIC."""
  known = {
    "stay_id": "SELECT CAST(stay_id AS VARCHAR) FROM icustays",
    "dicom_id": "SELECT dicom_id FROM all_films",
    "note_id": "SELECT CAST(subject_id AS VARCHAR) FROM patients",
  }[folder.key]
  key = "split_part(key, '-', 1)" if folder.key == "note_id" else "key"
  first, count = store.one(
    f"SELECT min(n), count(*) FROM keys WHERE {key} NOT IN (SELECT * FROM"
    f" ({known}) WHERE #1 IS NOT NULL)"
  )
  if count:
    raise InputError(
      f"{here}: {count:,} files, the first of them file {first} in order of name,"
      f" name no {folder.key} of MIMIC; is the key of {ABOUT} right?"
    )


def _checked(folder, here, found, names):
  """`Kind` of the arrays; refuses one that is not as the others."""
  own, tokens = Kind(folder.model), collections.Counter()

  def opened(item):
    try:
      array, model = embeddings.read(folder.root / item[1])
    except embeddings.Unreadable as error:
      return str(error), None
    if model not in (None, folder.model):
      return f"is of another model than {ABOUT} says", None
    return array.shape, array.dtype.name

  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for (row, path), (shape, dtype) in zip(found, pool.map(opened, found)):
      place = f"{here}: file {names.index(path) + 1} in order of name"
      if dtype is None:
        raise InputError(f"{place} {shape}.")
      own.width = own.width or shape[1]
      if shape[1] != own.width:
        raise InputError(
          f"{place} is {shape[1]} wide where others are {own.width}."
        )
      if dtype != "float16":
        own.dtype = "float32"
      tokens[row] += shape[0]
  own.tokens = max(tokens.values())
  return own


def of_rows(store, folder, start, stop):
  """Row -> (list of arrays f[T D], hours) of the stays [start, stop).

  Raises:
    InputError: a file changed since it was checked.
  """
  grouped = {}
  for row, hour, path in store.execute(
    f"SELECT row, hour, path FROM {folder.view} WHERE row >= {start} AND row <"
    f" {stop} ORDER BY row, hour, path"
  ).fetchall():
    try:
      array, _ = embeddings.read(folder.root / path)
    except embeddings.Unreadable:
      raise InputError(
        f"--embeddings={folder.kind}={folder.root}: a file can no longer be read;"
        " give the same command again."
      ) from None
    arrays, hours = grouped.setdefault(row, ([], []))
    arrays.append(array)
    hours.append(float("nan") if hour is None else hour)
  return grouped


def quoted(folders):
  """The flag's value as part of what a build depends on."""
  return [(f.kind, str(f.root), f.model, f.key) for f in folders]
