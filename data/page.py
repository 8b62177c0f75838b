"""The data quality report as one page of HTML that loads nothing."""

import html
import json

from data.splits import SPLITS
from medpatch_jax import schema
from medpatch_jax.evaluate import look

_COLOURS = {
  "train": "var(--c0)",
  "validation": "var(--c1)",
  "test": "var(--c2)",
}
_SHOWN = (
  " Counts of 1 to 10 people are shown as &lt;11, all others but totals are"
  " rounded to tens, and one is hidden where it would give another away."
)
_SHORT = {"train": "train", "validation": "valid", "test": "test"}
_WIDTH, _HEIGHT, _LEFT, _TOP = 290, 162, 34, 22


def write(folder, quality):
  """Writes quality.json and quality.html."""
  text = json.dumps(quality, indent=1)
  (folder / "quality.json").write_text(text, "utf-8")
  (folder / "quality.html").write_text(page(quality), "utf-8")


def page(quality):
  """The dict of `quality.collect` as the text of an HTML page."""
  title = f"Data quality: {quality['task'].replace('_', ' ')}"
  return (
    '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width">\n'
    f"<title>{html.escape(title)}</title>\n<style>{look.CSS}</style>\n"
    f"<main>\n<h1>{html.escape(title)}</h1>\n{body(quality)}\n"
    "</main>\n</html>\n"
  )


def body(quality) -> str:
  """What stands on the page under its title; the report of a run has it too."""
  stays = ", ".join(f"{s} {_word(n)}" for s, n in quality["stays"].items())
  parts = [
    f"<p>{html.escape(quality['source'])}. Stays: {stays}. Hours"
    f" count from intime; the window is {quality['window']}."
    f"{'' if quality['open'] else _SHOWN}</p>",
    "<h2>Leaks</h2>",
    _checks(quality["checks"]),
    "<h2>Leakage: what a reviewer asks</h2>",
    _leakage(quality["leakage"]),
    "<h2>Presence by hour</h2>",
    "<p>EHR and other series: stays with a measurement in the hour, of those that"
    " last so long. Others: stays that have had the film, a report or the note by then."
    "</p>",
    _charts(quality["presence_by_hour"]),
    "<h2>Variables</h2>",
    "<p>Percent of all hours: measured in the hour; carried on from the last"
    " one; the rest holds the normal value. The range is one that eleven patients"
    " reach at either end.</p>",
    _variables(quality["variables"], _HOURLY),
    *(
      f"<p>{_word(v['variable'])}: {v['why']}; {_word(v['done'])}.</p>"
      for v in quality["constant_variables"]
    ),
    "<h2>Cleaning</h2>",
    "<p>Raw rows of the stays: read; converted to the variable's unit;"
    " outliers, taken for missing (outside the range) or clamped to it; text of"
    " no known meaning.</p>",
    _variables(quality["variables"], _CLEANED),
  ]
  if quality.get("reports"):
    parts += ["<h2>Reports by the time they were stored</h2>"]
    parts += [_reports(quality["reports"])]
  if quality.get("deaths"):
    parts += ["<h2>Two definitions of death</h2>", _deaths(quality["deaths"])]
  if quality.get("codes"):
    parts += ["<h2>Diagnosis codes</h2>", _codes(quality["codes"])]
  return "\n".join(parts)


def _word(cell):
  if cell is None:
    return "–"
  text = f"{cell:,}" if isinstance(cell, int) else str(cell)
  return html.escape(text)


def _table(title, head, rows, kind=""):
  """`head` and `rows` are lists of rows of HTML cells."""
  text = "".join(f"<tr>{''.join(r)}</tr>" for r in head)
  body = "\n".join(f"<tr>{''.join(r)}</tr>" for r in rows)
  table = f'<table class="{kind}"><thead>{text}</thead>\n{body}</table>'
  return (
    f'<div class="{"wide" if kind == "" else "scroll"}" tabindex="0"'
    f' role="region" aria-label="{_word(title)}">{table}</div>'
  )


def _cells(values, tag="td"):
  return [f"<{tag}>{_word(v)}</{tag}>" for v in values]


def _checks(checks):
  rows = []
  for c in checks:
    kind = "ok" if c["result"] == "ok" else "note"
    rows.append(
      _cells([c["check"], c["records"]])
      + [f'<td class="{kind}">{_word(c["result"])}</td>']
    )
  head = [_cells(["checked on every record", "records", "result"], "th")]
  return _table("Leaks", head, rows, "left")


def _leakage(leakage):
  rows = [_cells(pair) for pair in leakage["answers"].items()]
  head = [_cells(["question", "answer"], "th")]
  text = _table("Leakage", head, rows, "left")
  rows = [
    _cells([m, word, *counts.values()])
    for m, found in leakage["words"].items()
    for word, counts in found.items()
  ]
  if not rows:
    return text + "<p>No word of an outcome or a label stands in a note.</p>"
  head = ["notes", "word", *_SHORT.values()]
  return (
    text
    + "<p>Stays in whose notes, as far as a model may read them, such words stand:"
    " of the outcome (died, hospice, DNR and others), and the names of the"
    " labels.</p>"
    + _table("Words in notes", [_cells(head, "th")], rows, "plain")
  )


def _range(v):
  return None if v["low"] is None else f"{v['low']:g}–{v['high']:g}"


def _spread(v):
  return None if v["mean"] is None else f"{v['mean']:g} ± {v['sd']:g}"


