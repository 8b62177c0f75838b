"""When a radiology report is shown: from its storetime, or its charttime."""

import json

import pytest

from data.mimic import quality, rules, sources
from medpatch_jax.evaluate import disclosure
from tests import mimic_raw
from tests.test_mimic import read

RADIOLOGY = "mimic-iv-note/note/radiology"
# Of subject 1, in the unit from the first, 10:00, for 60 hours: charttime,
# storetime, hour of each.
REPORTS = {
  "Read at once.": ("01 11:00", "01 11:00", 1, 1),
  "Read in the same hour.": ("01 11:10", "01 11:40", 7 / 6, 5 / 3),
  "Read a day later.": ("01 16:00", "03 02:00", 6, 40),
  "Read after the stay.": ("03 20:00", "04 10:00", 58, None),
  "Never stored.": ("01 20:00", None, 10, 10),
  "Stored before.": ("01 21:00", "01 20:00", 11, 11),
  "Stored in no year.": ("01 22:00", "9999", 12, 12),
  "Of a study before.": ("01 09:00", "01 12:00", None, None),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  tables = mimic_raw.rows()
  tables[RADIOLOGY] = [
    ["", 1, 101, "RR", seq, f"2150-01-{charted}:00", _stored(stored), text]
    for seq, (text, (charted, stored, *_)) in enumerate(REPORTS.items())
  ]
  # Subject 6 has one report, stored when the patient had left.
  tables[RADIOLOGY].append(
    ["", 6, 106, "RR", 1, "2150-01-05 01:00:00", "2150-01-09 00:00:00", "Lost."]
  )
  return mimic_raw.write(tmp_path_factory.mktemp("raw"), tables)


def _stored(time):
  if time is None:
    return ""
  return "9999-01-01 00:00:00" if time == "9999" else f"2150-01-{time}:00"


@pytest.mark.parametrize("task", ["decompensation", "phenotyping"])
@pytest.mark.parametrize("kind", ["store", "chart"])
def test_reports_are_shown_from(kind, task, raw, tmp_path):
  chosen = rules.Rules(report_time=kind)
  path = mimic_raw.build(raw, tmp_path, task, rules=chosen)
  stays, _ = read(path)
  place = 3 if kind == "store" else 2
  wanted = [
    (times[place], text)
    for text, times in REPORTS.items()
    if times[place] is not None
  ]
  wanted.sort(key=lambda pair: pair[0])
  assert stays[1]["rr_hours"] == pytest.approx([h for h, _ in wanted])
  assert stays[1]["rr"].decode() == "\n\n".join(t for _, t in wanted)
  assert stays[6]["present"][2] == (kind == "chart")
  quality = json.loads((path / "quality.json").read_text())
  assert quality["reports"] == {
    "shown_from": {"store": "storetime", "chart": "charttime"}[kind],
    "charted_in_the_window": "<11",
    **dict.fromkeys(
      (
        "stored_in_a_later_hour",
        "stored_after_the_window",
        "without_a_storetime",
        "stays",
        "stays_without_one_by_storetime",
      ),
      "<11",
    ),
  }
  results = {c["check"]: c["result"] for c in quality["checks"]}
  said = results["no report before it was stored"]
  assert said == "ok" if kind == "store" else "--report_time=chart" in said
  page = (path / "quality.html").read_text()
  assert f"shown from their {quality['reports']['shown_from']}" in page


def test_the_effect_is_counted(raw, tmp_path, monkeypatch):
  """The quality report hides counts as small as these."""
  counts, original = [], sources.reports

  def reports(*args):
    counts.append(original(*args))
    return counts[-1]

  monkeypatch.setattr(sources, "reports", reports)
  mimic_raw.build(raw, tmp_path, "decompensation")
  names = "charted unstored later gone stays stays_without after".split()
  assert counts == [dict(zip(names, (8, 2, 3, 2, 2, 1, 0)))]


@pytest.mark.parametrize("later, shown", [(0, 0), (3, "<11"), (12, "~20")])
def test_the_quality_report_gives_no_few_away(later, shown):
  reports = dict.fromkeys(("gone", "unstored", "stays_without", "after"), 0)
  reports |= {"charted": 100, "stays": 50, "later": later}
  found = quality._reports(reports, rules.Rules(), disclosure.SECRET)
  assert found["charted_in_the_window"] == 100
  assert found["stored_in_a_later_hour"] == shown
