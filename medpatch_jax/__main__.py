"""The commands, from any folder: `medpatch train ...`.

A wheel has them in a folder of this package, a clone (or an editable install)
at its root. That folder is first on the path, so that nothing of the user's
that is called data or experiments is taken for ours.
"""

import difflib
import pathlib
import runpy
import sys

from medpatch_jax.input import interrupt, places

COMMANDS = {
  "quickstart": "the whole path on a synthetic twin of MIMIC",
  "build": "raw files -> records",
  "train": "records -> a trained run",
  "evaluate": "scores a run on the test split, once",
  "report": "a run as one page to look at",
  "compare": "paired tests between runs",
  "ablate": "every row of a sweep, for several seeds",
  "paper": "the paper's tables",
  "ensemble": "scores the mean of several runs",
  "confidence": "token confidence against what the twin planted",
  "export": "a run -> a folder for predictions",
  "predict": "an exported folder and tables -> predictions",
  "benchmark": "how long things take here",
  "challenge2012": "EHR encoders on the Challenge 2012, cross-validated",
}
MODULES = {"build": "data.build", "predict": "medpatch_jax.predict"}


def root() -> pathlib.Path:
  """The folder that holds data/ and experiments/."""
  here = pathlib.Path(__file__).resolve().parent
  inside = here / "_commands"
  return inside if inside.is_dir() else here.parent


def main() -> None:
  """Runs the command that is named first, with the words after it."""
  interrupt.early(always=True)
  name, *words = sys.argv[1:] or ["-h"]
  if name in ("-h", "--help"):
    print("medpatch COMMAND --flag=value ...; medpatch COMMAND -h\n")
    print("\n".join(f"  {n:14} {what}" for n, what in COMMANDS.items()))
    return
  if name not in COMMANDS:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    print(
      f"error: {name!r} is no command; wanted one of {', '.join(COMMANDS)}."
      + "".join(f" Did you mean {c!r}?" for c in close),
      file=sys.stderr,
    )
    sys.exit(2)
  sys.path.insert(0, str(root()))
  sys.argv = [f"medpatch {name}", *words]
  places.installed = True
  module = MODULES.get(name, f"experiments.{name}")
  runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
  main()