_HOURLY = (
  ("measured %", lambda v: v["measured"]),
  ("carried %", lambda v: v["carried"]),
  ("range", _range),
  ("mean ± SD", _spread),
)
_CLEANED = (
  ("rows", lambda v: v["rows"]),
  ("converted", lambda v: v["converted"]),
  ("outside", lambda v: v["outside"]),
  ("clamped", lambda v: v["clamped"]),
  ("unread", lambda v: v["text"]),
)


def _variables(variables, groups):
  """A row for each variable, for each of `groups` a column of each split."""

  def row(tag, key):
    out = []
    for group in groups:
      for s in SPLITS:
        kind = ' class="first"' if s == SPLITS[0] else ""
        out.append(f"<{tag}{kind}>{_word(key(group, s))}</{tag}>")
    return out

  top = ["<td></td><td></td>"] + [
    f'<th colspan="3" class="first">{name}</th>' for name, _ in groups
  ]
  below = ["<th>variable</th><th>unit</th>", *row("th", lambda g, s: _SHORT[s])]
  rows = [
    _cells([_title(name, v), v["unit"]])
    + row("td", lambda g, s, v=v: g[1](v[s]))
    for name, v in variables.items()
  ]
  return _table(groups[0][0], [top, below], rows)


def _title(name, v):
  return f"{v['kind']}: {name}" if "kind" in v else name


def _charts(presence):
  """One small chart for each modality, a line for each split."""
  out = []
  for m in [m for m in presence["train"] if m != "hours"]:
    lines = {s: presence[s][m] for s in SPLITS if presence[s][m]}
    if any(any(y for y in line if y) for line in lines.values()):
      title = schema.TITLES.get(m, m)
      out.append(_chart(title, presence["train"]["hours"], lines))
  return f'<div class="charts">{"".join(out)}</div>'


def _chart(title, hours, lines):
  last = len(hours)

  def at(hour, value):
    x = _LEFT + hour / last * (_WIDTH - _LEFT - 14)
    y = _TOP + (1 - value / 100) * (_HEIGHT - _TOP - 30)
    return x, y

  parts = [f'<text x="4" y="13" font-weight="600">{html.escape(title)}</text>']
  for value in (0, 50, 100):
    x, y = at(0, value)
    end = at(last, value)[0]
    parts.append(
      f'<path class="grid" d="M{x:.1f} {y:.1f}H{end:.1f}"/>'
      f'<text x="4" y="{y + 3:.1f}">{value}%</text>'
    )
  for hour in range(0, last + 1, 24 if last > 48 else 12):
    x, y = at(hour, 0)
    parts.append(f'<text x="{x - 4:.1f}" y="{y + 13:.1f}">{hour}</text>')
  parts.append(
    f'<text x="{_WIDTH - 4}" y="{_HEIGHT - 2}" text-anchor="end">'
    "hours since the start of the stay; % of stays</text>"
  )
  for i, (split, line) in enumerate(lines.items()):
    path, pen = "", "M"
    for hour, value in zip(hours, line):
      if value is None:
        pen = "M"
        continue
      x, y = at(hour + 0.5, value)
      path, pen = path + f"{pen}{x:.1f} {y:.1f}", "L"
    colour = _COLOURS[split]
    parts.append(
      f'<path class="line" d="{path}" style="stroke:{colour}"/>'
      f'<text class="line" x="{_WIDTH - 118 + 40 * i}" y="13" style="fill:{colour}">'
      f"{_SHORT[split]}</text>"
    )
  return (
    f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img"'
    f' aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
  )


def _reports(reports):
  rows = [
    _cells([name.replace("_", " "), value])
    for name, value in reports.items()
    if name != "shown_from"
  ]
  return (
    "<p>A report's charttime is that of its study, its storetime that at which"
    " it was written. Here reports are shown from their"
    f" {_word(reports['shown_from'])}: by it those stored after the window are"
    f" {'not ' if reports['shown_from'] == 'storetime' else ''}seen. Reports"
    " without a storetime are shown from their charttime.</p>"
    + _table(
      "Reports", [_cells(["radiology reports", "count"], "th")], rows, "plain"
    )
  )


def _deaths(deaths):
  head = [
    _cells(["stays", "dates: alive", "dates: died"], "th"),
  ]
  rows = [
    _cells(["flag: alive", deaths["neither"], deaths["dates_only"]]),
    _cells(["flag: died", deaths["flag_only"], deaths["both"]]),
  ]
  return (
    "<p>hospital_expire_flag, and dod or deathtime between admittime and"
    f" dischtime, of {_word(deaths['stays'])} stays; they differ in"
    f" {_word(deaths['differ'])}.</p>" + _table("Deaths", head, rows, "plain")
  )


def _codes(codes):
  head = ["codes", "distinct codes", "by their prefix", "without a category"]
  rows = [_cells([f"ICD-{v}", *codes[f"icd{v}"]]) for v in (9, 10)]
  text = _table("Codes", [_cells(head, "th")], rows, "plain")
  text += (
    "<p>A code of ICD-10 newer than the list takes the category of its longest"
    " known prefix. Stays without a code:"
    f" {_word(codes['stays_without_a_code'])}."
  )
  if codes["without_category"]:
    listed = ", ".join(
      f"{_word(c['code'])} (ICD-{c['version']}, {_word(c['patients'])})"
      for c in codes["without_category"]
    )
    text += f" Codes without a category, and patients who have them: {listed}."
  return text + "</p>"
