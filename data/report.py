"""The build report: JSON for programs, text for people.

Nothing in it depends on the machine or the time, so that the same input
gives the same bytes. What may be shown of people is the rule of
medpatch_jax/evaluate/disclosure.py.
"""

import collections
import dataclasses
import json

from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.evaluate import disclosure


def make(
  *,
  task,
  release,
  remarks,
  cxr_given,
  opened,
  cohort,
  tally,
  rules,
  source=None,
  labels=None,
  published=None,
  codes=(),
  license=None,
  open=False,
):
  """Collects the report as a JSON-like dict.

  Args:
    license: name of the open licence of the data, None where they have none.
    open: everything may be shown.
    source: what was read, in words; MIMIC-IV by default.
    labels: names; those of a task of MIMIC's by default.
    published: of each split the numbers to print beside ours.
    codes: diagnosis codes without a category, as `mimic.quality.codes`.
  """
  labels = labels or schema.TASKS[task].labels
  rule = disclosure.Rule(open)
  rare = () if rules or open else _rare(tally)
  return {
    "task": task,
    "release": release,
    "source": source or f"MIMIC-IV {release}",
    "license": license,
    "open": open,
    "remarks": remarks + cohort.remarks,
    "rules": dataclasses.asdict(rules) if rules else {},
    "tables": {
      name: {
        "file": t.path.name,
        "rows": t.rows,
        "rows_left_out": t.bad_count,
        "their_lines": t.bad,
      }
      for name, t in sorted(opened.items())
    },
    "films": {
      "given": bool(cxr_given),
      "opened": _films_opened(tally, rule),
      "unreadable": len(tally.bad_films),
      "their_lines": tally.bad_films[:100],
    },
    "filters": [
      {"rule": r, "stays_left": n} for r, n in _filters(cohort, tally, rule)
    ],
    "facts": {
      k: (rule.rough if k.startswith("stays") else rule.total)(v)
      for k, v in cohort.facts.items()
    },
    "splits": {
      s: _split(s, tally, labels, theirs, rule, rare)
      for s, theirs in zip(SPLITS, published or [{}] * len(SPLITS))
    },
    "variables": _variables(tally, rule),
    "constant_variables": tally.constant(),
    "codes_without_category": list(codes),
  }


def _filters(cohort, tally, rule):
  """What each rule leaves, as far as the splits' numbers allow."""
  stays = [tally.stays(s) for s in SPLITS]
  few = [n for n in stays if rule.hides(n)]
  # One hidden split alone is what the others are short of the last rule's.
  end = sum(stays) - few[0] if len(few) == 1 else None
  return rule.chain(cohort.filters, end, cohort.lost)


def lost(before, after):
  """Patients who have stays among the first that are not among the others.

  Args:
    before, after: subject of each stay.
  """
  count = collections.Counter
  return len(count(map(int, before)) - count(map(int, after)))


def written(cohort, tally, rule, rows=slice(None)):
  """Adds what is left once the records are written to a cohort's filters.

  Args:
    cohort: with the filters.
    tally: of the records.
    rule: sentence.
    rows: stays of the cohort that might have been written.
  """
  subjects = [x for s in SPLITS for x in tally.subjects[s]]
  cohort.filters.append((rule, len(subjects)))
  cohort.lost.append(lost(cohort.subject_id[rows], subjects))


def _films_opened(tally, rule):
  """Hidden where it would tell the one split that has few films."""
  images = [i for i, m in enumerate(tally.modalities) if m in tally.images]
  few = sum(
    bool(rule.hides(tally.present(s)[i])) for s in SPLITS for i in images
  )
  return disclosure.WORD if few == 1 else rule.rough(tally.films)


def _rare(tally):
  """(kind, word) of groups of few patients, whose word may be one's name.

  Words of own tables are anybody's; those of MIMIC and of ages are known.
  """
  words = {g for s in SPLITS for g in tally.words[s] if g[0] != "age"}
  few = disclosure.SMALLEST_CELL
  return {g for g in words if sum(tally.people(s, *g) for s in SPLITS) < few}


