"""The distribution's Chromium, without a window, and what it finds wrong."""

import contextlib
import shutil

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

NAMES = (
  "chromium",
  "chromium-browser",
  "google-chrome",
  "google-chrome-stable",
)


def path() -> str:
  """Where Chromium is.

  Raises:
    RuntimeError: nowhere; says how it is installed.
  """
  for name in NAMES:
    if found := shutil.which(name):
      return found
  raise RuntimeError(
    f"no browser: found none of {', '.join(NAMES)}; run .ci/chromium.sh, which"
    " installs the distribution's."
  )


@contextlib.contextmanager
def opened():
  """Yields Chromium."""
  with sync_playwright() as play:
    # As root, as in CI, it has no sandbox. The page is our own.
    browser = play.chromium.launch(
      executable_path=path(), args=["--no-sandbox"]
    )
    try:
      yield browser
    finally:
      browser.close()


class Tab:
  """A page that was opened from a file, and what its console said.

  Attributes:
    page: of Playwright.
    errors: lines.
    requests: addresses it asked for beside its own.
  """

  def __init__(self, browser, file, width=1280, scheme="light", fragment=""):
    """Opens a file at a width in pixels, in a theme."""
    self.page = browser.new_page(
      viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    self.page.set_default_timeout(5000)
    self.errors, self.requests = [], []
    self.page.on(
      "console",
      lambda m: m.type in ("error", "warning") and self.errors.append(m.text),
    )
    self.page.on("pageerror", lambda e: self.errors.append(str(e)))
    self.page.on("request", lambda r: self.requests.append(r.url))
    self.page.goto(f"file://{file}{fragment}")

  def violations(self) -> list[str]:
    """What axe finds, each with the place it is at."""
    found = Axe().run(self.page).response["violations"]
    return [
      f"{v['id']}: {node['html'][:120]}" for v in found for node in v["nodes"]
    ]
