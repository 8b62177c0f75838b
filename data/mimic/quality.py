"""What the quality report of MIMIC has beside: its leaks, deaths and codes."""

from data import quality
from data.quality import Leak as Leak
from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.evaluate import disclosure


def collect(*, task, release, cohort, tally, rules, open=False):
  """As `quality.collect`.

  Raises:
    Leak: a source later than its window, a subject in two splits, or a source
      that the task must not see.
  """
  rule = disclosure.Rule(open)
  early = task == "in_hospital_mortality"
  return quality.collect(
    task=task,
    source=f"MIMIC-IV {release}",
    tally=tally,
    checks=checks(task, tally, rules, cohort.reports, open),
    open=open,
    answers=_answers(task, tally, rules, cohort, rule),
    reports=_reports(cohort.reports, rules, rule),
    deaths=_deaths(cohort, rule),
    codes=_codes(cohort, rule),
    **({"window": "48 hours", "last": 48} if early else {}),
  )


def _answers(task, tally, rules, cohort, rule):
  """Of `leakage.collect`."""
  notes = sum(n > 0 for s in SPLITS for n in tally.characters[s]["dn"])
  discharge, codes = "Not used.", "Not read."
  if "dn" in schema.TASKS[task].modalities:
    discharge = "None were given."
  if notes:
    discharge = (
      f"Of {rule.rough(notes)} stays. They are written after the stay and state"
      " the diagnoses: results with dn are an upper bound."
    )
  if task == "phenotyping":
    codes = (
      "They are the labels, given after the discharge; they are no input of any"
      " model."
    )
  reports, found = "None were given.", _reports(cohort.reports, rules, rule)
  if found:
    reports = (
      f"{_cap(found['stored_in_a_later_hour'])} of"
      f" {found['charted_in_the_window']} reports were stored in a later hour than"
      f" charted; they are shown from their {found['shown_from']}."
    )
  names = {
    "hash": "By a hash of subject_id, so not by time; see --split.",
    "anchor_year_group": (
      "By time: test is the latest anchor_year_group, validation a hash of the"
      " others' subjects."
    ),
  }
  split = names[rules.split] if not cohort.listed else "By the lists given."
  return {
    "Are discharge notes of the admission seen?": discharge,
    "Are diagnosis codes of the admission seen?": codes,
    "Are reports shown before they were stored?": reports,
    "How were the subjects split?": split,
  }


def _cap(value):
  return f"{value:,}" if isinstance(value, int) else value


def checks(task, tally, rules, reports=None, open=False):
  """What must not be, as `quality.check`.

  Args:
    task: a name of `schema.TASKS`.
    tally: `Tally` of all records.
    rules: `rules.Rules`.
    reports: counts of `sources.reports`, None without any.
    open: everything may be shown.
  """
  wanted, allowed = dict(quality.RULES), {}
  seen = schema.TASKS[task].modalities
  if rules.radiology_window == "admission":
    allowed["report"] = "of the whole admission, as --radiology_window asks"
  if "dn" in seen:
    allowed["note"] = (
      "present: it states the diagnoses, so results with it are upper bounds"
    )
  if schema.TASKS[task].hourly:
    wanted["hours"] = "no hour to predict at after the stay"
  wanted["note"] = "no discharge note"
  early = 0
  if reports:
    wanted["written"] = "no report before it was stored"
    early = reports["later"] if rules.report_time == "chart" else 0
    allowed["written"] = (
      f"{disclosure.Rule(open).rough(early)} reports are shown from an hour before that in which they"
      " were stored, as --report_time=chart asks"
    )
  if "rr" not in seen:
    wanted["reports"] = "no radiology report, which would name the findings"
  has = {
    m: sum(n > 0 for s in SPLITS for n in tally.characters[s][m])
    for m in ("rr", "dn")
  }
  more = {"note": has["dn"], "reports": has["rr"], "written": early}
  return quality.check(tally, wanted, more, allowed, open)


def _deaths(cohort, rule):
  """Stays by hospital_expire_flag (rows) and by the dates (columns)."""
  names = [(a, b) for a in (0, 1) for b in (0, 1)]
  flat = rule.cells({n: cohort.deaths[n[0]][n[1]] for n in names})
  differ = cohort.deaths[0][1] + cohort.deaths[1][0]
  total = sum(map(sum, cohort.deaths))
  return {
    "stays": rule.rough(total),
    "differ": rule.part(differ, total),
    "neither": flat[0, 0],
    "dates_only": flat[0, 1],
    "flag_only": flat[1, 0],
    "both": flat[1, 1],
  }


def _reports(reports, rules, rule):
  """What it matters whether reports are shown from storetime or charttime."""
  if not reports:
    return None
  total, stays = reports["charted"], reports["stays"]
  return {
    "shown_from": {"store": "storetime", "chart": "charttime"}[
      rules.report_time
    ],
    "charted_in_the_window": rule.total(total),
    "stored_in_a_later_hour": rule.part(reports["later"], total),
    "stored_after_the_window": rule.part(reports["gone"], total),
    "without_a_storetime": rule.part(reports["unstored"], total),
    "stays": rule.rough(stays),
    "stays_without_one_by_storetime": rule.part(
      reports["stays_without"], stays
    ),
  }


def codes(cohort, rule=disclosure.SECRET):
  """Codes without a category, the commonest first, as they may be printed.

  Small counts are hidden, and do not show in the order either.
  """
  common = sorted(
    cohort.codes,
    key=lambda c: (-c[2] if not rule.hides(c[2]) else 0, c[0], c[1]),
  )
  return [
    {"version": version, "code": code, "patients": rule.rough(patients)}
    for version, code, patients in common
  ]


def _codes(cohort, rule):
  """What became of diagnosis codes; None in a task without codes."""
  facts = cohort.facts
  if "distinct_icd9_codes" not in facts:
    return None
  names = ("", "_by_their_prefix", "_without_category")
  return {
    **{
      f"icd{v}": [facts.get(f"distinct_icd{v}_codes{n}", 0) for n in names]
      for v in (9, 10)
    },
    "stays_without_a_code": rule.rough(facts["stays_without_a_code"]),
    "without_category": codes(cohort, rule),
  }
