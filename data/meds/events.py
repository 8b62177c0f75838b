"""Rows of the windows -> events: what was measured when, in plain words.

MIMIC's items are cleaned as `--source=mimic` cleans them. Of a variable that
the map defines a row says a number, one of the categories, or nothing.
"""

import numpy as np

from data.meds.rows import listed
from data.mimic.store import unmasked
from medpatch_jax.input import cell, clean

# Samples whose rows of MIMIC's items are cleaned at once.
_CHUNK = 2_000
_FACTS = {
  "rows": "rows_of_mimic_items",
  "text": "texts_that_are_no_number",
  "converted": "values_converted_to_the_unit",
  "clamped": "values_set_to_an_end_of_their_range",
  "outside": "values_out_of_their_range",
  "in": "heights_and_weights_carried_in",
}


def events(meds, censored):
  """Table `events`: row, us, name (of the variable), word, part, place.

  In order of (row, us, part, place) the last one of an hour counts.

  Args:
    meds: `rows.Meds`, with the table `seen`.
    censored: of `series.CENSORED`, for variables that the map defines.
  """
  meds.run(
    "CREATE TABLE events (row BIGINT, us BIGINT, name VARCHAR, word VARCHAR,"
    " part INTEGER, place BIGINT)"
  )
  if meds.map.of("item"):
    _items(meds)
  for i, entry in enumerate(meds.map.entries):
    if entry.use == "variable":
      _variable(meds, i, entry, censored)


def _items(meds):
  """Adds the events of MIMIC's items, a few samples at a time."""
  meds.run(
    "CREATE TABLE cleaned (place BIGINT, row BIGINT, us BIGINT, variable"
    " INTEGER, value DOUBLE)"
  )
  (samples,) = meds.run("SELECT count(*) FROM placed").fetchone()
  place = 0
  for start in range(0, samples, _CHUNK):
    found = _clean(meds, start, start + _CHUNK)
    chunk = {
      "place": place + np.arange(len(found.stay)),
      "row": found.stay,
      "us": found.second * 1_000_000,
      "variable": found.variable,
      "value": found.value,
    }
    place += len(found.stay)
    meds.connection.register("chunk", chunk)
    meds.run("INSERT INTO cleaned SELECT * FROM chunk")
    meds.connection.unregister("chunk")
  words = [
    (i, j, v.name, word)
    for i, v in enumerate(meds.rules.variables)
    for j, word in enumerate(v.classes or [None])
  ]
  meds.run(
    "CREATE TABLE words (variable INTEGER, class INTEGER, name VARCHAR, word"
    " VARCHAR)"
  )
  meds.insert("words", words)
  meds.run(
    "INSERT INTO events SELECT c.row, c.us, w.name, coalesce(w.word,"
    " CAST(c.value AS VARCHAR)), 0, c.place FROM cleaned c JOIN words w ON"
    " c.variable = w.variable AND (w.word IS NULL OR w.class = c.value)"
  )


def _clean(meds, start, stop):
  """`clean.Events` of the samples [start, stop), settled."""
  rules = meds.rules
  variables = rules.variables
  worded = [x for v in variables if v.classes for x in v.items + v.labs]
  carried = [x for v in variables if v.carry for x in v.items + v.labs]
  raw = meds.run(
    "SELECT row, CAST(floor(us / 1000000) AS BIGINT) AS second, item, number,"
    f" CASE WHEN number IS NULL OR item IN {listed(worded)} OR contains(text,"
    " '/') THEN text END AS text FROM seen WHERE item IS NOT NULL AND row >="
    f" {start} AND row < {stop} AND (us >= 0 OR item IN {listed(carried)})"
    " ORDER BY row, shard, row_no"
  ).fetchnumpy()
  raw = {k: unmasked(v) for k, v in raw.items()}
  found, counts = clean.clean(
    *(raw[n].astype(np.int64) for n in ("row", "second", "item")),
    raw["number"].astype(np.float64),
    raw["text"].astype(object),
    variables=variables,
    outliers=rules.outliers,
    units=rules.units,
  )
  # A sample of which nothing else is known is none: what is carried in alone
  # does not make one.
  alive = np.unique(found.stay[found.second >= 0])
  found, moved = clean.settle(
    found,
    variables,
    ties=rules.ties,
    totals=rules.items == "table",
    carry_in=rules.carry_in,
  )
  counts["carried", "in"] += moved
  for (_, what), n in counts.items():
    meds.count(_FACTS[what], n)
  return found[np.flatnonzero(np.isin(found.stay, alive))]


def _variable(meds, i, entry, censored):
  """Adds the events of a variable that the map defines."""
  mine = f"(SELECT * FROM seen WHERE entry = {i})"
  words = entry.fields.get("categories")
  if words:
    # A 1 of a column of floats is the word 1.
    value = (
      "coalesce(text, CASE WHEN given = trunc(given) AND abs(given) < 1e15 THEN"
      " CAST(CAST(given AS BIGINT) AS VARCHAR) ELSE CAST(given AS VARCHAR) END)"
    )
    quoted = ", ".join("?" * len(words.split("|")))
    found = meds.run(
      f"SELECT shard, row_no FROM {mine} WHERE {value} NOT IN ({quoted}) ORDER"
      " BY ALL LIMIT 1",
      words.split("|"),
    ).fetchone()
    if found:
      what = f"is none of the categories of {entry.name}"
      meds.folder.refuse(*found, "text_value", what)
  else:
    number, limit = cell.number_sql("text"), cell.limit_sql("text")
    value = (
      "CASE WHEN fixed THEN text"
      " WHEN number IS NOT NULL THEN CAST(number AS VARCHAR)"
      f" WHEN ({number}) IS NOT NULL THEN"
      f" CAST(({number}) * multiply + plus AS VARCHAR)"
      f" WHEN isfinite({limit}) THEN"
      f" '<' || CAST(({limit}) * multiply + plus AS VARCHAR)"
      f" WHEN ({limit}) IS NOT NULL THEN text END"
    )
    if censored == "refuse":
      meds.refuse(
        mine,
        f"isinf(number) OR number IS NULL AND ({limit}) IS NOT NULL",
        "text_value",
        f"a value of {entry.name} beyond a limit of measurement, as <5; give"
        " --censored=drop or --censored=bound",
      )
    unread = f"SELECT count(text) FROM {mine} WHERE ({value}) IS NULL"
    meds.count(_FACTS["text"], meds.run(unread).fetchone()[0])
  meds.run(
    "INSERT INTO events SELECT row, us, ?, word, 1, row_number() OVER (ORDER BY"
    f" row, us, rank DESC, shard, row_no) FROM (SELECT *, {value} AS word FROM"
    f" {mine}) WHERE word IS NOT NULL",
    [entry.name],
  )
