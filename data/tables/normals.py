"""Normal values of variables that were given without one."""

import dataclasses

import numpy as np

from data.splits import SPLITS
from medpatch_jax.input.tables import rows as rows_lib


def normals(connection, variables, split, usual):
  """Fills in normal values that were not given.

  With the mean of the train split's values, or their commonest category, the
  first of several. What train never measured gets its usual value, else the
  middle of its range, or its first category.

  Args:
    connection: with the tables events and stays.
    variables: of `variables`.
    split: i64[S], index into SPLITS, in record order.
    usual: name -> value of a healthy person, as far as the source knows.

  Returns:
    Tuple of `Variable`.
  """
  last = int((split == SPLITS.index("train")).sum())
  # In one thread: sums of several would differ in their last digits.
  threads = connection.execute("SELECT current_setting('threads')").fetchone()[
    0
  ]
  connection.execute("SET threads=1")
  rows = f"FROM events WHERE {rows_lib.USED} AND row < {last}"
  means = dict(
    connection.execute(
      f"SELECT variable, avg(value) {rows} GROUP BY variable"
    ).fetchall()
  )
  common = connection.execute(
    f"SELECT variable, value, count(*) AS n {rows} GROUP BY variable, value"
    " ORDER BY n, value DESC"
  ).fetchall()
  connection.execute(f"SET threads={threads}")
  most = {variable: value for variable, value, _ in common}
  out = []
  for i, v in enumerate(variables):
    if v.classes and not v.normal:
      v = dataclasses.replace(v, normal=v.classes[int(most.get(i, 0))])
    elif not v.classes and np.isnan(v.normal):
      v = dataclasses.replace(
        v, normal=float(means.get(i, usual.get(v.name, _middle(v))))
      )
    out.append(v)
  return tuple(out)


def _middle(variable):
  """The middle of a variable's range; of one open to a side, what is next to 0."""
  low, _, _, high = variable.limits
  if np.isfinite(low) and np.isfinite(high):
    return (low + high) / 2
  return np.clip(0.0, low, high)
