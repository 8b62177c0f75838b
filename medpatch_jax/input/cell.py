"""What stands in a cell of a table: nothing, a number, a whole number, words.

Each rule is written once and used in Python and in DuckDB: both read it from
the same constants.
"""

import re

import numpy as np

# Characters that print nothing. A text of these alone is no text, and at the
# ends of a cell they say nothing. They are those of `str.isspace`, control
# characters, and Unicode's Default_Ignorable_Code_Point (soft hyphen,
# zero-width space and joiners, word joiner, byte order mark, marks of
# direction, fillers, variation selectors), and the empty braille pattern. A
# list of our own, since `str.isspace` differs from what DuckDB and tokenizers
# take for a blank, and between releases of Python.
BLANK_RANGES = (
  *((0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C)),
  *((0x115F, 0x1160), (0x1680, 0x1680), (0x17B4, 0x17B5), (0x180B, 0x180F)),
  *((0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F), (0x2800, 0x2800)),
  *((0x3000, 0x3000), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
  *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3)),
  *((0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
  (0xE0100, 0xE01EF),
)
BLANK = "".join(chr(c) for a, b in BLANK_RANGES for c in range(a, b + 1))
# The same as a class of DuckDB's regular expressions (RE2).
_CLASS = "".join(f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in BLANK_RANGES)

# The digits of ASCII alone: Python's float also takes 1_000 and the digits of
# every script, DuckDB takes others again.
NUMBER = r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
# A whole number that went through a table of floats ends in .0.
WHOLE = r"[-+]?[0-9]+(\.0*)?"
# Beyond its limit of measurement: <5, >=100, -inf.
_INFINITE = r"[-+]?[iI][nN][fF]([iI][nN][iI][tT][yY])?"
_SIGN = r"[<>≤≥]=? *"
CENSORED = rf"({_INFINITE}|{_SIGN}{NUMBER})"
# Kinds of cells that are no number, in words, the first that fits counts.
NO_NUMBER = {
  "infinite": _INFINITE,
  "as <5 or >100": rf"{_SIGN}{NUMBER}",
  "a word for missing (leave it empty)": (
    r"(?i:nan|na|n/a|n\.a\.|null|none|nil|missing|unknown|-+|\.|\?)"
  ),
  "with a comma (write 1.5)": r"[-+]?[0-9]*,[0-9,.]+",
  "with a unit or other words": r"[-+]?[0-9.].*",
}
OTHER = "other text"
# Those of them that state a limit of measurement.
LIMITS = tuple(NO_NUMBER)[:2]
LEAST, MOST = -(2**63), 2**63 - 1


def strip(text: str) -> str:
  """Returns a text without the blanks at its ends."""
  return text.strip(BLANK)


def number(word) -> float:
  """Reads a number, or a text of one.

  Args:
    word: anything; blanks at its ends are left out.

  Returns:
    The number, which may be infinite where a number that is no text was; NaN
    for anything else.
  """
  if isinstance(word, str):
    word = strip(word)
    found = float(word) if re.fullmatch(NUMBER, word) else np.nan
    return found if np.isfinite(found) else np.nan
  try:
    return float(word)
  except (TypeError, ValueError, OverflowError):
    return np.nan


def whole(word: str) -> int | None:
  """Reads a whole number of 64 bits, or returns None."""
  word = strip(word)
  if not re.fullmatch(WHOLE, word):
    return None
  digits, _, _ = word.partition(".")
  # Python refuses to read more than some thousand digits.
  value = int(digits) if len(digits) < 100 else MOST + 1
  return value if LEAST <= value <= MOST else None


def limit(word) -> float | None:
  """Reads a cell that states a limit of measurement.

  Returns:
    5.0 of "<5" and of ">5", infinite of "-inf" or such a number; None for a
    cell that states none.
  """
  if not isinstance(word, str):
    found = number(word)
    return found if np.isinf(found) else None
  word = strip(word)
  if not re.fullmatch(CENSORED, word):
    return None
  return float(re.sub(_SIGN, "", word))


def kind(word) -> str:
  """Returns what a cell that is no number is: a name of `NO_NUMBER`."""
  word = strip(str(word))
  for name, pattern in NO_NUMBER.items():
    if re.fullmatch(pattern, word):
      return name
  return OTHER


def text_sql(expression: str) -> str:
  """SQL of a text without the blanks at its ends; NULL if nothing is left."""
  ends = f"^[{_CLASS}]+|[{_CLASS}]+$"
  cast = f"CAST({expression} AS VARCHAR)"
  return f"nullif(regexp_replace({cast}, '{ends}', '', 'g'), '')"


def number_sql(expression: str) -> str:
  """SQL of `number` of a text without blanks; NULL for anything else."""
  return (
    f"CASE WHEN regexp_full_match({expression}, '{NUMBER}') AND"
    f" isfinite(TRY_CAST({expression} AS DOUBLE)) THEN"
    f" TRY_CAST({expression} AS DOUBLE) END"
  )


def whole_sql(expression: str) -> str:
  """SQL of `whole` of a text without blanks; NULL for anything else."""
  return (
    f"CASE WHEN regexp_full_match({expression}, '{WHOLE}') THEN"
    f" TRY_CAST(regexp_extract({expression}, '^[-+]?[0-9]+') AS BIGINT) END"
  )


def limit_sql(expression: str) -> str:
  """SQL of `limit` of a text without blanks."""
  bare = f"regexp_replace({expression}, '{_SIGN}', '')"
  return (
    f"CASE WHEN regexp_full_match({expression}, '{CENSORED}') THEN"
    f" TRY_CAST({bare} AS DOUBLE) END"
  )


def kind_sql(expression: str) -> str:
  """SQL of the kind of a cell that is no number: a name of `NO_NUMBER`."""
  cases = " ".join(
    f"WHEN regexp_full_match({expression}, '{pattern}') THEN '{name}'"
    for name, pattern in NO_NUMBER.items()
  )
  return f"CASE {cases} ELSE '{OTHER}' END"
