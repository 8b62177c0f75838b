"""SIGTERM, as a scheduler sends before it takes a machine away, and Ctrl-C."""

import contextlib
import os
import signal
import threading

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
# What a shell shows for a process that SIGTERM ended: 128 + 15.
EXIT_CODE = 128 + signal.SIGTERM


class Stopped(Exception):
  """The run was asked to stop and has saved what it had.

  Attributes:
    code: exit code of the process.
  """

  def __init__(self, saved: str = ""):
    """Says by what, and where it `saved`."""
    self.number = _asked or signal.SIGTERM
    self.code = 128 + self.number
    super().__init__(f"stopped by {NAMES[self.number]}{saved}")


_asked: int | None = None


@contextlib.contextmanager
def listening():
  """Inside the `with`, both are noted instead of killing; a second kills.

  Raises:
    Stopped: at the end, if one came and nobody asked since.
  """
  global _asked
  _asked = None
  if threading.current_thread() is not threading.main_thread():
    yield  # Only the main thread may change what a signal does.
    return
  before = {number: signal.getsignal(number) for number in NAMES}
  if before[signal.SIGINT] is signal.SIG_IGN:  # A shell's background job.
    del before[signal.SIGINT]
  for number in before:
    signal.signal(number, _note)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
  if _asked:
    raise Stopped


@contextlib.contextmanager
def passing_on():
  """As `listening` where JAX hears SIGTERM, of several processes.

  Ctrl-C becomes a SIGTERM to this process, which JAX tells the others; a second
  one kills.
  """
  global _asked
  _asked = None
  before = signal.getsignal(signal.SIGINT)
  main = threading.current_thread() is threading.main_thread()
  if not main or before is signal.SIG_IGN:
    yield
    return
  signal.signal(signal.SIGINT, _pass_on)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)


def _pass_on(number, frame):
  _note(number, frame)
  os.kill(os.getpid(), signal.SIGTERM)


def _note(number, frame):
  global _asked
  _asked = number
  signal.signal(number, signal.SIG_DFL)


def asked() -> bool:
  """Whether one of them has come since `listening`."""
  return _asked is not None
