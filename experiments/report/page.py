"""The page: one file of HTML that loads nothing."""

import json
import pathlib

from data import page as quality_page
from experiments.report import (
  curve_figures,
  figures,
  forests,
  plots,
  tables,
  viewer,
)
from experiments.report.facts import Facts, command
from experiments.report.tables import words
from medpatch_jax.evaluate import look
from medpatch_jax.evaluate.names import shorten
from medpatch_jax.input import places

HERE = pathlib.Path(__file__).parent


def drawings(facts: Facts) -> dict[str, list[plots.Drawing]]:
  """Every figure, by the section it is in."""
  with plots.style():
    return {
      "curves": curve_figures.curves(facts),
      "groups": forests.forests(facts),
      "training": figures.training(facts),
      "late": figures.late(facts),
      "tokens": figures.tokens(facts),
    }


def html(facts: Facts, drawn=None) -> str:
  """The whole page.

  Args:
    facts: what there is of a run.
    drawn: of `drawings`.
  """
  drawn = drawings(facts) if drawn is None else drawn
  parts = [
    ("result", "Result", _result(facts)),
    ("curves", "Curves", _curves(facts, drawn["curves"])),
    ("groups", "Intervals", all_figures(drawn["groups"])),
    ("tokens", "Token confidence", all_figures(drawn["tokens"])),
    ("late", "Late weights", all_figures(drawn["late"])),
    ("training", "Training", all_figures(drawn["training"])),
    ("cases", "Cases", facts.cases and viewer.html(facts.cases, data)),
    ("data", "Data", _data(facts)),
    ("run", "Run", _run(facts)),
  ]
  scripts = ["page.js"] + ["viewer.js"] * bool(facts.cases)
  return whole(_title(facts), _summary(facts), parts, scripts, _missing(facts))


def whole(title: str, summary: str, parts, scripts, before: str = "") -> str:
  """A page of its parts.

  Args:
    title: words.
    summary, before: HTML under the title and above the first part.
    parts: (id, heading, HTML) of each; those without any are left out.
    scripts: names of files.
  """
  parts = [part for part in parts if part[2]]
  links = "".join(f'<a href="#{i}">{words(name)}</a>' for i, name, _ in parts)
  body = "\n".join(
    f'<section id="{i}" aria-labelledby="{i}-title">'
    f'<h2 id="{i}-title">{words(name)}</h2>\n{inner}</section>'
    for i, name, inner in parts
  )
  read = [(HERE / name).read_text("utf-8") for name in scripts]
  js = "".join(f"<script>{script}</script>\n" for script in read)
  return (
    '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    # A second lock: nothing is loaded, whatever a note holds.
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
    " style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
    f"<title>{words(title)}</title>\n<style>{look.CSS}</style></head>\n<body>\n"
    f"<header><h1>{words(title)}</h1>{summary}\n"
    f'<nav aria-label="Sections">{links}</nav></header>\n'
    f"<main>{before}{body}</main>\n"
    f"{js}</body>\n</html>\n"
  )


def data(name: str, value) -> str:
  """JSON inside a page, of which no part can end its element."""
  text = json.dumps(value, separators=(",", ":"), allow_nan=False)
  text = text.replace("&", "\\u0026").replace("<", "\\u003c")
  return f'<script type="application/json" id="{name}">{text}</script>'


def _title(facts):
  model = facts.config.get("model", "medpatch")
  title = facts.result["title"] if facts.result else model
  return f"{title}: {str(facts.config.get('task', '')).replace('_', ' ')}"


def _summary(facts):
  """The run in two sentences."""
  if not facts.result:
    return "<p>This run has no test results yet.</p>"
  result, found = facts.result, facts.result["model"]["auroc"]
  lines = [
    f"{result['stays']:,}"
    if isinstance(result["stays"], int)
    else result["stays"],
    f"test {result.get('unit', 'stay')}s, {len(result['labels'])} label(s).",
  ]
  if found and found["value"] is not None:
    low = (
      ""
      if found["low"] is None
      else f" ({found['low']:.3f} to {found['high']:.3f})"
    )
    lines.append(f"Mean AUROC {found['value']:.3f}{low}")
    best = result["bayes"] and result["bayes"]["auroc"]
    if best:
      lines.append(f"of {best['value']:.3f} that any model could reach")
    lines[-1] += "."
  if not result["open"]:
    lines.append(
      "The data are not open: counts are rounded, and what few patients are"
      " behind is not shown."
    )
  return f"<p>{words(' '.join(lines))}</p>"


