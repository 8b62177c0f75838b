"""How much disk a build takes, told before it starts.

Bounds from what is known then: the sizes of the raw files, the cohort and its
hours. The factors leave room above what the synthetic twin and the open demo
take, whose tables are emptier than MIMIC's.
"""

from data import resume

# Per byte of a .csv.gz: what is kept of it while building, what sorting it
# spills, what stays in the records.
_EVENTS = 0.3, 0.9
_TEXTS = 1.0, 2.0, 0.6
# A csv file is so many times larger than its .csv.gz.
_ZIPPED = 4
# Bytes of an hour's row, of a film; stays that have a film.
_HOUR, _FILM, _WITH_FILM = 120, 110e3, 0.35
# Films of such a stay where more than the last are kept.
_FILMS = 6


def estimate(opened, cohort, hourly=False):
  """(bytes at most while building, bytes of them that stay)."""
  size = {}
  for name, table in opened.items():
    count = table.path.stat().st_size
    size[name] = count if table.path.suffix == ".gz" else count / _ZIPPED
  events = [size[n] for n in ("chartevents", "labevents")]
  texts = [size.get(n, 0) for n in ("radiology", "discharge")]
  stays = len(cohort.end)
  kept = _TEXTS[2] * sum(texts) + _HOUR * float(cohort.end.sum())
  kept += 2000 * stays + 1e6
  if "metadata" in opened:
    kept += _FILM * _WITH_FILM * stays * (_FILMS if hourly else 1)
  # Nothing is spilled any more when the records are written.
  later = max(_EVENTS[1] * max(events), _TEXTS[1] * max(texts), kept)
  return _EVENTS[0] * sum(events) + _TEXTS[0] * sum(texts) + later, kept


def check(folder, opened, cohort, hourly, quiet):
  resume.check_disk(folder, *estimate(opened, cohort, hourly), quiet)
