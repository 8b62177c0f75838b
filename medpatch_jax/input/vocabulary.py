"""Files of a vocabulary, as others publish them: read within limits.

A tokenizer.json may hold regular expressions that never end, replacements that
double a text forty times, or words of any length; only what BERT-type
tokenizers are made of is taken.
"""

import json
import pathlib

import tokenizers
from tokenizers import models

# Bytes of a file, and of its vocabulary the pieces and their characters. The
# largest published BERT, of 109 languages, has 501,153 pieces in 10 MB.
BYTES, PIECES, LENGTH = 32 << 20, 1_000_000, 256
# Pieces beside the vocabulary, looked for in the whole text.
ADDED = 20_000
# Each word is looked up in as many ways as it has characters, squared.
WORD = 1000
# What a text passes before it is looked up; none holds a pattern or a text.
NORMALIZERS = (
  "BertNormalizer Lowercase NFC NFD NFKC NFKD Strip StripAccents".split()
)
PRE_TOKENIZERS = (
  "BertPreTokenizer Digits Punctuation Whitespace WhitespaceSplit".split()
)
STEPS = 16


def read_json(file: pathlib.Path) -> dict:
  """Reads a JSON object.

  Raises:
    ValueError: too large, nested too deep, or no JSON object.
  """
  text = _text(file)
  try:
    value = json.loads(text)
  except (ValueError, RecursionError):
    value = None
  if not isinstance(value, dict):
    raise ValueError(f"{file}: is no JSON object; mend or remove it.")
  return value


def read_pieces(file: pathlib.Path) -> list[str]:
  """Reads a vocab.txt, a piece a line.

  Raises:
    ValueError: not UTF-8, too large, too many pieces, or one too long.
  """
  # Not splitlines: U+2028 and its like are pieces of some vocabularies.
  text = _text(file).removeprefix("\ufeff").replace("\r\n", "\n")
  pieces = text.rstrip("\n").split("\n")
  _check_pieces(file, pieces)
  return pieces


def read_tokenizer(file: pathlib.Path) -> tokenizers.Tokenizer:
  """Reads a tokenizer.json; its post-processing is left out.

  Raises:
    ValueError: unreadable, no WordPiece vocabulary, or beyond a limit.
  """
  content = read_json(file)
  model = content.get("model")
  model = model if isinstance(model, dict) else {}
  kind = model.get("type", "WordPiece")
  if kind != "WordPiece":
    raise _other(file, kind)
  if isinstance(vocab := model.get("vocab"), dict):
    _check_pieces(file, vocab)
  added = content.get("added_tokens")
  if isinstance(added, list):
    if len(added) > ADDED:
      raise ValueError(
        f"{file}: holds {len(added):,} added_tokens, at most {ADDED:,} are"
        " read."
      )
    _check_pieces(file, [t.get("content") for t in added if type(t) is dict])
  _check_model(file, model)
  _check_steps(file, content, "normalizer", "normalizers", NORMALIZERS)
  _check_steps(file, content, "pre_tokenizer", "pretokenizers", PRE_TOKENIZERS)
  for unused in ("truncation", "padding", "post_processor", "decoder"):
    content[unused] = None
  try:
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(content))
  except (KeyboardInterrupt, SystemExit):
    raise
  # The package raises nothing narrower than Exception, and panics beside it.
  except BaseException as e:
    reason = str(e)[:200].replace("\n", " ")
    raise ValueError(f"{file}: unreadable ({reason}); save it again.") from None
  if not isinstance(tokenizer.model, models.WordPiece):
    raise _other(file, type(tokenizer.model).__name__)
  return tokenizer


def _text(file: pathlib.Path) -> str:
  with open(file, "rb") as f:
    content = f.read(BYTES + 1)
  if len(content) > BYTES:
    raise ValueError(
      f"{file}: is larger than {BYTES >> 20} MiB, which no vocabulary is; give"
      " the folder of a BERT-type model."
    )
  try:
    return content.decode("utf-8")
  except UnicodeDecodeError:
    raise ValueError(
      f"{file}: is not UTF-8; mend it, or download it again."
    ) from None


def _check_pieces(file, pieces) -> None:
  if len(pieces) > PIECES:
    raise ValueError(
      f"{file}: holds {len(pieces):,} pieces, at most {PIECES:,} are read."
    )
  for piece in pieces:
    if isinstance(piece, str) and len(piece) > LENGTH:
      raise ValueError(
        f"{file}: holds a piece of {len(piece):,} characters, at most {LENGTH}"
        " are read."
      )


def _check_model(file, model) -> None:
  most = model.get("max_input_chars_per_word", 100)
  prefix = model.get("continuing_subword_prefix", "##")
  if not (isinstance(most, int) and 0 < most <= WORD):
    raise ValueError(
      f"{file}: max_input_chars_per_word is no number from 1 to {WORD}."
    )
  if not (isinstance(prefix, str) and len(prefix) <= 16):
    raise ValueError(
      f"{file}: continuing_subword_prefix is no text of at most 16 characters."
    )
  for piece, number in (model.get("vocab") or {}).items():
    if not (isinstance(number, int) and 0 <= number < PIECES):
      raise ValueError(
        f"{file}: the number of piece {piece[:20]!r} is not from 0 to"
        f" {PIECES - 1:,}."
      )


def _check_steps(file, content, field, inner, known) -> None:
  """Of a field that holds a step or a Sequence of them."""
  step = content.get(field)
  steps = [step] if isinstance(step, dict) else []
  if steps and step.get("type") == "Sequence":
    steps = step.get(inner)
    if not isinstance(steps, list) or len(steps) > STEPS:
      raise ValueError(
        f"{file}: {field} is no Sequence of at most {STEPS} steps."
      )
  for each in steps:
    kind = each.get("type") if isinstance(each, dict) else each
    if kind not in known:
      raise ValueError(
        f"{file}: {field} is of type {str(kind)[:40]!r}, wanted one of"
        f" {', '.join(known)}; give the folder of a BERT-type model."
      )


def _other(file, kind) -> ValueError:
  return ValueError(
    f"{file}: holds a {str(kind)[:40]} model; a BERT-type vocabulary,"
    " WordPiece, is wanted."
  )
