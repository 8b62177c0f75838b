"""What a run predicted for each test stay, in one file.

Written beside results.json, so that two runs can be compared stay by stay
long after they ended. It holds no ids, dates or text, but it does hold the
labels of single stays: made from MIMIC it falls under MIMIC's agreement.

Dims: N stays, C labels.
"""

import dataclasses
import json
import pathlib

import numpy as np

from medpatch_jax import files

VERSION = 1
NAME = "predictions.npz"
ARRAYS = ("label", "subject", "row", "label_names", "heads", "logits")


@dataclasses.dataclass(frozen=True)
class Predictions:
  """One model on one split.

  Attributes:
    logits: head -> f32[N C], NaN in the rows of stays it does not predict.
    label: u8[N C] in {0, 1}.
    subject: i64[N], a number per patient within the split.
    row: i64[N], the stay's place among the split's records.
    label_names: C names.
    chosen: the head that is the model's number.
    task: name of the task.
    split: name of the split.
    fingerprint: split -> SHA-256 of its records.
    open: the data are openly licensed, see `disclosure`.
    whole: rows of the split, None if every one is predicted.
  """

  logits: dict[str, np.ndarray]
  label: np.ndarray
  subject: np.ndarray
  row: np.ndarray
  label_names: tuple[str, ...]
  chosen: str
  task: str
  split: str
  fingerprint: dict[str, str]
  open: bool = False
  whole: int | None = None

  def __post_init__(self):
    """Refuses arrays that do not fit each other."""
    N, C = np.shape(self.label)
    wanted = {
      "subject": (np.shape(self.subject), (N,)),
      "row": (np.shape(self.row), (N,)),
      "label_names": (np.shape(self.label_names), (C,)),
      **{
        f"logits of {head!r}": (np.shape(v), (N, C))
        for head, v in self.logits.items()
      },
    }
    for name, (got, want) in wanted.items():
      if got != want:
        raise ValueError(f"{name} is {got}; the labels {(N, C)} want {want}.")
    if self.chosen not in self.logits:
      raise ValueError(
        f"head {self.chosen!r} is not among {', '.join(self.logits)}."
      )

  def of(self, rows: np.ndarray) -> "Predictions":
    """Those of some of the stays, bool[N]."""
    return dataclasses.replace(
      self,
      logits={head: values[rows] for head, values in self.logits.items()},
      label=self.label[rows],
      subject=self.subject[rows],
      row=self.row[rows],
      whole=len(self.row) if self.whole is None else self.whole,
    )


def save(path, found: Predictions) -> None:
  """Writes a file that appears whole or not at all."""
  about = {
    "version": VERSION,
    "chosen": found.chosen,
    "task": found.task,
    "split": found.split,
    "fingerprint": found.fingerprint,
    "open": found.open,
    "whole": found.whole,
  }
  with files.whole(path) as part, open(part, "wb") as file:
    np.savez_compressed(
      file,
      about=json.dumps(about, sort_keys=True),
      label=np.asarray(found.label, np.uint8),
      subject=np.asarray(found.subject, np.int64),
      row=np.asarray(found.row, np.int64),
      label_names=np.array(found.label_names, str),
      heads=np.array(list(found.logits), str),
      logits=np.array(list(found.logits.values()), np.float32),
    )


def load(path) -> Predictions:
  """Reads what `save` wrote.

  Raises:
    ValueError: no such file, another version, damaged, or not such a file.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise ValueError(
      f"{path}: there is none; no run was scored there, or by a version that"
      f" kept no predictions. {_again(path)}"
    )
  try:
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
      about = json.loads(str(file["about"]))
      version = about.get("version")
      arrays = {} if version != VERSION else {k: file[k] for k in ARRAYS}
  except Exception as error:  # Whatever a broken zip makes it raise.
    raise ValueError(
      f"{path}: is damaged or holds no predictions"
      f" ({type(error).__name__}). {_again(path)}"
    ) from None
  if version != VERSION:
    raise ValueError(
      f"{path}: is of version {version}, this code reads {VERSION}."
      f" {_again(path)}"
    )
  return _checked(path, about, arrays)


def _again(path) -> str:
  scored = (path.parent / "results.txt").exists()
  return (
    "Delete its results.txt and run" if scored else "Run"
  ) + f" python -m experiments.evaluate --workdir={path.parent}."


def _checked(path, about, arrays) -> Predictions:
  """The file's content, once its kinds and shapes are as they must be."""
  kinds = dict(zip(ARRAYS, ("u", "i", "i", "U", "U", "f")))
  for name, array in arrays.items():
    if array.dtype.kind not in kinds[name]:
      raise ValueError(
        f"{path}: {name} is of type {array.dtype}. {_again(path)}"
      )
  try:
    return Predictions(
      logits=dict(zip(arrays["heads"].tolist(), arrays["logits"])),
      label=arrays["label"],
      subject=arrays["subject"],
      row=arrays["row"],
      label_names=tuple(arrays["label_names"].tolist()),
      **{k: about[k] for k in ("chosen", "task", "split", "fingerprint")},
      open=about.get("open") is True,
      whole=about.get("whole"),
    )
  except (ValueError, KeyError) as error:
    raise ValueError(f"{path}: {error} {_again(path)}") from None


def check_same(first: Predictions, second: Predictions, names) -> None:
  """Refuses two files that are not about the same stays and labels.

  Other records in the splits that are not scored do not matter: a run on
  fewer training stays may be compared.

  Args:
    first, second: of two runs.
    names: what to call them in the message.

  Raises:
    ValueError: says in what they differ.
  """
  a, b = names

  def refuse(why):
    raise ValueError(f"{a} and {b} cannot be compared: {why}")

  for field in ("task", "split"):
    if getattr(first, field) != getattr(second, field):
      refuse(
        f"{field} {getattr(first, field)} against {getattr(second, field)}."
      )
  if first.label_names != second.label_names:
    other = set(first.label_names) ^ set(second.label_names)
    refuse(
      f"{len(first.label_names)} labels against {len(second.label_names)},"
      f" {len(other)} of them not in both, or in another order."
    )
  digests = [p.fingerprint.get(p.split) for p in (first, second)]
  if digests[0] != digests[1]:
    refuse(
      f"the {first.split} split has other records (another build of the"
      " dataset); train and score both on one --data_dir."
    )
  if not np.array_equal(first.row, second.row):
    refuse(
      "they predict different stays of that split; train both with"
      " --modalities that every stay of either has one of."
    )
  for field in ("label", "subject"):
    if not np.array_equal(getattr(first, field), getattr(second, field)):
      refuse(f"the same stays have another {field}; one file is damaged.")
