"""Counts the words of notes, and keeps those that enough patients have.

A vocabulary leaves the hospital with the model: a word that one patient alone
has, a name above all, must not be in it.
"""

import collections
import string
from collections.abc import Hashable, Iterable

import tokenizers

# Patients who have a word, or a character that is not ASCII, that is kept.
PATIENTS = 11
# Most characters beside those of ASCII.
CHARACTERS = 1000


def common(
  notes: Iterable[tuple[Hashable, str]], tokenizer: tokenizers.Tokenizer
) -> tuple[collections.Counter, list[str]]:
  """Words and characters that at least `PATIENTS` patients have.

  Args:
    notes: (patient, text); read once, in whatever order.
    tokenizer: its normalizer and pre-tokenizer say what a word is.

  Returns:
    (word -> how often it is there, characters: those that start a word, then
    those within one behind "##", each sorted). Letters, digits and punctuation
    of ASCII are always among the characters.
  """
  counts, patients = _spaced(notes)
  words, having = collections.Counter(), {}
  for spaced, n in counts.items():  # Each distinct one is normalised once.
    plain = tokenizer.normalizer.normalize_str(spaced)
    who = patients.get(spaced)
    for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(plain):
      words[word] += n
      having[word] = _union(having.get(word, ()), who)
  characters = _characters(words, having)
  return (
    collections.Counter(
      {word: n for word, n in words.items() if having[word] is None}
    ),
    characters,
  )


def _spaced(notes):
  """Counts what lies between spaces, and who has it.

  Returns:
    (counts, {text: the patients who have it, where they are too few}).
  """
  counts: collections.Counter = collections.Counter()
  few: dict[str, tuple] = {}
  enough: set[str] = set()
  own: dict = {}
  for patient, text in notes:
    spaced = text.split()
    counts.update(spaced)
    # One tuple for a patient, however many words nobody else has.
    mine = own.setdefault(patient, (patient,))
    for each in set(spaced) - enough:
      who = _union(few.get(each, ()), mine)
      if who is None:
        enough.add(each)
        few.pop(each, None)
      else:
        few[each] = who
  return counts, few


def _union(one: tuple | None, other: tuple | None) -> tuple | None:
  """Both sets of patients as a tuple, or None once they are `PATIENTS`."""
  if one is None or other is None:
    return None
  if not one:
    both = other
  else:
    both = one + tuple(p for p in other if p not in one)
  return both if len(both) < PATIENTS else None


def _characters(words, having) -> list[str]:
  count, who = collections.Counter(), {}
  for word, n in words.items():
    for character in word:
      if not character.isascii():
        count[character] += n
        who[character] = _union(who.get(character, ()), having[word])
  ranked = sorted(count, key=lambda c: (-count[c], c))
  kept = set([c for c in ranked if who[c] is None][:CHARACTERS])
  first = {word[0] for word in words} & kept
  later = {c for word in words for c in word[1:]} & kept
  first |= set(string.ascii_lowercase + string.digits + string.punctuation)
  later |= set(string.ascii_lowercase)
  return sorted(first) + [f"##{c}" for c in sorted(later)]
