"""Rows of the variables, and of items nobody uses, as tables of MIMIC-IV.

Dims: R rows of a table.
"""

import numpy as np
import pyarrow as pa

from data.synthetic import items, people, vitals

LAB_ROWS_PER_STAY = 300


def render(rng, rows):
  """Value text, number and unit of each row.

  Returns:
    (value string[R], valuenum f64[R], unit string[R]) as pyarrow arrays, null
    where empty.
  """
  table = items.ITEMS
  number = np.array([[i.scale, i.shift, i.decimals] for i in table])[rows.item]
  scale, shift, decimals = number.T
  variable = np.array([i.variable for i in table])[rows.item]
  other = rows.form == vitals.OTHER_UNIT
  fraction = other & (variable == "fio2")
  scale = np.where(fraction, 1.0, scale)
  scale = np.where(other & (variable == "saturation"), 0.01, scale)
  decimals = np.where(other & (variable != "temperature"), 2, decimals)
  fahrenheit = other & (variable == "temperature")
  scale = np.where(fahrenheit, 1.8, scale)
  shift = np.where(fahrenheit, 32.0, shift)
  unit = 10.0**decimals
  valuenum = np.rint((rows.value * scale + shift) * unit) / unit
  value = np.array(pa.array(valuenum).cast(pa.string()), dtype=object)

  missing = np.isin(rows.form, (vitals.TEXT_ERROR, vitals.PAIR))
  value[rows.form == vitals.TEXT_ERROR] = "ERROR"
  for i in np.flatnonzero(rows.form == vitals.PAIR):
    pair = rows.value[i], rows.other[i]
    high, low = pair if variable[i] == "systolic" else pair[::-1]
    value[i] = f"{high:.0f}/{low:.0f}"
  for name, spellings in items.SPELLINGS.items():
    for score, texts in spellings.items():
      mine = np.flatnonzero((variable == name) & (rows.value == score))
      pick = rng.integers(0, len(texts), len(mine))
      value[mine] = np.array(texts, dtype=object)[pick]
    if name == "capillary_refill":
      missing |= variable == name
  units = np.array([i.unit or None for i in table], dtype=object)[rows.item]
  return (
    pa.array(value, pa.string()),
    pa.array(valuenum, mask=missing),
    pa.array(units, pa.string()),
  )


def _is_lab(rows):
  return np.array([i.lab for i in items.ITEMS])[rows.item]


def unused(rng, folk, density):
  """Rows of items the project does not use: stay, time, value, number, item.

  Returns:
    Dict of arrays with R rows; value and unit are pyarrow string arrays.
  """
  writer = vitals.Writer(rng, folk)
  share = 1 - vitals.USED_SHARE
  rate = density * vitals.ROWS_PER_STAY * share * folk.hours / vitals.MEAN_HOURS
  stay = np.repeat(np.arange(len(rate)), rng.poisson(rate * writer.used))
  texts, start, count, low = [], [], [], []
  for _, _, _, charted in items.UNUSED:
    numeric = isinstance(charted[0], int)
    start.append(len(texts))
    values = range(charted[0], charted[1] + 1) if numeric else charted
    texts += [str(v) for v in values]
    count.append(len(values))
    low.append(charted[0] if numeric else np.nan)
  pick = rng.integers(0, len(items.UNUSED), len(stay))
  offset = (rng.random(len(stay)) * np.array(count)[pick]).astype(int)
  number = np.array(low)[pick] + offset
  text = pa.DictionaryArray.from_arrays(np.array(start)[pick] + offset, texts)
  return {
    "stay": stay,
    "time": writer.any_time(stay),
    "itemid": np.array([u[0] for u in items.UNUSED])[pick],
    "value": text.cast(pa.string()),
    "valuenum": pa.array(number, mask=np.isnan(number)),
  }


def chartevents(rng, folk, rows, density):
  """Table of chartevents (with caregiver_id) in order of stay and time."""
  rows = rows.take(~_is_lab(rows))
  value, valuenum, unit = render(rng, rows)
  more = unused(rng, folk, density)
  itemid = np.array([i.itemid for i in items.ITEMS])[rows.item]
  stay = np.concatenate([rows.stay, more["stay"]])
  time = np.concatenate([rows.time, more["time"]])
  itemid = np.concatenate([itemid, more["itemid"]])
  blank = pa.nulls(len(more["stay"]), pa.string())
  order = np.lexsort((itemid, time, stay))
  n = len(order)
  stored = time + rng.integers(0, 90, n) * 60
  table = pa.table(
    {
      "subject_id": folk.subject_id[folk.of_subject_n][stay],
      "hadm_id": folk.hadm_id[folk.of_admission][stay],
      "stay_id": folk.stay_id[stay],
      "caregiver_id": rng.integers(1000, 99999, n),
      "charttime": stamps(time),
      "storetime": stamps(stored),
      "itemid": itemid,
      "value": pa.concat_arrays([value, more["value"]]),
      "valuenum": pa.concat_arrays([valuenum, more["valuenum"]]),
      "valueuom": pa.concat_arrays([unit, blank]),
      "warning": (rng.random(n) < 0.02).astype(np.int8),
    }
  )
  return table.take(order)


