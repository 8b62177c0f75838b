"""Ctrl-C ends a command with one line and exit code 130."""

import os
import signal
import sys

EXIT_CODE = 130  # What a shell shows for it: 128 + SIGINT.
SAID = "stopped by Ctrl-C; the same command goes on from here"


def early(always: bool = False) -> None:
  """Until `listen`: a command's own imports take seconds.

  For `python -m` alone, which runs a package's __init__.py under this name,
  unless `always`; who imports the package has signals of its own.
  """
  if (always or sys.argv[:1] == ["-m"]) and _default():
    signal.signal(signal.SIGINT, lambda number, frame: end("stopped by Ctrl-C"))


def listen() -> None:
  """From here on Ctrl-C raises KeyboardInterrupt, and a second one kills."""
  handler = signal.getsignal(signal.SIGINT)
  if _default() or getattr(handler, "__module__", "") == __name__:
    signal.signal(signal.SIGINT, _raise)


def end(said: str = SAID) -> None:
  """Says one line and ends at once, without the last rites of libraries."""
  sys.stdout.flush()
  print(said, file=sys.stderr, flush=True)
  os._exit(EXIT_CODE)


def _default() -> bool:
  """A shell's background jobs ignore Ctrl-C, and should go on to."""
  return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _raise(number, frame):
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  raise KeyboardInterrupt
