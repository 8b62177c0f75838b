"""What a reviewer asks of leakage, answered of the records as written.

Counts by word, never a text. What must not be at all is `quality.check`'s.
"""

import re

from data.splits import SPLITS

# Words that tell, or all but tell, how a stay ended.
OUTCOME = (
  *("died", "death", "dead", "deceased", "expired", "passed away", "autopsy"),
  *("comfort care", "comfort measures", "cmo", "hospice", "palliative", "dnr"),
)
# A shorter name of a label is part of too many words.
LEAST = 4


def words(labels) -> tuple[str, ...]:
  """Words that are looked for in notes: of the outcome, and labels' names."""
  names = [" ".join(n.lower().replace("_", " ").split()) for n in labels]
  return tuple(
    dict.fromkeys([*OUTCOME, *(n for n in names if len(n) >= LEAST)])
  )


def pattern(found) -> re.Pattern:
  """The words as one pattern, whole words in capitals or not."""
  longest = sorted(found, key=len, reverse=True)
  parts = [r"\s+".join(map(re.escape, w.split())) for w in longest]
  return re.compile(rf"\b({'|'.join(parts)})\b", re.IGNORECASE)


def said(text, words) -> set[str]:
  """Which words of a `pattern` stand in a text, as `words` has them."""
  return {" ".join(w.lower().split()) for w in words.findall(text)}


def collect(tally, rule, answers) -> dict:
  """The section of the quality report as a JSON-like dict.

  Args:
    tally: `Tally` of all records.
    rule: `disclosure.Rule`.
    answers: question -> answer, of the source.

  Returns:
    {"answers", "words": {kind of notes: {word: {split: stays whose notes have
    it}}}}; words that no note has are left out.
  """
  found = {}
  for m in tally.texts:
    for word in tally.words_of_notes:
      counts = {s: tally.said[s][m, word] for s in SPLITS}
      if any(counts.values()):
        found.setdefault(m, {})[word] = {
          s: rule.rough(n, tally.people(s, f"{m} says", word))
          for s, n in counts.items()
        }
  asked = {
    "Is a subject in two splits?": "No; checked on every record.",
    "Is anything of later than the window seen?": (
      "No, but for what is named under Leaks; checked on every record."
    ),
  }
  return {"answers": asked | answers, "words": found}
