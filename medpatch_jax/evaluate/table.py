"""A result of `report.build` as text that reads well at 100 columns."""

WIDTH = 100
NAME = 22
METRICS = {"auroc": "AUROC", "auprc": "AUPRC"}
COLUMN = {"missingness": "miss.", "combined": "comb.", "reduced": "red."}

# The names of the phenotyping benchmark, each told by at most 22 characters.
SHORT = {
  "Acute and unspecified renal failure": "Acute renal failure",
  "Acute cerebrovascular disease": "Acute cerebrovascular",
  "Acute myocardial infarction": "Acute myocardial inf.",
  "Cardiac dysrhythmias": "Cardiac dysrhythmias",
  "Chronic kidney disease": "Chronic kidney disease",
  "Chronic obstructive pulmonary disease and bronchiectasis": "COPD",
  "Complications of surgical procedures or medical care": (
    "Surgical complications"
  ),
  "Conduction disorders": "Conduction disorders",
  "Congestive heart failure; nonhypertensive": "Congestive heart fail.",
  "Coronary atherosclerosis and other heart disease": "Coronary atheroscl.",
  "Diabetes mellitus with complications": "Diabetes, with compl.",
  "Diabetes mellitus without complication": "Diabetes, no compl.",
  "Disorders of lipid metabolism": "Lipid disorders",
  "Essential hypertension": "Essential hypertension",
  "Fluid and electrolyte disorders": "Fluid, electrolytes",
  "Gastrointestinal hemorrhage": "GI hemorrhage",
  "Hypertension with complications and secondary hypertension": (
    "Hypertension, compl."
  ),
  "Other liver diseases": "Other liver diseases",
  "Other lower respiratory disease": "Other lower respir.",
  "Other upper respiratory disease": "Other upper respir.",
  "Pleurisy; pneumothorax; pulmonary collapse": "Pleurisy, pneumothorax",
  "Pneumonia (except that caused by tuberculosis or sexually transmitted"
  " disease)": "Pneumonia",
  "Respiratory failure; insufficiency; arrest (adult)": ("Respiratory failure"),
  "Septicemia (except in labor)": "Septicemia",
  "Shock": "Shock",
}


def shorten(name: str, width: int = NAME) -> str:
  """A label's name in at most `width` characters, cut between words."""
  short = SHORT.get(name, name)
  if len(short) <= width:
    return short
  cut = short[: width - 1]
  if short[width - 1] != " " and " " in cut:
    cut = cut.rsplit(" ", 1)[0]
  return cut.rstrip(" ,;(") + "."


def text(result: dict) -> str:
  """The whole result, one string without a final newline."""
  labels = len(result["labels"])
  stays = _n(result["stays"], "stay")
  lines = [
    f"{result['title']} on {result['split']}: {stays} of"
    f" {_n(result['patients'], 'patient')}, {_n(labels, 'label')}",
    "",
    *_notes(result),
    *_heads(result),
    *_unimodal(result),
    *_patterns(result),
    *_per_label(result),
  ]
  if labels > 1:
    lines += [*_grid(result, "auroc"), *_grid(result, "auprc")]
  return "\n".join(line.rstrip() for line in lines)


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
    yield (
      f"{_n(undefined, 'label')} without both classes here left out of the"
      " means."
    )
  if result["bayes"]:
    yield "Bayes bound: no model can do better on average; gap: how far below it."


def _heads(result):
  yield from _section("Every stay", result)
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


def _unimodal(result):
  if not result["unimodal"]:
    return
  yield from _section("Stays that have the modality", result, "stays")
  for row in result["unimodal"]:
    alone = f"{row['modality'].upper()} alone"
    yield _row(alone, row, row["bayes"], row["stays"])
    yield _row(f"  {result['title']}", row["model"], row["model_bayes"])
    if row["gain"]:
      cells = "".join(f"  {_gain(row['gain'][m]):<34}" for m in METRICS)
      yield f"{'  gain':<28}{cells}"


def _patterns(result):
  title = f"By what the stay has: {result['title']}"
  yield from _section(title, result, "stays")
  for row in result["patterns"]:
    has = [
      m.upper() if m in row["modalities"] else "-" * len(m)
      for m in result["modalities"]
    ]
    yield _row(" ".join(has), row, row["bayes"], row["stays"])


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
  count = f"{count:,}" if isinstance(count, int) else count
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
  return f"{name:<{NAME}}{count:>6}{cells}"


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
  return (
    f"{found['value']:+.3f} ({found['low']:+.3f}, {found['high']:+.3f})"
    f"  p {found['p']:.3f}"
  )


def _value(found):
  if not found or found["value"] is None:
    return "-"
  return f"{found['value']:.3f}"


def _n(count, noun):
  count = f"{count:,}" if isinstance(count, int) else count
  return f"{count} {noun}" + ("" if count == "1" else "s")
