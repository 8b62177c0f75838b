"""The data quality report: worked numbers, leaks, what must not show."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from data import build, page, splits
from data.mimic import cohort as cohort_lib
from data.mimic import quality, rules
from data.tally import Tally
from medpatch_jax.evaluate import look
from medpatch_jax.input import discretise, variables
from tests.test_mimic import examples

NAMES = [v.name for v in variables.VARIABLES]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
  """A twin's phenotyping set: path and the report."""
  path = build.build(
    source="synthetic",
    task="phenotyping",
    subjects=120,
    data_dir=tmp_path_factory.mktemp("out"),
    quiet=True,
  )
  return path, json.loads((path / "quality.json").read_text())


def _measured(examples, name):
  """-> (values of each patient who has one, hours carried, hours)."""
  i = NAMES.index(name)
  column = variables.starts()[i]
  values, carried, hours = {}, 0, 0
  for e in examples:
    mask = e["ehr"][:, 59 + i] == 1
    if mask.any():
      values.setdefault(e["subject_id"], []).extend(e["ehr"][mask, column])
    hours += len(mask)
    seen = False
    for measured in mask:
      carried += seen and not measured
      seen = seen or measured
  return list(values.values()), carried, hours


@pytest.mark.parametrize("name", ["Heart rate", "Weight", "pH"])
def test_variables_are_what_the_records_hold(built, name):
  """Counted here hour by hour, there on whole files."""
  path, report = built
  found = [e for e in examples(path) if e["split"] == "train"]
  values, carried, hours = _measured(found, name)
  entry = report["variables"][name]["train"]
  least, greatest = (sorted(f(v) for v in values) for f in (min, max))
  values = np.concatenate(values).astype(np.float64)
  assert entry["measured"] == round(100 * len(values) / hours, 1)
  assert entry["carried"] == round(100 * carried / hours, 1)
  assert entry["low"] == pytest.approx(least[10], abs=0.5)
  assert entry["high"] == pytest.approx(greatest[-11], abs=0.5)
  assert entry["mean"] == pytest.approx(np.mean(values), rel=1e-2)


def test_presence_by_hour(built):
  path, report = built
  found = [e for e in examples(path) if e["split"] == "train"]
  curve = report["presence_by_hour"]["train"]
  assert len(curve["hours"]) == len(curve["rr"]) == 168
  for hour in (0, 10, 100):
    there = sum(
      len(e["rr_hours"]) > 0 and e["rr_hours"].min() < hour + 1 for e in found
    )
    assert abs(curve["rr"][hour] - 100 * there / len(found)) <= (
      100 * 5.5 / len(found) + 0.06
    )
    last = [e["ehr"] for e in found if len(e["ehr"]) > hour]
    if len(last) >= 11:
      any_ = sum(grid[hour, 59:].any() for grid in last)
      assert abs(curve["ehr"][hour] - 100 * any_ / len(last)) <= (
        100 * 5.5 / len(last) + 0.06
      )
  assert curve["rr"] == sorted(curve["rr"])
  assert curve["cxr"] == sorted(curve["cxr"])


def test_checks_of_a_sound_set(built):
  _, report = built
  results = {c["check"]: c["result"] for c in report["checks"]}
  assert results.pop("no discharge note").startswith("present")
  assert set(results.values()) == {"ok"} and len(results) == 5
  assert report["deaths"]["differ"] == 0


def _example(**changes):
  grid, _ = discretise.discretise(
    *(np.zeros(0, np.int64) for _ in range(4)), np.array([48.0])
  )
  example = {
    "subject_id": 7,
    "ehr": grid,
    "cxr": b"",
    "rr": "",
    "dn": "",
    "present": np.array([True, False, False, False]),
    "label": np.zeros(1, np.float32),
    "age": 50.0,
    "gender": "F",
    "ethnicity": "other",
    "cxr_hour": np.float32(np.nan),
    "rr_hours": np.zeros(0, np.float32),
    "dn_hour": np.float32(np.nan),
  }
  return example | changes