def _split(split, tally, labels, theirs, rule, rare):
  total, people = tally.stays(split), len(set(tally.subjects[split]))
  rates = theirs.get("present", {})
  label = zip(
    labels,
    tally.label[split].tolist(),
    tally.positive[split].tolist(),
    theirs.get("labels", [None] * len(labels)),
  )
  labelled = [
    rule.part(
      int(n), total, *(tally.people(split, c, case) for case in (True, False))
    )
    for c, n in enumerate(tally.label[split])
  ]
  age = tally.ages[split]
  enough = age.count and not rule.hides(min(age.count, people))
  return {
    "stays": rule.total(total, people),
    "published_stays": theirs.get("stays"),
    "published_stays_v3.1": theirs.get("stays_v3"),
    "subjects": rule.part(people, total, people, total - people),
    "hours": rule.total(sum(tally.hours[split])),
    "labelled_hours": rule.total(tally.labelled[split])
    if tally.first[split]
    else None,
    "mean_age": round(float(age.mean[0]), 1) if enough else None,
    "present": {
      m: {
        "stays": shown,
        "percent": rule.percent(n, total, shown),
        "published_percent": rates.get(m),
      }
      for m, n, shown in _present(split, tally, rule)
    },
    "labels": {
      name: {
        "stays": shown if tally.labelled[split] else None,
        # Of an hourly task that of hours: many of them may be one person's.
        "percent": rule.percent(hours, tally.labelled[split], shown)
        if hours == n
        else rule.percent(hours, tally.labelled[split])
        if shown == n or str(shown).startswith("~")
        else disclosure.WORD,
        "published_percent": rate,
      }
      for (name, n, hours, rate), shown in zip(label, labelled)
    },
    "groups": {
      kind: _words(split, kind, tally, rule, rare) for kind in tally.groups
    },
  }


def _present(split, tally, rule):
  """(modality, stays that have it, the same as shown) of each."""
  total = tally.stays(split)
  for m, n in zip(tally.modalities, tally.present(split)):
    whose = (tally.people(split, m, has) for has in (True, False))
    yield m, n, rule.part(n, total, *whose)


def _words(split, kind, tally, rule, rare):
  """Stays of each word of a kind of group; rare words are not told apart."""
  words, people = collections.Counter(), collections.Counter()
  for (k, word), n in sorted(tally.words[split].items()):
    if k == kind:
      name = "(rare words)" if (k, word) in rare else word
      words[name] += n
      people[name] += tally.people(split, kind, word)
  return rule.cells(dict(sorted(words.items())), people)


def _variables(tally, rule):
  """Of each variable: hours measured, their mean and spread, clean-up."""
  out = {}
  for i, v in enumerate(tally.variables):
    entry = {"unit": v.unit or ("class or score" if v.classes else "")}
    entry |= v.kind
    for split in SPLITS:
      moments = tally.measured[split][i]
      patients = len(tally.low[split][i])  # Who have it, as far as counted.
      enough = patients > 0 and not rule.hides(patients)
      entry[split] = {
        "hours": rule.rough(moments.count),
        "percent": rule.percent(
          moments.count, tally.hours_of(split, v.modality)
        ),
        "mean": round(float(moments.mean[0]), 3) if enough else None,
        "sd": round(float(moments.std(0.0)[0]), 3) if enough else None,
      }
    for what in ("rows", "text", "converted", "clamped", "outside"):
      entry[f"events_{what}"] = rule.total(tally.counts[v.name, what])
    out[v.name] = entry
  return out


