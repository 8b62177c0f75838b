"""Notes -> windows of WordPiece pieces (METHOD.md section 1, RR and DN)."""

import json
import pathlib

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

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
    self.pad, self.cls, self.sep = ids["[PAD]"], ids["[CLS]"], ids["[SEP]"]

  @property
  def vocab_size(self) -> int:
    return self._tokenizer.get_vocab_size()

  @classmethod
  def load(cls, folder) -> "Tokeniser":
    """Reads tokenizer.json or vocab.txt of a Hugging Face folder.

    A vocab.txt is read with the casing of tokenizer_config.json
    (`do_lower_case`); where that file is silent, a vocabulary that holds
    upper-case pieces stays cased.

    Raises:
      ValueError: neither file is there.
    """
    folder = pathlib.Path(folder)
    if (folder / "tokenizer.json").exists():
      return cls(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
    if not (folder / "vocab.txt").exists():
      raise ValueError(
        f"{folder}: has neither tokenizer.json nor vocab.txt; give a Hugging"
        " Face folder of a BERT-type model."
      )
    pieces = (folder / "vocab.txt").read_text("utf-8").splitlines()
    config = folder / "tokenizer_config.json"
    settings = json.loads(config.read_text("utf-8")) if config.exists() else {}
    cased = any(p != p.lower() for p in pieces if p not in SPECIALS)
    lower = settings.get("do_lower_case", not cased)
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return cls(_wordpiece(models.WordPiece(vocab, unk_token="[UNK]"), lower))

  @classmethod
  def train(cls, texts, vocab_size: int) -> "Tokeniser":
    """Trains an uncased WordPiece vocabulary on an iterable of texts."""
    tokenizer = _wordpiece(models.WordPiece(unk_token="[UNK]"), lower=True)
    trainer = trainers.WordPieceTrainer(
      vocab_size=vocab_size,
      special_tokens=list(SPECIALS),
      show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return cls(tokenizer)

  def save(self, folder) -> None:
    """Writes tokenizer.json into `folder`, whole or not at all."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "tokenizer.json.partial"
    self._tokenizer.save(str(partial))
    partial.rename(folder / "tokenizer.json")

  def windows(self, text: str, length: int, cap: int):
    """Cuts `text` into non-overlapping windows, the earliest kept.

    Args:
      text: any length; empty gives no window.
      length: L, pieces of a window with [CLS] and [SEP].
      cap: most windows kept.

    Returns:
      (piece i32[W L] padded with [PAD], mask bool[W L] of the real pieces,
      windows the whole text would take).
    """
    if not text:
      return np.zeros((0, length), np.int32), np.zeros((0, length), bool), 0
    ids = self._tokenizer.encode(text, add_special_tokens=False).ids
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


def _wordpiece(model, lower: bool) -> tokenizers.Tokenizer:
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.decoder = decoders.WordPiece()
  tokenizer.add_special_tokens(list(SPECIALS[:4]))
  return tokenizer
