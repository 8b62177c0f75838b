"""Progress on stderr: what is done, how far, how long it will still take."""

import sys
import threading
import time


class Progress:
  """One stage of a build.

  Use as a context manager; call `at(fraction)` from any thread, or give
  `poll`, a function returning the fraction, which is then asked twice a
  second.

  Attributes:
    finished: (title, seconds) of every stage of this process, in order.
  """

  finished: list[tuple[str, float]] = []

  def __init__(self, title, poll=None, quiet=False, every=5.0):
    self._title, self._poll, self._quiet = title, poll, quiet
    self._every = every
    self._terminal = sys.stderr.isatty()
    self._start = self._shown = time.monotonic()
    self._done = threading.Event()
    self._thread = None

  def __enter__(self):
    if self._poll and not self._quiet:
      self._thread = threading.Thread(target=self._watch, daemon=True)
      self._thread.start()
    return self

  def __exit__(self, *error):
    self._done.set()
    if self._thread:
      self._thread.join()
    if error[0] is None:
      self.finished.append((self._title, self.seconds()))
      self._say(f"{self._title}: done in {_clock(self.seconds())}", end=True)
    elif self._terminal and not self._quiet:
      print(file=sys.stderr)

  def seconds(self):
    return time.monotonic() - self._start

  def at(self, fraction):
    """Shows how far the stage is, at most once every few seconds."""
    now = time.monotonic()
    pause = 0.2 if self._terminal else self._every
    if now - self._shown < pause or not 0 < fraction <= 1:
      return
    self._shown = now
    left = self.seconds() * (1 - fraction) / fraction
    self._say(f"{self._title}: {fraction:4.0%}, {_clock(left)} left")

  def _watch(self):
    while not self._done.wait(0.5):
      self.at(self._poll())

  def _say(self, text, end=False):
    if self._quiet:
      return
    if self._terminal:
      text = f"\r{text:<70}"
    last = "\n" if end or not self._terminal else ""
    print(text, end=last, file=sys.stderr, flush=True)


def _clock(seconds):
  minutes, seconds = divmod(int(seconds + 0.5), 60)
  hours, minutes = divmod(minutes, 60)
  return (
    f"{hours}:{minutes:02}:{seconds:02}"
    if hours
    else (f"{minutes}:{seconds:02}")
  )
