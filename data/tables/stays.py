"""The table of stays: who is in the dataset, in which split, with what label.

Dims: S stays, C labels.
"""

import dataclasses

import numpy as np

from data import splits
from medpatch_jax.input.tables import stays as stays_lib
from medpatch_jax.input.tables.reader import real, text, whole
from medpatch_jax.input.tables.stays import GROUP, LABEL

# A group's word where none is given.
UNKNOWN = "unknown"


@dataclasses.dataclass
class Stays:
  """Stays in record order: by split, then by a hash of stay_id.

  Attributes:
    stay_id, subject_id: i64[S].
    split: i64[S], index into `splits.SPLITS`.
    end: f64[S], length of the series in hours.
    label: f32[S C], NaN where the outcome is not known.
    label_names: C names.
    groups: name -> list of S words, or f32[S].
    filters: (sentence, stays left) of each rule, in order.
    lost: patients of the stays that each rule leaves out.
    remarks: sentences for the report.
    facts: further counts for the report.
  """

  stay_id: np.ndarray
  subject_id: np.ndarray
  split: np.ndarray
  end: np.ndarray
  label: np.ndarray
  label_names: list
  groups: dict
  filters: list
  remarks: list
  facts: dict
  lost: list = dataclasses.field(default_factory=lambda: [0])

  def kinds_of_groups(self):
    """Group -> number or word."""
    return {
      n: "word" if isinstance(v, list) else "number"
      for n, v in self.groups.items()
    }


def load(read, table):
  """Reads and checks the table; leaves a DuckDB table `stays`.

  Its columns: row (in record order), stay_id, hours.

  Args:
    read: `reader.Reader`.
    table: `layout.Table`, or None.

  Returns:
    `Stays`, or None where problems make it unusable.
  """
  if not stays_lib.load(read, table):
    return None
  connection = read.connection
  found = _stays(connection, table)
  connection.register(
    "ordered",
    {
      "row": np.arange(len(found.stay_id)),
      "stay_id": found.stay_id,
      "hours": found.end,
    },
  )
  connection.execute(
    "INSERT INTO stays SELECT row, stay_id, hours FROM ordered"
  )
  connection.unregister("ordered")
  return found


def _stays(connection, table):
  """`Stays` of a table that passed every check."""
  labels = [c for c in table.header if c.startswith(LABEL)]
  groups = [c for c in table.header if c.startswith(GROUP)]
  split = text("split") if "split" in table.header else "NULL"
  names = [*labels, *groups]
  columns = ", ".join(
    [whole("stay_id"), whole("subject_id"), real("hours"), split]
    + [real(c) for c in labels]
    + [text(c) for c in groups]
  )
  rows = connection.execute(
    f"SELECT {columns} FROM raw ORDER BY row_no"
  ).fetchall()
  columns = list(zip(*rows))
  stay, subject = (np.array(c, np.int64) for c in columns[:2])
  where = (
    splits.by_hash(subject)
    if "split" not in table.header
    else np.array([splits.SPLITS.index(s) for s in columns[3]])
  )
  order = splits.order(stay, where)
  given = dict(zip(names, columns[4:]))
  label = np.array([given[c] for c in labels], np.float64).T
  return Stays(
    stay_id=stay[order],
    subject_id=subject[order],
    split=where[order],
    end=np.array(columns[2], np.float64)[order],
    label=label.astype(np.float32)[order],
    label_names=[c.removeprefix(LABEL) for c in labels],
    groups={
      c.removeprefix(GROUP): _group([given[c][i] for i in order])
      for c in groups
    },
    filters=[("of the table", len(stay))],
    remarks=[],
    facts={},
  )


def _group(values):
  """Words as a list, or f32[S] where every value is a number."""
  try:
    return np.array([np.nan if v is None else v for v in values], np.float32)
  except ValueError:
    return [UNKNOWN if v is None else v for v in values]
