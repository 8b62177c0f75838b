"""The report in a real browser: themes, widths, tables, who cannot see it."""

import numpy as np
import pytest

from experiments.report import write
from tests import browser, finished_run


@pytest.fixture(scope="module")
def run(small_records, tmp_path_factory):
  folder = tmp_path_factory.mktemp("seen")
  made = finished_run.make(small_records, folder)
  made.page = write.of_run(made.stages, made.truth)
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
