"""A result of `report.build` as text that reads well at 100 columns."""

import textwrap

from medpatch_jax.evaluate.names import NAME, shorten

WIDTH = 100
SILENT = 0.8  # Coverage that the table shows.
METRICS = {"auroc": "AUROC", "auprc": "AUPRC"}
COLUMN = {"missingness": "miss.", "combined": "comb.", "reduced": "red."}


def text(result: dict) -> str:
  """The whole result, one string without a final newline."""
  labels = len(result["labels"])
  stays = _n(result["stays"], _unit(result))
  lines = [
    f"{result['title']} on {result['split']}: {stays} of"
    f" {_n(result['patients'], 'patient')}, {_n(labels, 'label')}",
    "",
    *_notes(result),
    *_heads(result),
    *_buckets(result),
    *_unimodal(result),
    *_unread(result),
    *_patterns(result),
    *_subgroups(result),
    *_per_label(result),
    *_trust(result),
    *_tokens(result),
  ]
  if labels > 1:
    lines += [*_grid(result, "auroc"), *_grid(result, "auprc")]
  return "\n".join(line.rstrip() for line in lines)


def _unit(result):
  """What a row is: a stay, or an hour of one."""
  return result.get("unit", "stay")


def _notes(result):
  title = result["title"]
  means = "Means over labels, with" if len(result["labels"]) > 1 else "With"
  yield (
    f"{means} 95 % intervals from {result['resamples']:,} resamples of"
    " patients."
  )
  if len(result["heads"]) > 1:
    yield (
      f"{title} is the head '{result['chosen']}', chosen on validation;"
      f" {result['split']} was scored once."
    )
  if undefined := result["model"]["undefined"]:
    few = "" if result["open"] else " in 11 patients each"
    yield (
      f"{_n(undefined, 'label')} without both classes{few} here left out of the"
      " means."
    )
  if not result["open"]:
    yield "Counts are rounded; small ones, and what would tell them, are hidden."
  if result["bayes"]:
    yield "Bayes bound: no model can do better on average; gap: how far below it."


def _heads(result):
  yield from _section(f"Every {_unit(result)}", result)
  for row in result["heads"]:
    name = row["head"]
    if len(result["heads"]) == 1:
      name = result["title"]
    elif name == result["chosen"]:
      name = f"{name} = {result['title']}"
    yield _row(name, row, result["bayes"])
  if best := result["optimistic"]:
    yield _row("best on test (1)", best, result["bayes"])
    yield (
      f"(1) Optimistic: picks its head ({best['head']}) by the test set, as"
      " the released code does."
    )


def _buckets(result):
  """How far the likeliest bucket is off."""
  if not result.get("buckets"):
    return
  yield ""
  yield (
    f"{'Likeliest bucket':<{NAME + 8}}{'kappa (95 % int.)':<28}"
    "hours off (95 % int.)"
  )
  yield "-" * WIDTH
  for row in result["buckets"]:
    off = row["deviation"]
    hours = "    -" if off is None else "{value:.1f} ({low:.1f}, {high:.1f})"
    yield (
      f"{row['head']:<{NAME + 8}}{_interval(row['kappa']):<28}"
      + hours.format(**(off or {}))
    )
  yield "kappa: Cohen's, linear weights. Hours off: mean absolute deviation."


def _unimodal(result):
  if not result["unimodal"]:
    return
  units = f"{_unit(result)}s"
  yield from _section(f"{units.title()} that have the modality", result, units)
  for row in result["unimodal"]:
    alone = f"{row['modality'].upper()} alone"
    yield _row(alone, row, row["bayes"], row["stays"])
    yield _row(f"  {result['title']}", row["model"], row["model_bayes"])
    if row["gain"]:
      cells = "".join(f"  {_gain(row['gain'][m]):<34}" for m in METRICS)
      yield f"{'  gain':<28}{cells}"


def _unread(result):
  """What is past the windows that are read of notes, if anything is."""
  rows = [row for row in result.get("unread", ()) if row["stays"] != 0]
  if not rows:
    return
  units = f"{_unit(result)}s"
  title = f"{units.title()} with notes not read whole"
  yield ""
  yield f"{title:<{NAME + 12}}{units:>8}{'windows read':>16}{'not read, all':>16}"
  yield "-" * WIDTH
  for row in rows:
    cells = (_count(row[n]) for n in ("stays", "read", "windows"))
    stays, read, left = cells
    name = row["modality"].upper()
    yield f"{name:<{NAME + 12}}{stays:>8}{read:>16}{left:>16}"


