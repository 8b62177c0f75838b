"""The report in a real browser: themes, widths, tables, who cannot see it."""

import json
import re

import numpy as np
import pytest

from experiments.report import cases, side_by_side, write
from medpatch_jax.evaluate import metrics, predictions
from tests import browser, finished_run

CASES, HEADS = 3, ("late", "low")


@pytest.fixture(scope="module")
def run(small_records, tmp_path_factory):
  folder = tmp_path_factory.mktemp("seen")
  made = finished_run.make(small_records, folder)
  made.page = write.of_run(made.stages, made.truth, cases=CASES)
  return made


@pytest.fixture(scope="module")
def chromium():
  with browser.opened() as found:
    yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_both_themes_and_widths_without_errors_or_barriers(
  run, chromium, scheme, width
):
  tab = browser.Tab(chromium, run.page, width, scheme)
  # Each theme and each width once: colours do not depend on the width.
  if (width == 1280) == (scheme == "light"):
    assert not tab.violations()
  wide = tab.page.evaluate("document.documentElement.scrollWidth")
  assert wide <= width
  assert not tab.errors
  assert all(url.startswith(("file:", "data:")) for url in tab.requests)
  ink, paper = tab.page.evaluate(
    "(s => [s.color, s.backgroundColor].map(c => c.match(/\\d+/g).map(Number)))"
    "(getComputedStyle(document.body))"
  )
  assert (sum(ink) < sum(paper)) == (scheme == "light")
  tab.page.close()


def test_tables_sort_and_filter(run, chromium):
  tab = browser.Tab(chromium, run.page)
  table = tab.page.locator("#result table").nth(1)
  assert table.locator("caption").inner_text() == "Labels"
  column = "(t, c) => [...t.tBodies[0].rows].map(r => r.cells[c].dataset.v)"
  read = f"t => ({column})(t, 2)"
  header = table.locator("th button", has_text="AUROC")
  header.click()
  got = table.evaluate(read)
  numbers = np.array([float(v) for v in got[:-1] if v], float)
  assert len(numbers) > 3 and (np.diff(numbers) <= 0).all()
  assert table.locator("tbody tr").last.locator("th").inner_text() == "mean"
  header.press("Enter")
  again = np.array([float(v) for v in table.evaluate(read)[:-1] if v], float)
  np.testing.assert_array_equal(again, np.sort(numbers))
  th = table.locator("th[aria-sort]")
  assert th.count() == 1 and th.get_attribute("aria-sort") == "ascending"
  tab.page.get_by_label("Filter labels").fill("diabetes")
  shown = table.locator("tbody tr:visible")
  assert shown.count() == 2
  assert all("Diabetes" in text for text in shown.all_inner_texts())
  tab.page.close()


def test_one_labels_curves_are_brought_forward(run, chromium):
  tab = browser.Tab(chromium, run.page)
  tab.page.locator("#pick").select_option(label="COPD")
  chosen = tab.page.locator("#pick").input_value()
  lines = tab.page.locator("#curves .pick.on")
  # A curve of one bin has no line.
  assert 4 <= lines.count() <= 5
  assert {line.get_attribute("data-pick") for line in lines.all()} == {chosen}
  tab.page.close()


@pytest.fixture(scope="module")
def looked(run):
  """What Python says of the stays on the page."""
  rows = cases.sample(
    run.stages.run.present("test"), run.stages.run.rows("test"), CASES
  )
  return cases.look(run.stages, rows, "late")["tokens"]


def written(run) -> dict:
  """The stays that are in the page."""
  text = run.page.read_text("utf-8").split('id="cases-data">')[1]
  return json.loads(text.split("</script>")[0])


def opened(chromium, run, **where):
  fragment = "#" + "&".join(f"{k}={v}" for k, v in where.items())
  return browser.Tab(chromium, run.page, fragment=fragment)


def said(tab) -> dict[str, list[int]]:
  """Modality -> tokens in the high and the low group, as the page says."""
  return {
    m: [int(n) for n in re.findall(r"(\d+)(?= tokens|, | in the low)", text)]
    for m, text in tab.page.evaluate(
      "[...document.querySelectorAll('[data-modality]')].map(f =>"
      " [f.dataset.modality, f.querySelector('p').textContent])"
    )
    if "tokens" in text
  }