def _missing(facts):
  if not facts.missing:
    return ""
  items = "".join(
    f"<li><b>{words(what)}</b>: {words(why)}"
    + (f" <code>{words(places.worded(run))}</code>" if run else "")
    + "</li>"
    for what, why, run in facts.missing
  )
  return (
    '<section class="missing" aria-label="Not there"><h2>Not there yet</h2>'
    f"<ul>{items}</ul></section>\n"
  )


def _result(facts):
  if not facts.result:
    return ""
  result = facts.result
  lines = [
    f"Means over labels, 95 % intervals from {result['resamples']:,} resamples"
    f" of patients. {result['title']} is the head “{result['chosen']}”, chosen"
    f" on validation; {result['split']} was scored once."
  ]
  if undefined := result["model"]["undefined"]:
    lines.append(f"{undefined} label(s) that cannot be scored are in no mean.")
  if result["bayes"]:
    lines.append(
      "Bayes bound: no model can do better on average; gap: how far below it."
    )
  return f"<p>{words(' '.join(lines))}</p>" + "\n".join(
    tables.of_result(result)
  )


def _curves(facts, drawn):
  if not drawn:
    return ""
  names = [shorten(name) for name in facts.result["labels"]]
  options = "".join(
    f'<option value="{c}">{words(name)}</option>'
    for c, name in enumerate(names)
  )
  select = ""
  if len(names) > 1:
    select = (
      '<p class="controls"><label>Label <select id="pick"><option value="">mean'
      f" of all</option>{options}</select></label></p>"
    )
  note = ""
  if facts.result["bayes"] and not facts.bayes:
    note = (
      "<p>The Bayes bound is drawn where the twin's truth.csv is given"
      " (--truth).</p>"
    )
  return select + note + all_figures(drawn)


def all_figures(drawn):
  return (
    f'<div class="figures">{"".join(map(figure, drawn))}</div>' if drawn else ""
  )


def figure(drawing: plots.Drawing) -> str:
  """A figure with its alternative text and the table behind it."""
  name = drawing.name
  behind = tables.table(f"{drawing.title}: numbers", drawing.head, drawing.rows)
  return (
    f'<figure id="{name}"><figcaption>{words(drawing.title)}</figcaption>'
    f'<div role="img" aria-label="{words(drawing.alt)}">{plots.svg(drawing)}'
    f'</div><details><summary>Numbers<span class="unseen"> of'
    f" {words(drawing.title)}</span></summary>{behind}</details></figure>\n"
  )


def _data(facts):
  """What is on the page that the build of the records wrote."""
  if not facts.quality:
    return ""
  try:
    text = quality_page.body(facts.quality)
  except (KeyError, TypeError, AttributeError):
    return (
      "<p>The records were built by another version, whose summary this one"
      " does not read; quality.html beside them shows it.</p>"
    )
  return text.replace("<h2>", "<h3>").replace("</h2>", "</h3>")


def _run(facts):
  """Configuration, records, machine."""
  rows = [[name, _text(value)] for name, value in sorted(facts.config.items())]
  records = [
    [name, _text(value)]
    for name, value in facts.records.items()
    if name != "labels"
  ]
  timed = [
    [s.name, len([e for e in s.epochs if e["epoch"] >= 0]), s.seconds]
    for s in facts.stages
  ]
  total = [x[2] for x in timed if x[2] is not None]
  parts = [
    f'<p>Trained by</p><pre tabindex="0"><code>{words(command(facts.config))}'
    "</code></pre>",
    tables.table("Configuration", ["flag", "value"], rows, shown=True),
  ]
  if records:
    parts.append(
      tables.table("Records", ["field", "value"], records, shown=True)
    )
  if timed:
    timed.append(["all stages", None, sum(total) if total else None])
    head = ["stage", "epochs", "seconds of training"]
    parts.append(tables.table("Time", head, timed, total=1, shown=True))
  if facts.machine:
    head = list(dict.fromkeys(name for p in facts.machine for name in p))
    rows = [[name, *(p.get(name) for p in facts.machine)] for name in head]
    names = [f"process {i + 1}" for i in range(len(facts.machine))]
    made = tables.table("Trained on", ["part", *names], rows, shown=True)
    parts.append(made)
  return "\n".join(parts)


def _text(value):
  if isinstance(value, dict):
    return ", ".join(f"{k}: {v}" for k, v in value.items())
  if isinstance(value, list):
    return ", ".join(map(str, value)) or "none"
  return "default" if value is None else str(value)