def _patterns(result):
  if not result["bayes"]:
    return  # Without the bound `_subgroups` shows all there is.
  title = f"By what the stay has: {result['title']}"
  yield from _section(title, result, f"{_unit(result)}s")
  for row in result["patterns"]:
    yield _row(_has(result, row), row, row["bayes"], row["stays"])


def _has(result, row):
  """A pattern of presence: EHR --- RR DN."""
  if row["modalities"] is None:
    return row["group"]
  return " ".join(
    m.upper() if m in row["modalities"] else "-" * len(m)
    for m in result["modalities"]
  )


def _subgroups(result):
  presence = [row | {"group": _has(result, row)} for row in result["patterns"]]
  divided = {"what it has": presence}
  divided |= {d["by"]: d["groups"] for d in result["subgroups"]}
  divided = {name: rows for name, rows in divided.items() if len(rows) > 1}
  if not divided:
    return
  yield ""
  yield f"By group: {result['title']}"
  units = f"{_unit(result)}s"
  head = f"{'':<{NAME}}{units:>6}  {'AUROC (95 % int.)':<22}"
  yield f"{head}{'minus the largest group':<27}AUPRC (95 % int.)"
  yield "-" * WIDTH
  marked = False
  for name, rows in divided.items():
    yield shorten(name, WIDTH)
    for row in rows:
      gap = row["gap"] and row["gap"]["auroc"]
      moved = ""
      if gap and gap["value"] is not None:
        sure = gap["holm"] is not None and gap["holm"] < 0.05
        marked |= sure
        moved = _signed(gap) + (" *" if sure else "")
      group = shorten(row["group"], NAME - 2)
      if rows is presence and len(row["group"]) > NAME - 2:
        # Two patterns may differ in their last word alone.
        yield f"  {row['group']}"
        group = ""
      yield (
        f"  {group:<{NAME - 2}}{_count(row['stays']):>6}"
        f"  {_interval(row['auroc']):<22}{moved:<27}{_interval(row['auprc'])}"
      )
  if marked:
    yield "*: not 0, with p < 0.05 after one correction (as Holm's) over all groups."


def _per_label(result):
  title = f"By label: {result['title']}"
  yield from _section(title, result, "cases")
  scored = result["model"]["per_label"]
  bounds = (result["bayes"] or {}).get("per_label")
  for i, label in enumerate(result["labels"]):
    yield _row(
      shorten(label),
      scored[i] if scored else None,
      bounds[i] if bounds else None,
      result["per_label"][i]["positives"],
    )


def _trust(result):
  """Calibration, and what is gained by staying silent when unsure."""
  if not (found := result["calibration"]):
    return
  selective = result["selective"]
  at = selective["coverage"].index(SILENT)
  fifth = f"{100 * SILENT:.0f} %"
  yield ""
  yield f"Can its probabilities be acted on? {result['title']}"
  yield (
    f"{'':<{NAME + 24}}{'':<8}{'mean':>7}{'share':>8}"
    f"{'wrong at 0.5':>15}{'cases missed':>15}"
  )
  yield (
    f"{'':<{NAME}}  {'Brier (95 % int.)':<22}{'ECE':>8}{'p':>7}"
    f"{'of cases':>10}{'all':>7}{fifth:>7}{'all':>8}{fifth:>7}"
  )
  yield "-" * WIDTH

  def line(name, row, risk, missed):
    cells = [_number(row.get(key)) for key in ("ece", "predicted", "observed")]
    cells += [_number(values[k]) for values in (risk, missed) for k in (0, at)]
    widths = (8, 7, 10, 7, 7, 8, 7)
    return f"{name:<{NAME}}  {_interval(row['brier']):<22}" + "".join(
      f"{cell:>{width}}" for cell, width in zip(cells, widths)
    )

  nothing = [None] * len(selective["coverage"])
  for name, row, kept in zip(
    result["labels"], found["per_label"], selective["per_label"]
  ):
    yield line(shorten(name), row, kept["risk"], kept["missed"])
  if len(result["labels"]) > 1:
    yield "-" * WIDTH
    yield line("mean", found, nothing, nothing)
  yield (
    f"{fifth}: only the most confident {_unit(result)}s of each label. ECE: expected"
    " calibration error."
  )
  if failed := selective["failures"]:
    names = [shorten(result["labels"][c]) for c in failed]
    yield (
      "Silence on the rest makes fewer errors but misses no smaller share of"
      f" cases in {_n(len(failed), 'label')}:"
    )
    yield from textwrap.wrap(
      "; ".join(names), WIDTH, initial_indent="  ", subsequent_indent="  "
    )


