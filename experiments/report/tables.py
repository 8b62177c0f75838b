"""Tables of a page, and every word of others on it, escaped."""

import html

from medpatch_jax.evaluate.names import shorten

METRICS = {"auroc": "AUROC", "auprc": "AUPRC"}


def words(value) -> str:
  """Any value as text that a page shows and never interprets."""
  return html.escape(str(value), quote=True)


def cell(value) -> str:
  """A cell of numbers: three decimals, or words; what it sorts by beside."""
  if value is None:
    return '<td data-v="">–</td>'
  if isinstance(value, dict):
    number = value.get("value")
    if number is None:
      return cell(None)
    low, high = value.get("low"), value.get("high")
    more = "" if low is None else f" <small>({low:.3f}, {high:.3f})</small>"
    return f'<td data-v="{number}">{number:.3f}{more}</td>'
  if isinstance(value, bool) or not isinstance(value, (int, float)):
    return f"<td>{words(value)}</td>"
  text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
  return f'<td data-v="{value}">{text}</td>'


def table(caption: str, head, rows, total: int = 0, shown: bool = False) -> str:
  """A table that sorts and filters.

  Args:
    caption: its name.
    head: names of the columns; the first is of the rows' names.
    rows: lists of values for `cell`.
    total: the last rows that stay last.
    shown: whether the caption is to be seen, not only read out.
  """
  top = "".join(f'<th scope="col">{words(name)}</th>' for name in head)
  lines = []
  for i, row in enumerate(rows):
    kind = ' class="total"' if i >= len(rows) - total else ""
    first = f'<th scope="row">{words(row[0])}</th>'
    lines.append(f"<tr{kind}>{first}{''.join(map(cell, row[1:]))}</tr>")
  hidden = "" if shown else ' class="unseen"'
  return (
    f'<div class="scroll" tabindex="0" role="region"'
    f' aria-label="{words(caption)}"><table class="sorts">'
    f"<caption{hidden}>{words(caption)}</caption><thead><tr>{top}</tr></thead>"
    f"<tbody>\n{chr(10).join(lines)}</tbody></table></div>"
  )


def of_result(result: dict) -> list[str]:
  """The result's tables: models, labels, presence and groups."""
  bound = bool(result["bayes"])
  unit = f"{result.get('unit', 'stay')}s"
  top = [unit]
  for name in METRICS.values():
    top += [f"{name} (95 % interval)"]
    top += ["Bayes bound", "gap"] if bound else []
  made = [
    table("Models", ["model", *top], list(_models(result)), shown=True),
    table(
      "Labels",
      ["label", "cases", *top[1:]],
      [
        *_labels(result),
        ["mean", None, *_scores(result["model"], result["bayes"])],
      ],
      total=1,
      shown=True,
    ),
  ]
  groups = list(_groups(result))
  if groups:
    head = ["group", "of", *top, "minus the largest group", "p, corrected"]
    made.append(table("Groups", head, groups, shown=True))
  return made


def _scores(row, bound) -> list:
  """Each metric, and its bound and the gap where there is a bound."""
  out = []
  for metric in METRICS:
    got = row and row[metric]
    out.append(got)
    if bound is None:
      continue
    best = bound[metric] and bound[metric]["value"]
    value = got and got["value"]
    gap = None if None in (best, value) else best - value
    out += [best, gap]
  return out


def _models(result):
  empty = {"auroc": None, "auprc": None}
  for row in result["heads"]:
    name = row["head"]
    if name == result["chosen"]:
      name = f"{name} = {result['title']}"
    yield [name, row["stays"], *_scores(row, result["bayes"])]
  for row in result["unimodal"]:
    bound = (row["bayes"] or empty) if result["bayes"] else None
    name = row["modality"].upper()
    yield [f"{name} alone", row["stays"], *_scores(row, bound)]
    bound = (row["model_bayes"] or empty) if result["bayes"] else None
    scores = _scores(row["model"], bound)
    yield [f"{result['title']}, stays with {name}", row["stays"], *scores]


def _labels(result):
  scored = result["model"]["per_label"]
  bounds = (result["bayes"] or {}).get("per_label")
  for c, name in enumerate(result["labels"]):
    bound = bounds[c] if bounds else None
    if result["bayes"] and bound is None:
      bound = {"auroc": None, "auprc": None}
    yield [
      shorten(name),
      result["per_label"][c]["positives"],
      *_scores(scored and scored[c], bound),
    ]


def _groups(result):
  empty = {"auroc": None, "auprc": None}
  names = result["modalities"]
  for row in result["patterns"]:
    group = row["group"]
    if row["modalities"] is not None:
      group = " + ".join(m.upper() for m in names if m in row["modalities"])
    bound = (row["bayes"] or empty) if result["bayes"] else None
    scores = _scores(row, bound)
    yield [group, "what the stay has", row["stays"], *scores, *_gap(row)]
  for part in result["subgroups"]:
    for row in part["groups"]:
      scores = _scores(row, empty if result["bayes"] else None)
      yield [row["group"], part["by"], row["stays"], *scores, *_gap(row)]


def _gap(row):
  gap = row["gap"] and row["gap"]["auroc"]
  if not gap or gap["value"] is None:
    return [None, None]
  return [gap, gap.get("holm")]
