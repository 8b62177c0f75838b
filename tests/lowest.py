"""Runs the tests with the lowest versions that setup.py allows.

  python -m tests.lowest FOLDER [PYTEST ARGUMENTS]

makes a virtual environment in FOLDER with each requirement at its lower bound
(and what these require in turn at the newest that fits), installs this
package into it, and runs pytest there.
"""

import ast
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def requirements(*extras: str) -> dict[str, str]:
  """Lower bounds of setup.py: name -> version, None where there is none.

  Args:
    extras: taken beside what is always installed.
  """
  (call,) = (
    node
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text("utf-8")))
    if isinstance(node, ast.Call)
    and ast.unparse(node.func) == "setuptools.setup"
  )
  given = {k.arg: k.value for k in call.keywords}
  lines = ast.literal_eval(given["install_requires"])
  for extra in extras:
    lines += ast.literal_eval(given["extras_require"])[extra]
  parsed = [re.fullmatch(r"([\w-]+)(\[\w+\])?(>=([\w.]+))?", x) for x in lines]
  return {match.group(1): match.group(4) for match in parsed}


def make(folder: pathlib.Path) -> pathlib.Path:
  """Makes the environment and returns its python."""
  lowest = [f"{n}=={v}" for n, v in requirements("test").items()]
  subprocess.run([sys.executable, "-m", "venv", folder], check=True)
  python = folder / "bin" / "python"
  install = [python, "-m", "pip", "install", "-q"]
  subprocess.run([*install, *lowest], check=True)
  subprocess.run([*install, "--no-deps", "-e", ROOT], check=True)
  return python


def main(folder: str, *arguments: str) -> int:
  python = make(pathlib.Path(folder).resolve())
  path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
  return subprocess.run(
    [python, "-m", "pytest", *arguments],
    cwd=ROOT,
    env=os.environ | {"PATH": path},
  ).returncode


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