def stamps(seconds):
  """pyarrow timestamps of i64[R] seconds; negative is null."""
  seconds = np.asarray(seconds)
  return pa.array(seconds.astype("datetime64[s]"), mask=seconds < 0)


def other_labs(rng, folk, density):
  """Laboratory rows of no variable, in stays and outside them (outpatients).

  Returns:
    Dict of arrays: subject (row), admission (row or -1), time, item (row of
    OTHER_LABS), value.
  """
  writer = vitals.Writer(rng, folk)
  rate = density * LAB_ROWS_PER_STAY * folk.hours / vitals.MEAN_HOURS
  stay = np.repeat(np.arange(len(rate)), rng.poisson(rate * writer.used))
  admission = folk.of_admission[stay]
  time = writer.any_time(stay)
  # Outpatients': weeks before an admission, so inside no stay.
  away = np.repeat(
    np.arange(len(folk.hadm_id)), rng.poisson(3, len(folk.hadm_id))
  )
  days = rng.integers(7, 50, len(away))
  time = np.concatenate([time, folk.admit[away] - days * people.DAY])
  subject = folk.of_subject[np.concatenate([admission, away])]
  admission = np.concatenate([admission, np.full(len(away), -1)])
  item = rng.integers(0, len(items.OTHER_LABS), len(time))
  low, high = np.array([lab[5] for lab in items.OTHER_LABS]).T
  value = low[item] + (rng.random(len(time)) * (high - low + 1)[item]).astype(
    int
  )
  return {
    "subject": subject,
    "admission": admission,
    "time": time,
    "item": item,
    "value": value,
  }


def labevents(rng, folk, rows, density, first_id):
  """Table of labevents (with order_provider_id); half lack a hadm_id."""
  rows = rows.take(_is_lab(rows))
  value, valuenum, unit = render(rng, rows)
  more = other_labs(rng, folk, density)
  number = more["value"].astype(np.float64)
  subject = np.concatenate([folk.of_subject_n[rows.stay], more["subject"]])
  admission = np.concatenate([folk.of_admission[rows.stay], more["admission"]])
  time = np.concatenate([rows.time, more["time"]])
  itemid = np.concatenate(
    [
      np.array([i.itemid for i in items.ITEMS])[rows.item],
      np.array([lab[0] for lab in items.OTHER_LABS])[more["item"]],
    ]
  )
  units = np.array([lab[4] for lab in items.OTHER_LABS], dtype=object)
  order = np.lexsort((itemid, time, subject))
  n = len(order)
  nameless = (admission < 0) | (rng.random(n) < 0.4)
  blank = pa.nulls(n, pa.float64())
  table = pa.table(
    {
      "subject_id": folk.subject_id[subject],
      "hadm_id": pa.array(folk.hadm_id[admission], mask=nameless),
      "specimen_id": rng.integers(1, 99_999_999, n),
      "itemid": itemid,
      "order_provider_id": providers(rng, n, rng.random(n) < 0.8),
      "charttime": stamps(time),
      "storetime": stamps(time + rng.integers(2, 120, n) * 60),
      "value": pa.concat_arrays([value, pa.array(number).cast(pa.string())]),
      "valuenum": pa.concat_arrays([valuenum, pa.array(number)]),
      "valueuom": pa.concat_arrays(
        [unit, pa.array(units[more["item"]], pa.string())]
      ),
      "ref_range_lower": blank,
      "ref_range_upper": blank,
      "flag": pa.array(np.where(rng.random(n) < 0.4, "abnormal", None)),
      "priority": pa.array(np.where(rng.random(n) < 0.6, "ROUTINE", "STAT")),
      "comments": pa.nulls(n, pa.string()),
    }
  ).take(order)
  return table.add_column(0, "labevent_id", pa.array(first_id + np.arange(n)))


def providers(rng, n, missing=None):
  """Provider ids string[n] such as P03YMR, null where `missing` bool[n]."""
  letters = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"), object)
  text = np.full(n, "P", dtype=object)
  for _ in range(5):
    text = text + letters[rng.integers(0, 36, n)]
  return pa.array(text, pa.string(), mask=missing)


def outputevents(rng, folk, density):
  """Table of outputevents (urine), which the records do not use."""
  writer = vitals.Writer(rng, folk)
  rate = density * 60 * folk.hours / vitals.MEAN_HOURS * writer.used
  stay = np.repeat(np.arange(len(rate)), rng.poisson(rate))
  time = writer.any_time(stay)
  order = np.lexsort((time, stay))
  stay, time = stay[order], time[order]
  n = len(stay)
  return pa.table(
    {
      "subject_id": folk.subject_id[folk.of_subject_n][stay],
      "hadm_id": folk.hadm_id[folk.of_admission][stay],
      "stay_id": folk.stay_id[stay],
      "caregiver_id": rng.integers(1000, 99999, n),
      "charttime": stamps(time),
      "storetime": stamps(time + 600),
      "itemid": rng.choice([226559, 226560, 226584], n),
      "value": rng.integers(1, 40, n) * 10,
      "valueuom": pa.array(np.full(n, "ml", dtype=object), pa.string()),
    }
  )