LEAKS = {
  "hour of a series": {"ehr": np.zeros((49, 76), np.float32)},
  "film after": {"cxr_hour": np.float32(48.01)},
  "film before": {"cxr_hour": np.float32(-0.01)},
  "report after": {"rr_hours": np.array([3, 48.01], np.float32)},
  "report before": {"rr_hours": np.array([-0.01, 3], np.float32)},
  "note": {"dn": "Died.", "dn_hour": np.float32(60)},
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_ends_the_build(name):
  tally = Tally(variables.VARIABLES, 1)
  edges = {
    "cxr_hour": np.float32(48),
    "rr_hours": np.array([0, 48], np.float32),
  }
  tally.extend("train", [_example(**edges)], [48.0])
  task = "in_hospital_mortality"
  assert {c["result"] for c in quality.checks(task, tally, rules.Rules())} == {
    "ok"
  }
  tally.extend("test", [_example(subject_id=8, **LEAKS[name])], [48.0])
  with pytest.raises(quality.Leak, match=name.split()[0]):
    quality.checks(task, tally, rules.Rules())


def test_a_subject_in_two_splits_ends_the_build():
  tally = Tally(variables.VARIABLES, 1)
  for split in ("train", "test"):
    tally.extend(split, [_example()], [48.0])
  with pytest.raises(quality.Leak, match="no subject in two splits"):
    quality.checks("in_hospital_mortality", tally, rules.Rules())


def test_reports_of_the_whole_admission_are_named_as_chosen():
  tally = Tally(variables.VARIABLES, 25)
  late = _example(
    rr_hours=np.array([90.0], np.float32), label=np.zeros(25, np.float32)
  )
  tally.extend("train", [late], [48.0])
  chosen = rules.Rules(radiology_window="admission")
  found = quality.checks("phenotyping", tally, chosen)
  assert any("--radiology_window" in c["result"] for c in found)
  with pytest.raises(quality.Leak):
    quality.checks("phenotyping", tally, rules.Rules())


def test_parts_add_up_to_the_whole_whatever_they_are(built):
  """A tally of all records and the sum of those of their parts, bit by bit."""
  path, _ = built
  found = [e for e in examples(path) if e["split"] == "train"]
  for e in found:
    e |= {n: e[n].decode() for n in ("rr", "dn", "gender", "ethnicity")}
  whole, total = (Tally(variables.VARIABLES, 25) for _ in range(2))
  for start in range(0, len(found), 7):
    part = found[start : start + 7]
    window = [float(len(e["ehr"])) for e in part]
    whole.extend("train", part, window)
    single = Tally(variables.VARIABLES, 25)
    single.extend("train", part, window)
    text = json.dumps(single.state())
    total.merge(Tally(variables.VARIABLES, 25).set(json.loads(text)))
  assert json.dumps(total.state()) == json.dumps(whole.state())


class _Page(HTMLParser):
  """Collects the tags of a page and checks that they close."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags = [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    if tag != "meta":
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def test_page_is_whole_and_loads_nothing(built):
  path, report = built
  text = (path / "quality.html").read_text("utf-8")
  found = _Page(text)
  assert not found.open
  assert not {t for t, _ in found.tags} & {"script", "link", "img", "iframe"}
  assert not any("src" in a or "href" in a for _, a in found.tags)
  assert not re.search(r"https?:|url\(", text)
  for name in NAMES:
    assert name in text
  ids = {str(e[k]) for e in examples(path) for k in ("stay_id", "subject_id")}
  for name in ("quality.html", "quality.json", "report.txt", "report.json"):
    numbers = set(re.findall(r"\d+", (path / name).read_text("utf-8")))
    assert not numbers & ids


def test_small_counts_show_nowhere():
  """Three stays a split: no count of theirs is on the page."""
  tally = Tally(variables.VARIABLES, 1)
  for split in splits.SPLITS:
    for subject in range(3):
      number = subject + 10 * splits.SPLITS.index(split)
      film = {"cxr_hour": np.float32(2)}
      tally.extend(split, [_example(subject_id=number, **film)], [48.0])
  people = cohort_lib.Cohort(
    *[None] * 9, filters=[], remarks=[], facts={}, deaths=[[7, 1], [0, 1]]
  )
  report = quality.collect(
    task="in_hospital_mortality",
    release="x",
    cohort=people,
    tally=tally,
    rules=rules.Rules(),
  )
  text = page.page(report)
  cells = re.findall(r"<td[^>]*>([^<]*)</td>", text)
  numbers = [
    int(c.replace(",", "")) for c in cells if re.fullmatch(r"[\d,]+", c)
  ]
  assert all(n == 0 or n >= 11 for n in numbers), numbers
  assert report["presence_by_hour"]["train"]["cxr"] is None


def test_the_page_has_a_dark_mode_axes_with_units_and_tables_that_scroll():
  line = {"hours": [0, 1], "ehr": [50.0, 100.0]}
  chart = page._charts(dict.fromkeys(page.SPLITS, line))
  assert "hours since the start of the stay; % of stays" in chart
  assert "prefers-color-scheme:dark" in look.CSS
  assert "scroll" in look.CSS.partition("max-width:900px")[2]
