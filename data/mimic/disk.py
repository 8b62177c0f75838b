"""How much disk a build takes, told before it starts.

Bounds from what is known then: the sizes of the raw files, the cohort and its
hours. The factors are those of the synthetic twin and the open demo, rounded
up (docs/data.md).
"""

from data import resume

# Bytes kept per byte of the raw .csv.gz, and spilled while sorting.
_EVENTS = 0.5
_TEXTS = 3.0
# A csv file is so many times larger than its .csv.gz.
_ZIPPED = 4
# Bytes of an hour's row, of a film; stays that have a film.
_HOUR, _FILM, _WITH_FILM = 120, 110e3, 0.35


def estimate(opened, cohort):
  """(bytes at most while building, bytes of them that stay)."""
  size = {}
  for name, table in opened.items():
    count = table.path.stat().st_size
    size[name] = count if table.path.suffix == ".gz" else count / _ZIPPED
  events = _EVENTS * (size["chartevents"] + size["labevents"])
  texts = _TEXTS * sum(size.get(n, 0) for n in ("radiology", "discharge"))
  kept = texts + _HOUR * float(cohort.end.sum()) + 2000 * len(cohort.end) + 1e6
  if "metadata" in opened:
    kept += _FILM * _WITH_FILM * len(cohort.end)
  return events + texts + kept, kept


def check(folder, opened, cohort, quiet):
  resume.check_disk(folder, *estimate(opened, cohort), quiet)


def size_of(memory):
  """Bytes of a size such as "2GB"."""
  return float(memory[:-2]) * {"MB": 1e6, "GB": 1e9}[memory[-2:]]