def _tokens(result):
  """What the temperatures did to the confidence of tokens."""
  if not (found := result.get("token_calibration")):
    return
  splits = ("validation", "test")
  yield ""
  yield f"{'Token calibration error':<{NAME + 8}}" + "".join(
    f"{split:<26}" for split in splits
  )
  yield " " * (NAME + 8) + f"{'before':<10}{'after':<16}" * len(splits)
  yield "-" * WIDTH
  for row in found:
    cells = [
      f"{_number(row[split]['before']):<10}{_number(row[split]['after']):<16}"
      for split in splits
    ]
    yield f"{row['modality'].upper():<{NAME + 8}}" + "".join(cells)
  mean = "" if len(result["labels"]) == 1 else ", mean over labels"
  yield f"Expected calibration error of all real tokens{mean}, before and after"
  yield "their temperatures, which are fitted on validation."


def _grid(result, metric):
  """One metric, labels down and models across."""
  heads = [(row["head"], row) for row in result["heads"]]
  names = {name for name, _ in heads}
  columns = [
    (row["modality"], row)
    for row in result["unimodal"]
    if row["modality"] not in names
  ]
  columns += heads
  if result["bayes"]:
    columns.append(("bayes", result["bayes"]))
  columns = [(name, row) for name, row in columns if row["per_label"]]
  if len(columns) < 2:
    return
  width = min(9, (WIDTH - NAME) // len(columns))
  names = [COLUMN.get(name, name)[: width - 1] for name, _ in columns]
  yield ""
  yield (
    METRICS[metric]
    + ", every model"
    + (
      " (a modality alone: on the stays that have it)"
      if result["unimodal"]
      else ""
    )
  )
  yield " " * NAME + "".join(f"{name:>{width}}" for name in names)
  yield "-" * (NAME + width * len(columns))
  for i, label in enumerate(result["labels"]):
    cells = (_value(row["per_label"][i][metric]) for _, row in columns)
    yield _line(shorten(label), cells, width)
  yield "-" * (NAME + width * len(columns))
  yield _line("mean", (_value(row[metric]) for _, row in columns), width)


def _section(title, result, count=""):
  """A heading, the names of the columns and a rule."""
  yield ""
  head = f"{title:<{NAME}}"
  cells = []
  for name in METRICS.values():
    cell = f"{name} (95 % int.)"
    cells.append(f"{cell:<20}" + ("  Bayes    gap" if result["bayes"] else ""))
  if len(title) > NAME:
    yield title
    head = " " * NAME
  yield f"{head}{count:>6}" + "".join(f"  {c:<34}" for c in cells)
  yield "-" * WIDTH


def _row(name, row, bound, count=""):
  """A name, a count, and each metric with its interval, bound and gap."""
  cells = ""
  for metric in METRICS:
    got = row and row[metric]
    cell = f"{_interval(got):<20}"
    if bound and got and bound[metric]:
      best = bound[metric]["value"]
      if best is not None and got["value"] is not None:
        gap = round(best - got["value"], 3) + 0.0  # Never -0.000.
        cell += f"  {best:.3f} {gap:6.3f}"
    cells += f"  {cell:<34}"
  return f"{name:<{NAME}}{_count(count):>6}{cells}"


def _line(name, cells, width):
  return f"{name:<{NAME}}" + "".join(f"{cell:>{width}}" for cell in cells)


def _interval(found):
  if not found or found["value"] is None:
    return "    -"
  if found["low"] is None:
    return f"{found['value']:.3f}"
  return f"{found['value']:.3f} ({found['low']:.3f}, {found['high']:.3f})"


def _gain(found):
  if found["value"] is None:
    return ""
  return f"{_signed(found)}  p {found['p']:.3f}"


def _signed(found):
  return f"{found['value']:+.3f} ({found['low']:+.3f}, {found['high']:+.3f})"


def _value(found):
  return _number(found and found["value"])


def _number(value):
  return "-" if value is None else f"{value:.3f}"


def _count(count):
  return f"{count:,}" if isinstance(count, int) else count


def _n(count, noun):
  count = _count(count)
  return f"{count} {noun}" + ("" if count == "1" else "s")
