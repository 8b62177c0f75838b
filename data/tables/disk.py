"""How much disk a build from tables takes, told before it starts.

Bounds from the sizes of the tables, the stays and their hours.
"""

from data import resume
from medpatch_jax.input import variables as table

# Per byte of a table as plain .csv: the database that it is checked in, what
# sorting it spills, what is kept of it while records are written.
_KEPT = 1.2, 1.0, 0.6
# A plain file is so many times larger than that of a suffix.
_TIMES = {".gz": 4, ".parquet": 6, ".csv": 1}
# Bytes of a column's hour, of an image, of a stay beside.
_CELL, _IMAGE, _STAY = 1.6, 110e3, 2000


def estimate(opened, hours, variables):
  """(bytes at most while building, bytes of them that stay).

  Args:
    opened: name -> `layout.Table`.
    hours: f64[S], length of each stay.
    variables: of the series.
  """
  size = {
    name: t.path.stat().st_size * _TIMES[t.path.suffix]
    for name, t in opened.items()
  }
  kept = _CELL * len(table.columns(variables)) * float((hours + 1).sum())
  kept += size.get("notes", 0) + _STAY * len(hours) + 1e6
  if "images" in opened:
    kept += _IMAGE * len(hours)
  database, spilled, copied = _KEPT
  most = max(size.values()) * spilled
  return sum(size.values()) * (database + copied) + max(most, kept), kept


def check(folder, opened, hours, variables, quiet):
  """As `resume.check_disk`."""
  resume.check_disk(folder, *estimate(opened, hours, variables), quiet)