def test_the_threshold_regroups_tokens_as_python_does(run, chromium, looked):
  tab = opened(chromium, run, case=1, label=3)
  for threshold in (None, 0.5, 0.62, 0.9, 1.0):
    if threshold is not None:
      tab.page.locator("#case-threshold").fill(str(threshold))
      assert f"threshold={threshold:g}" in tab.page.url
    got = said(tab)
    for m, (score, _, mask) in looked[0].items():
      if not mask.any():
        assert m not in got
        continue
      limit = run.stages.config.threshold[m] if threshold is None else threshold
      high = int((score[mask, 2].astype(np.float64) >= limit).sum())
      assert got[m][:2] == [high, int(mask.sum()) - high], (m, threshold)
  tab.page.locator("#case-reset").click()
  assert "threshold" not in tab.page.url
  assert not tab.errors
  tab.page.close()


def test_keys_step_through_the_stays_and_a_link_names_one(run, chromium):
  tab = opened(chromium, run, case=2, label=5, threshold=0.8)
  name = tab.page.locator("#case-name")
  assert name.inner_text() == f"Case 2 of {CASES}"
  assert tab.page.locator("#case-label").input_value() == "4"
  assert tab.page.locator("#case-threshold-value").inner_text() == "0.80"
  tab.page.keyboard.press("ArrowLeft")
  tab.page.keyboard.press("ArrowLeft")
  assert name.inner_text() == f"Case {CASES} of {CASES}"
  assert tab.page.url.endswith(f"#case={CASES}&label=5&threshold=0.8")
  tab.page.keyboard.press("ArrowRight")
  assert name.inner_text() == f"Case 1 of {CASES}"
  tab.page.close()


def test_shading_lands_on_what_the_twin_planted(run, chromium):
  """Words of the planted sentence, and the patches of the planted region."""
  data = written(run)["cases"]
  seen = set()
  for i, case in enumerate(data):
    for m in ("rr", "cxr"):
      part = case["modalities"].get(m, {"planted": []})
      for kind, label, *span in part["planted"]:
        if kind != "evidence" or m in seen:
          continue
        seen.add(m)
        tab = opened(chromium, run, case=i + 1, label=label + 1)
        figure = tab.page.locator(f"[data-modality={m}]")
        marks = figure.locator(".planted.evidence")
        if m == "rr":
          begin, end = span
          assert part["text"][begin:end] in marks.all_inner_texts()
          assert marks.first.locator(".token").count() > 1
        else:
          box, radiograph = marks.first.bounding_box(), figure.locator("img")
          radiograph, eighth = (
            radiograph.bounding_box(),
            radiograph.bounding_box()["width"] / 8,
          )
          got = [
            box["x"] - radiograph["x"],
            box["x"] - radiograph["x"] + box["width"],
          ]
          want = [span[0] * eighth, span[1] * eighth]
          np.testing.assert_allclose(got, want, atol=3)
        tab.page.close()
  assert seen == {"rr", "cxr"}


def test_the_decision_adds_up_to_the_probability(run):
  for case in written(run)["cases"]:
    of = case["decision"]
    parts = np.array([x["part"] for x in of["sources"]]).sum(axis=0)
    total = np.array(of["base"]) + parts + of["rest"]
    np.testing.assert_allclose(total, of["final"], atol=2e-3)
    np.testing.assert_allclose(
      1 / (1 + np.exp(-total)), case["probability"], atol=1e-3
    )


def test_the_page_of_the_records_has_the_same_look_and_no_barriers(
  run, chromium
):
  page = run.stages.run.data.path / "quality.html"
  tab = browser.Tab(chromium, page, 390, "dark")
  assert not tab.violations() and not tab.errors
  assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
  tab.page.close()


def test_two_runs_stand_side_by_side(run, chromium, tmp_path):
  out, heads = tmp_path / "two.html", [f"{run.workdir}:{h}" for h in HEADS]
  side_by_side.write(heads, out, resamples=100)
  tab = browser.Tab(chromium, out, 390, "light")
  assert not tab.violations() and not tab.errors
  (reference, other) = (
    metrics.mean(metrics.auroc(p.logits[head], p.label))[0]
    for p in [predictions.load(run.workdir / predictions.NAME)]
    for head in HEADS
  )
  row = tab.page.locator("#result table").nth(1).locator("tbody tr").first
  gap = row.locator("td").first.get_attribute("data-v")
  assert float(gap) == pytest.approx(other - reference)
  tab.page.close()