def write(folder, report):
  """Writes report.json and report.txt."""
  (folder / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
  (folder / "report.txt").write_text(text(report), "utf-8")


def text(report):
  """The report as plain text."""
  lines = [f"Build report: {report['task']}", ""]
  lines += [f"Source: {report['source']}."]
  if report["open"]:
    lines += [
      f"Licence: {report['license'] or 'none needed'}. All counts shown."
    ]
  lines += [f"  {r}" for r in report["remarks"]]
  lines += ["", "Files", _row("", "rows", "left out", widths=(36, 15, 10))]
  for t in report["tables"].values():
    lines.append(
      _row(t["file"], t["rows"], t["rows_left_out"], widths=(36, 15, 10))
    )
    if t["their_lines"]:
      lines.append(f"    lines {', '.join(map(str, t['their_lines']))}")
  lines += _films(report["films"])
  lines += ["", "Stays left by each rule"]
  lines += [
    _row(f["rule"], f["stays_left"], widths=(56, 12)) for f in report["filters"]
  ]
  lines += ["", "Facts"]
  lines += [
    _row(k.replace("_", " "), v, widths=(56, 12))
    for k, v in report["facts"].items()
  ]
  lines += [
    "",
    "Rules: "
    + (", ".join(f"{k}={v}" for k, v in report["rules"].items()) or "none"),
  ]
  lines += _splits(report) + _table(report)
  return "\n".join(lines) + "\n"


def _films(films):
  if not films["given"]:
    return ["", "Films: none given; absent for every stay."]
  line = f"Films: {films['opened']} opened, {films['unreadable']} unreadable"
  where = films["their_lines"]
  if where:
    line += f" (lines {', '.join(map(str, where))} of their table)"
  return ["", line + "."]


def _splits(report):
  """Stays, presence and labels of each split beside the published cohort."""
  splits = report["splits"]
  compared = splits["train"]["published_stays"] is not None
  widths = (44,) + (9,) * (6 if compared else 3)
  lines = ["", _row("", *_heads(compared), widths=widths)]

  def both(title, key, theirs):
    cells = []
    for s in SPLITS:
      cells += [key(splits[s]), theirs(splits[s])][: 1 + compared]
    lines.append(_row(title, *cells, widths=widths))

  both("stays", lambda s: s["stays"], lambda s: s["published_stays"])
  if compared:
    both("  same on v3.1", lambda s: "", lambda s: s["published_stays_v3.1"])
  both("subjects", lambda s: s["subjects"], lambda s: "")
  both("mean age", lambda s: s["mean_age"], lambda s: "")
  lines.append("percent of stays that have")
  for m in splits["train"]["present"]:
    both(
      f"  {schema.TITLES.get(m, m)}",
      lambda s, m=m: s["present"][m]["percent"],
      lambda s, m=m: s["present"][m]["published_percent"],
    )
  hourly = any(s["labelled_hours"] for s in splits.values())
  if hourly:
    both("labelled hours", lambda s: s["labelled_hours"], lambda s: "")
  lines.append(f"percent of {'hours' if hourly else 'stays'} with label")
  for name in splits["train"]["labels"]:
    both(
      f"  {name[:41]}",
      lambda s, n=name: s["labels"][n]["percent"],
      lambda s, n=name: s["labels"][n]["published_percent"],
    )
  for kind in splits["train"]["groups"]:
    words = sorted({w for s in SPLITS for w in splits[s]["groups"][kind]})
    for word in words:
      both(
        f"{kind} {word}",
        lambda s, k=kind, w=word: s["groups"][k].get(w, 0),
        lambda s: "",
      )
  return lines


def _heads(compared):
  heads = ("train", "publ.", "valid", "publ.", "test", "publ.")
  return heads if compared else heads[::2]


def _table(report):
  """Variables: percent of hours measured in each split, mean, clean-up."""
  widths = (36, 8, 8, 8, 10, 9, 10, 10, 9, 9)
  lines = [
    "",
    "Hours with a measurement (percent), their mean and SD (train), and what"
    " cleaning met",
    _row(
      "", "train", "valid", "test", "mean", "SD", "convert", "outside",
      "clamped", "unread", widths=widths,
    ),
  ]  # fmt: skip
  for name, v in report["variables"].items():
    cells = [v[s]["percent"] for s in SPLITS]
    cells += [v["train"]["mean"], v["train"]["sd"]]
    cells += [
      v[f"events_{w}"] for w in ("converted", "outside", "clamped", "text")
    ]
    title = f"  {v['kind']}: {name}" if "kind" in v else f"  {name}"
    lines.append(_row(title, *cells, widths=widths))
  if report["constant_variables"]:
    lines += ["", "Variables that do not vary in train"]
  lines += [
    f"  {v['variable']}: {v['why']}; {v['done']}"
    for v in report["constant_variables"]
  ]
  if report["codes_without_category"]:
    lines += ["", "Diagnosis codes without a category, and their patients"]
  lines += [
    _row(f"  {c['code']} (ICD-{c['version']})", c["patients"], widths=(36, 8))
    for c in report["codes_without_category"]
  ]
  return lines


def _row(first, *cells, widths):
  def word(cell):
    if cell is None:
      return "-"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)

  body = "".join(f"{word(c):>{w}}" for c, w in zip(cells, widths[1:]))
  return f"{first:<{widths[0]}}{body}".rstrip()
