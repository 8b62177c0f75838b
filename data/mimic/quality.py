"""The data quality report: what the records hold, as numbers (quality.json).

From the tally alone, so that it costs no second pass; `page` makes a page of
it. Counts below 11 are hidden, as are those that would give one away, and the
range is one that eleven stays reach at either end: an extreme is one person's.
"""

from data.counts import (
  HIDDEN,
  WORD,
  cells,
  coarse,
  percent,
  share,
  shown,
  small,
)
from data.mimic.tally import HOURS
from data.splits import SPLITS
from medpatch_jax import schema

_CLEANED = ("rows", "converted", "outside", "clamped", "text")
_LISTED = 50  # Codes without a category that are named, at most.


class Leak(RuntimeError):
  """Records that hold what they must not: a mistake of this program."""


def collect(*, task, release, cohort, tally, rules):
  """Everything of the report as a JSON-like dict.

  Raises:
    Leak: a source later than its window, a subject in two splits, or a
      discharge note in a task that must not see one.
  """
  window = "48 hours" if task == "in_hospital_mortality" else "the stay"
  return {
    "task": task,
    "release": release,
    "window": window,
    "stays": {s: shown(tally.stays(s)) for s in SPLITS},
    "checks": checks(task, tally, rules),
    "variables": {
      v.name: {"unit": v.unit or ("score" if v.classes else "")}
      | {s: _variable(tally, s, i, v.name) for s in SPLITS}
      for i, v in enumerate(tally.variables)
    },
    "presence_by_hour": {s: _presence(task, tally, s) for s in SPLITS},
    "deaths": _deaths(cohort),
    "codes": _codes(cohort),
  }


def checks(task, tally, rules):
  """What must not be: (sentence, records looked at, result) each.

  A result is "ok", or what the rules asked for.
  """
  total = sum(tally.stays(s) for s in SPLITS)
  found = {
    what: sum(tally.leaks[s][what] for s in SPLITS)
    for what in ("series", "film", "report", "note", "hours")
  }
  if "rr" not in schema.TASKS[task].modalities:
    column = tally.modalities.index("rr")
    found["reports"] = sum(tally.present(s)[column] for s in SPLITS)
  subjects = [set(tally.subjects[s]) for s in SPLITS]
  found["subjects"] = sum(map(len, subjects)) - len(set.union(*subjects))
  allowed = {}
  if rules.radiology_window == "admission":
    allowed["report"] = "of the whole admission, as --radiology_window asks"
  if "dn" in schema.TASKS[task].modalities:
    allowed["note"] = (
      "present: it states the diagnoses, so results with it are upper bounds"
    )
  sentences = {
    "series": "no hour of a series after its window",
    "film": "no film before intime or after the window",
    "report": "no radiology report before intime or after the window",
    "note": "no discharge note",
    "hours": "no hour to predict at after the stay",
    "reports": "no radiology report, which would name the findings",
    "subjects": "no subject in two splits",
  }
  sentences = {k: v for k, v in sentences.items() if k in found}
  if not schema.TASKS[task].hourly:
    del sentences["hours"]
  out = []
  for what, sentence in sentences.items():
    result = "ok"
    if found[what] and what not in allowed:
      raise Leak(
        f"{found[what]:,} records break the rule: {sentence}. This is a mistake"
        " of the program, not of the data; nothing was written."
      )
    if found[what]:
      result = allowed[what]
    out.append({"check": sentence, "records": shown(total), "result": result})
  return out


def _variable(tally, split, i, name):
  """One variable in one split."""
  hours = sum(tally.hours[split])
  moments = tally.measured[split][i]
  carried = int(tally.carried[split][i])
  parts = {
    "measured": moments.count,
    "carried": carried,
    "normal": hours - moments.count - carried,
  }
  enough = len(tally.low[split][i]) == HIDDEN  # Stays that have it.
  number = _round(moments) if enough else None
  counts = cells(parts)
  return {
    # Shares of the hours: measured in the hour, the last value carried on,
    # the normal value before the first.
    **{
      k: percent(n, hours) if counts[k] != WORD else WORD
      for k, n in parts.items()
    },
    # Values that 11 stays reach at either end.
    "low": _digits(tally.low[split][i][-1], number) if enough else None,
    "high": _digits(tally.high[split][i][0], number) if enough else None,
    "mean": _digits(moments.mean[0], number) if enough else None,
    "sd": _digits(moments.std(0.0)[0], number) if enough else None,
    **{k: shown(tally.cleaned[split][name, k]) for k in _CLEANED},
  }


def _round(moments):
  """Decimals that show a hundredth of the spread, at most 4."""
  spread, places = float(moments.std(1e-4)[0]), 0
  while spread < 10 and places < 4:
    spread, places = spread * 10, places + 1
  return places


def _digits(value, places):
  return round(float(value), places)


def _presence(task, tally, split):
  """Shares of stays by hour, in steps of 11 stays.

  Of the stays that last so long: ehr, those with a measurement in the hour;
  of all stays: those whose film, or first report, or note is there by then.
  """
  last = 48 if task == "in_hospital_mortality" else HOURS
  total, counts = tally.stays(split), tally.by_hour[split]
  out = {"hours": list(range(last))}
  if total < HIDDEN:
    return out | {m: None for m in schema.MODALITIES}
  out["ehr"] = [
    coarse(int(n), int(there)) if there >= HIDDEN else None
    for n, there in zip(counts["ehr"][:last], counts["there"])
  ]
  for m in schema.MODALITIES[1:]:
    by = counts[m][:last].cumsum()
    out[m] = [coarse(int(n), total) for n in by]
  return out


def _deaths(cohort):
  """Stays by hospital_expire_flag (rows) and by the dates (columns)."""
  names = [(a, b) for a in (0, 1) for b in (0, 1)]
  flat = cells({n: cohort.deaths[n[0]][n[1]] for n in names})
  differ = cohort.deaths[0][1] + cohort.deaths[1][0]
  total = sum(map(sum, cohort.deaths))
  return {
    "stays": shown(total),
    "differ": share(differ, total),
    "neither": flat[0, 0],
    "dates_only": flat[0, 1],
    "flag_only": flat[1, 0],
    "both": flat[1, 1],
  }


def _codes(cohort):
  """Diagnosis codes without a category; None in a task without codes."""
  if "distinct_icd9_codes" not in cohort.facts:
    return None
  listed = sorted(cohort.codes, key=lambda c: (-c[2], c[0], str(c[1])))
  named = [c for c in listed if not small(c[2])][:_LISTED]
  return {
    **{
      f"icd{v}": {
        "distinct": cohort.facts[f"distinct_icd{v}_codes"],
        "without_category": cohort.facts[
          f"distinct_icd{v}_codes_without_category"
        ],
      }
      for v in (9, 10)
    },
    "stays_without_a_code": shown(cohort.facts["stays_without_a_code"]),
    "common": [
      {"version": v, "code": code, "stays": shown(n)} for v, code, n in named
    ],
  }
