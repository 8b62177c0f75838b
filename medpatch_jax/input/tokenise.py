"""Notes -> windows of WordPiece pieces."""

import json
import pathlib

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from medpatch_jax import files
from medpatch_jax.input import vocabulary, words

# Of tokenizer_config.json what is read; null is "not said".
SETTINGS = dict.fromkeys(
  ("do_lower_case", "strip_accents", "tokenize_chinese_chars"), (bool, None)
)
# A vocabulary is cased if more of its words hold capitals; of BERT's own cased
# ones a third do, of its uncased ones none.
CASED = 0.1
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokeniser:
  """Cuts a text into windows of pieces, each between [CLS] and [SEP]."""

  def __init__(self, tokenizer: tokenizers.Tokenizer):
    """Wraps a tokenizer that knows [PAD], [UNK], [CLS] and [SEP].

    Args:
      tokenizer: of the package tokenizers; its own post-processing, padding
        and truncation are not used.

    Raises:
      ValueError: a special piece is missing from the vocabulary.
    """
    self._tokenizer = tokenizer
    self._tokenizer.no_truncation()
    self._tokenizer.no_padding()
    ids = {name: tokenizer.token_to_id(name) for name in SPECIALS[:4]}
    missing = [name for name, i in ids.items() if i is None]
    if missing:
      raise ValueError(
        f"tokenizer: vocabulary lacks {', '.join(missing)}; a BERT-type"
        " vocabulary (vocab.txt or tokenizer.json) is wanted."
      )
    self._vocab_size = max(tokenizer.get_vocab().values()) + 1
    self.pad, self.cls, self.sep = ids["[PAD]"], ids["[CLS]"], ids["[SEP]"]

  @property
  def vocab_size(self) -> int:
    """One more than the greatest id."""
    return self._vocab_size

  @classmethod
  def load(cls, folder) -> "Tokeniser":
    """Reads tokenizer.json or vocab.txt of a Hugging Face folder.

    What tokenizer_config.json says of casing, accents and Chinese characters
    holds, as in transformers. Where it is silent, tokenizer.json decides; a
    vocab.txt that holds many upper-case pieces stays cased (transformers would
    make it uncased, and of most words [UNK]).

    Raises:
      ValueError: neither file is there, it is no WordPiece vocabulary, or one
        beyond the limits of vocabulary.py.
    """
    folder = pathlib.Path(folder)
    file = folder / "tokenizer_config.json"
    settings = vocabulary.read_json(file) if file.exists() else {}
    files.check(settings, SETTINGS, file, "mend the line, or remove it.")
    file = folder / "tokenizer.json"
    if file.exists():
      tokenizer = vocabulary.read_tokenizer(file)
      tokenizer.decoder = decoders.WordPiece()
      if isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        tokenizer.normalizer = _normalizer(settings, tokenizer.normalizer)
      return cls(tokenizer)
    file = folder / "vocab.txt"
    if not file.exists():
      raise ValueError(
        f"{folder}: has neither tokenizer.json nor vocab.txt; give a Hugging"
        " Face folder of a BERT-type model."
      )
    pieces = vocabulary.read_pieces(file)
    default = normalizers.BertNormalizer(lowercase=not _cased(pieces))
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return cls(_wordpiece(vocab, _normalizer(settings, default)))

  @classmethod
  def train(cls, notes, vocab_size: int) -> "Tokeniser":
    """Trains an uncased WordPiece vocabulary on the notes of patients.

    Same notes and size, same vocabulary, in whatever order the notes come.
    Digits are pieces of their own, and a piece of more than one character is
    part of a word that at least `words.PATIENTS` patients have: the rest is
    spelled in such pieces and in characters.

    Args:
      notes: (patient, text); read once.
      vocab_size: most pieces; all characters are kept even if it is smaller.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer = _wordpiece({"[UNK]": 0}, normalizer, digits=True)
    counts, characters = words.common(notes, tokenizer)
    # The trainer numbers characters in the order of a hash table seeded anew
    # in each process and breaks ties of counts by number; characters that it
    # is given as special tokens are numbered by us.
    trainer = trainers.WordPieceTrainer(
      vocab_size=vocab_size,
      special_tokens=[*SPECIALS, *characters],
      show_progress=False,
    )
    tokenizer.train_from_iterator(_repeat(counts), trainer)
    vocab = json.loads(tokenizer.to_str())["model"]["vocab"]
    return cls(_wordpiece(vocab, normalizer, digits=True))

  def save(self, folder) -> None:
    """Writes tokenizer.json into `folder`, whole or not at all."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole(folder / "tokenizer.json") as part:
      self._tokenizer.save(str(part))

  def windows(self, text: str, length: int, cap: int):
    """Cuts `text` into non-overlapping windows, the earliest kept.

    Args:
      text: any length; empty gives no window.
      length: L, pieces of a window with [CLS] and [SEP].
      cap: most windows kept.

    Returns:
      (piece i32[W L] padded with [PAD], mask bool[W L] of the real pieces,
      windows the whole text would take).

    Raises:
      ValueError: a window of `length` holds no piece.
    """
    if length < 3:
      raise ValueError(
        f"windows of {length} pieces have no room between [CLS] and [SEP];"
        " give at least 3."
      )
    if not text:
      return np.zeros((0, length), np.int32), np.zeros((0, length), bool), 0
    ids = self._encode(text).ids
    body = length - 2
    total = max(1, -(-len(ids) // body))
    kept = min(total, cap)
    piece = np.full((kept, length), self.pad, np.int32)
    mask = np.zeros((kept, length), bool)
    for w in range(kept):
      part = ids[w * body : (w + 1) * body]
      piece[w, 0] = self.cls
      piece[w, 1 : 1 + len(part)] = part
      piece[w, 1 + len(part)] = self.sep
      mask[w, : 2 + len(part)] = True
    return piece, mask, total

  def spans(self, text: str, length: int, cap: int) -> np.ndarray:
    """Where each piece of `windows` stands in `text`.

    Args:
      text, length, cap: as of `windows`.

    Returns:
      i32[W L 2], the first character and the first after it; 0 and 0 of
      special pieces and padding.
    """
    shape = self.windows(text, length, cap)[0].shape
    out = np.zeros((*shape, 2), np.int32)
    body = length - 2
    offsets = self._encode(text).offsets
    for w in range(len(out)):
      part = offsets[w * body : (w + 1) * body]
      out[w, 1 : 1 + len(part)] = part
    return out

  def _encode(self, text):
    return self._tokenizer.encode(text, add_special_tokens=False)


def _cased(pieces) -> bool:
  """Whether many pieces are in upper case: an odd one decides nothing."""
  words = [
    p for p in pieces if not p.startswith("[") and p.lower() != p.upper()
  ]
  return sum(p != p.lower() for p in words) > CASED * len(words)


def _repeat(counts, chunk: int = 1000):
  """Every word as often as it was counted, as texts of `chunk` words."""
  for word, n in sorted(counts.items()):
    for i in range(0, n, chunk):
      yield " ".join([word] * min(chunk, n - i))


def _normalizer(settings: dict, default) -> normalizers.BertNormalizer:
  """`default` with what `settings` say differently."""

  def get(name, default):
    return default if settings.get(name) is None else settings[name]

  return normalizers.BertNormalizer(
    clean_text=default.clean_text,
    handle_chinese_chars=get(
      "tokenize_chinese_chars", default.handle_chinese_chars
    ),
    strip_accents=get("strip_accents", default.strip_accents),
    lowercase=get("do_lower_case", default.lowercase),
  )


def _wordpiece(
  vocab: dict[str, int], normalizer, digits: bool = False
) -> tokenizers.Tokenizer:
  model = models.WordPiece(vocab, unk_token="[UNK]")
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = normalizer
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  if digits:
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
      [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(True)]
    )
  tokenizer.decoder = decoders.WordPiece()
  # Those absent from the vocabulary must not get an id beyond it.
  tokenizer.add_special_tokens([name for name in SPECIALS if name in vocab])
  return tokenizer
