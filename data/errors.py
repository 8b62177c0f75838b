"""Errors a user can act on, and how a command line ends with one."""

import difflib
import sys


class InputError(ValueError):
  """Something given to a command is not as it must be.

  The message is one line: file, column or row number (never its content),
  what was found, what was wanted.
  """


def nearest(name, names):
  """' Did you mean X?' if one of `names` is close to `name`, else ''."""
  close = difflib.get_close_matches(str(name), [str(n) for n in names], n=1)
  return f" Did you mean {close[0]!r}?" if close else ""


def run(main):
  """Runs an absl `main(argv)`; bad input is one line and exit code 2."""
  from absl import app, flags

  def guarded(argv):
    if len(argv) > 1:
      _stop(f"unexpected argument {argv[1]!r}; flags are written --name=value")
    try:
      main(argv)
    except InputError as error:
      _stop(str(error))

  def parse(argv):
    try:
      return flags.FLAGS(argv)
    except flags.Error as error:
      _stop(" ".join(str(error).split()))

  app.run(guarded, flags_parser=parse)


def _stop(message):
  print(f"error: {message}", file=sys.stderr, flush=True)
  sys.exit(2)
