"""The data quality report: what the records hold, as numbers (quality.json).

From the tally alone, so that it costs no second pass; `page` makes a page of
it. What may be shown of people is the rule of evaluate/disclosure.py; the range
is one that eleven patients reach at either end: an extreme is one person's.
"""

from data import leakage
from data.splits import SPLITS
from data.tally import HOURS
from medpatch_jax.evaluate import disclosure
from medpatch_jax.evaluate.disclosure import SMALLEST_CELL, WORD

_CLEANED = ("rows", "converted", "outside", "clamped", "text")
# What must not be in any record, of `Tally.leaks` and of two splits.
RULES = {
  "series": "no hour of a series after its window",
  "film": "no film before intime or after the window",
  "report": "no report before intime or after the window",
  "subjects": "no subject in two splits",
}


class Leak(RuntimeError):
  """Records that hold what they must not: a mistake of this program."""


def collect(
  *,
  task,
  source,
  tally,
  checks,
  window="the stay",
  last=HOURS,
  open=False,
  answers=None,
  **more,
):
  """Everything of the report as a JSON-like dict.

  Args:
    task: name of the dataset.
    source: what was read, in words.
    tally: `Tally` of all records.
    checks: of `check`.
    window: what of a stay is seen, in words.
    last: hours that presence is told of.
    open: everything may be shown.
    answers: of `leakage.collect`.
    **more: what a source adds: `deaths`, `codes`.
  """
  rule = disclosure.Rule(open)
  return {
    "task": task,
    "source": source,
    "window": window,
    "open": open,
    "stays": {s: _stays(tally, s, rule) for s in SPLITS},
    "checks": checks,
    "leakage": leakage.collect(tally, rule, answers or {}),
    "variables": {
      v.name: {"unit": v.unit or ("score" if v.classes else "")}
      | v.kind
      | {s: _variable(tally, s, i, v, rule) for s in SPLITS}
      for i, v in enumerate(tally.variables)
    },
    "constant_variables": tally.constant(),
    "presence_by_hour": {s: _presence(last, tally, s, rule) for s in SPLITS},
    **more,
  }


def _stays(tally, split, rule):
  return rule.total(tally.stays(split), len(set(tally.subjects[split])))


def check(tally, rules, more=None, allowed=None, open=False):
  """What must not be: [{"check", "records" looked at, "result"}].

  Args:
    tally: `Tally` of all records.
    rules: name -> sentence.
    more: name -> records that break the rule, where the tally does not know.
    allowed: name -> what the source asked for, which is the result then.
    open: everything may be shown.

  Raises:
    Leak: a rule is broken.
  """
  total = sum(tally.stays(s) for s in SPLITS)
  subjects = [set(tally.subjects[s]) for s in SPLITS]
  found = {w: sum(tally.leaks[s][w] for s in SPLITS) for w in rules}
  found["subjects"] = sum(map(len, subjects)) - len(set.union(*subjects))
  found |= more or {}
  out = []
  for what, sentence in rules.items():
    result = "ok"
    if found[what] and what not in (allowed or {}):
      raise Leak(
        f"{found[what]:,} records break the rule: {sentence}. This is a mistake"
        " of the program, not of the data; nothing was written."
      )
    if found[what]:
      result = allowed[what]
    records = disclosure.Rule(open).rough(total)
    out.append({"check": sentence, "records": records, "result": result})
  return out


def _variable(tally, split, i, v, rule):
  """One variable in one split."""
  hours = tally.hours_of(split, v.modality)
  moments = tally.measured[split][i]
  carried = int(tally.carried[split][i])
  parts = {
    "measured": moments.count,
    "carried": carried,
    "normal": hours - moments.count - carried,
  }
  # Patients who have it, as far as is counted.
  enough = len(tally.low[split][i]) == SMALLEST_CELL
  number = _round(moments) if enough else None
  counts = rule.cells(parts)
  return {
    # Shares of the hours: measured in the hour, the last value carried on,
    # the normal value before the first.
    **{
      k: rule.percent(n, hours) if counts[k] != WORD else WORD
      for k, n in parts.items()
    },
    # Values that 11 patients reach at either end.
    "low": _digits(tally.low[split][i][-1, 0], number) if enough else None,
    "high": _digits(tally.high[split][i][-1, 0], number) if enough else None,
    "mean": _digits(moments.mean[0], number) if enough else None,
    "sd": _digits(moments.std(0.0)[0], number) if enough else None,
    **{k: rule.total(tally.cleaned[split][v.name, k]) for k in _CLEANED},
  }


def _round(moments):
  """Decimals that show a hundredth of the spread, at most 4."""
  spread, places = float(moments.std(1e-4)[0]), 0
  while spread < 10 and places < 4:
    spread, places = spread * 10, places + 1
  return places


def _digits(value, places):
  return round(float(value), places)


def _presence(last, tally, split, rule):
  """Shares of stays by hour, of rounded counts.

  Of the stays that last so long: series, those with a measurement in the hour;
  of all stays: those whose film, or first report, note or embedding is there
  by then.
  """
  total, counts = tally.stays(split), tally.by_hour[split]
  there = tally.there[split]
  out = {"hours": list(range(last))}
  if not total or rule.hides(len(set(tally.subjects[split]))):
    return out | {m: None for m in tally.modalities}
  for m in tally.modalities:
    if m not in there:
      by = counts[m][:last].cumsum()
      out[m] = [rule.share(int(n), total) for n in by]
      continue
    out[m] = [
      None if rule.hides(t) else rule.share(int(n), int(t))
      for n, t in zip(counts[m][:last], there[m])
    ]
  return out
