"""How a command line ends with an error that a user can act on."""

import sys
import textwrap

from medpatch_jax import files
from medpatch_jax.input import interrupt, places
from medpatch_jax.input.errors import nearest
from medpatch_jax.input.places import InputError

__all__ = ["InputError", "nearest", "run", "usage"]


def run(main):
  """Runs an absl `main(argv)`; bad input is one line and exit code 2.

  So is a file that cannot be read or written. All that is written is its
  owner's alone.
  """
  from absl import app, flags

  def guarded(argv):
    if len(argv) > 1:
      _stop(f"unexpected argument {argv[1]!r}; flags are written --name=value")
    interrupt.listen()
    try:
      with files.private():
        main(argv)
    except (InputError, files.DiskFull, files.Damaged) as error:
      _stop(str(error))
    except KeyboardInterrupt:
      interrupt.end()
    except OSError as error:
      if not (line := files.told(error)):
        raise
      _stop(line)

  def parse(argv):
    if {"-h", "-help", "--help"} & set(argv[1:]):
      print(usage(argv[0]))
      sys.exit(0)
    try:
      return flags.FLAGS(argv)
    except flags.Error as error:
      _stop(" ".join(str(error).split()))

  app.run(guarded, flags_parser=parse)


def usage(command):
  """What a command does, and its own flags with their defaults."""
  from absl import flags

  about = places.worded(sys.modules["__main__"].__doc__ or "")
  lines = [about.strip(), "", "flags:"]
  of_modules = flags.FLAGS.flags_by_module_dict()
  own = [
    flag
    for module, found in of_modules.items()
    if module == command or module.partition(".")[0] in ("data", "experiments")
    for flag in found
  ]
  for flag in sorted(own, key=lambda flag: flag.name):
    default = (flag.default_as_str or "").strip("'")
    lines.append(f"  --{flag.name}{'=' * bool(default)}{default}")
    lines += textwrap.wrap(
      flag.help, 78, initial_indent=" " * 6, subsequent_indent=" " * 6
    )
  return "\n".join(lines)


def _stop(message):
  print(f"error: {places.worded(message)}", file=sys.stderr, flush=True)
  sys.exit(2)
