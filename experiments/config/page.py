"""docs/flags.md, from what the flags say of themselves.

python -m experiments.config.page > docs/flags.md
"""

import re

from experiments.config import config, flag, machine

HEAD = """\
# Flags of a training run

This page is written by `python -m experiments.config.page > docs/flags.md` from
`experiments/config/`, where every flag is declared once. `python -m
experiments.train --help` lists them, too.

The paper is Al Jorf and Shamout, MLHC 2025; "released" is their code at
nyuad-cai/MedPatch f33c5ed. An empty cell means that neither has such a choice.

The last column says what a flag reaches. A result that is cached in a workdir or
in `--share` is read back only where every flag that it depends on has the same
value: the encoders depend on the flags that reach encoders, temperatures on
these and on those that reach temperatures, and so on to stage 3. A flag that
reaches no result may change from one start of a run to the next. It changes
numbers by rounding at most, and dropout, which is drawn for each device and
part, by the draw; [training.md](training.md) says how to use these.
"""
COLUMNS = (
  "flag",
  "meaning",
  "values",
  "default",
  "paper",
  "released",
  "reaches",
)


def text() -> str:
  """The page."""
  parts = [HEAD]
  for group in (*config.GROUPS, machine.Processes):
    parts.append(f"## {group.__name__}\n\n{table(group)}")
  return "\n".join(parts)


def table(group) -> str:
  """One group's flags as a Markdown table."""
  rows = [COLUMNS, ("---",) * len(COLUMNS)]
  for name, one in flag.of(group).items():
    rows.append(
      (
        f"`--{name}`",
        _marked(one.help),
        one.range(),
        _default(one),
        one.paper,
        one.released,
        _marked(one.reaches or one.affects.value),
      )
    )
  return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _marked(words: str) -> str:
  """Words with flags and files as code, and pages as links."""
  words = re.sub(r"docs/(\w+\.md)", r"[\1](\1)", words)
  words = re.sub(r"`?(--\w+(?:=[\w:.]*\w)?)`?", r"`\1`", words)
  return re.sub(r"\b(\w+(?:/\w+)+\.py)\b", r"`\1`", words)


def _default(one: flag.Flag) -> str:
  if one.unset:
    return one.unset
  if one.kind is bool:
    return "yes" if one.default else "no"
  if one.default in (None, []):
    return "none"
  return f"{one.default:g}" if one.kind is float else str(one.default)


if __name__ == "__main__":
  print(text(), end="")
