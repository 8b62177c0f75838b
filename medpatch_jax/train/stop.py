"""SIGTERM, as a scheduler sends before it takes a machine away."""

import contextlib
import signal
import threading

# What a shell shows for a process that SIGTERM ended: 128 + 15.
EXIT_CODE = 143


class Stopped(Exception):
  """The run was asked to stop and has saved what it had."""


_asked = False


@contextlib.contextmanager
def listening():
  """Inside the `with`, SIGTERM is noted instead of killing; a second kills.

  Raises:
    Stopped: at the end, if it came and nobody asked since.
  """
  global _asked
  _asked = False
  if threading.current_thread() is not threading.main_thread():
    yield  # Only the main thread may change what a signal does.
    return
  before = signal.signal(signal.SIGTERM, _note)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)
  if _asked:
    raise Stopped


def _note(number, frame):
  global _asked
  _asked = True
  signal.signal(signal.SIGTERM, signal.SIG_DFL)


def asked() -> bool:
  """Whether SIGTERM has come since `listening`."""
  return _asked
