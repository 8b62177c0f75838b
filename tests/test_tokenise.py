"""Windows by hand, casing, determinism; pieces against transformers."""

import json
import subprocess
import sys

import numpy as np
import pytest

from medpatch_jax.input import vocabulary
from medpatch_jax.input.tokenise import SPECIALS, Tokeniser

PAD, UNK, CLS, SEP = 0, 1, 2, 3
WORDS = ("a", "b", "c", "d", "e")  # Pieces 5 to 9.

SENTENCES = (
  "The patient was admitted with acute respiratory failure.",
  "Naïve café: résumé of Señor Müller, Ångström; ȘȚ, ﬁne ½.",
  "双肺纹理增多 - 心影不大。テスト 한국어",
  "SpO2 97% on 2L/min (BP 120/80), T=38.5°C... [**2154-3-1**] ___ y/o",
  "pneumonoultramicroscopicsilicovolcanoconiosis " + "x" * 99 + " " + "y" * 101,
  "tab\there\nnew line\r\nnull\x00 zero\u200bwidth\ufeff soft\xadhyphen \ufffd",
  "emoji 😀, don't, U.S.A., e-mail@host.org, $5.00, «quoted», it’s",
  "[CLS] literal [SEP] specials [MASK] in [UNK] text [PAD]",
  "İstanbul ẞ ß Σίσυφος ΑΣ DŽ ﬀ é e\u0301",
  "   ",
  "",
)


@pytest.fixture
def folder(tmp_path):
  """Writes vocab.txt of the specials and `pieces` and returns its folder."""

  def write(*pieces, config=None):
    text = "\n".join((*SPECIALS, *pieces)) + "\n"
    (tmp_path / "vocab.txt").write_text(text, "utf-8")
    if config is not None:
      (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path

  return write


def test_windows_by_hand(folder):
  tokeniser = Tokeniser.load(folder(*WORDS))
  piece, mask, total = tokeniser.windows("a b c d e", length=4, cap=9)
  np.testing.assert_array_equal(
    piece, [[CLS, 5, 6, SEP], [CLS, 7, 8, SEP], [CLS, 9, SEP, PAD]]
  )
  np.testing.assert_array_equal(
    mask, [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
  )
  assert total == 3
  assert (piece.dtype, mask.dtype) == (np.int32, bool)


def test_windows_of_510_pieces_do_not_overlap(folder):
  tokeniser = Tokeniser.load(folder(*WORDS))
  words = ["a", "b", "c", "d", "e", "unheard"] * 250  # 1500 = 2 * 510 + 480
  piece, mask, total = tokeniser.windows(" ".join(words), length=512, cap=16)
  assert piece.shape == (3, 512) and total == 3
  np.testing.assert_array_equal(mask.sum(1), [512, 512, 482])
  ids = [*range(5, 10), UNK] * 250
  body = [*piece[0, 1:511], *piece[1, 1:511], *piece[2, 1:481]]
  np.testing.assert_array_equal(body, ids)
  np.testing.assert_array_equal(piece[:, 0], [CLS] * 3)
  np.testing.assert_array_equal(piece[[0, 1, 2], [511, 511, 481]], [SEP] * 3)
  assert (piece[2, 482:] == PAD).all()


def test_exactly_full_windows_make_no_empty_one(folder):
  tokeniser = Tokeniser.load(folder(*WORDS))
  piece, _, total = tokeniser.windows("a b c d", length=4, cap=9)
  assert piece.shape == (2, 4) and total == 2


def test_cap_keeps_the_earliest_and_reports_all(folder):
  tokeniser = Tokeniser.load(folder(*WORDS))
  piece, mask, total = tokeniser.windows("a b c d e", length=3, cap=2)
  np.testing.assert_array_equal(piece, [[CLS, 5, SEP], [CLS, 6, SEP]])
  assert mask.all() and total == 5


def test_empty_text_has_no_window_and_blank_text_an_empty_one(folder):
  tokeniser = Tokeniser.load(folder(*WORDS))
  piece, mask, total = tokeniser.windows("", length=4, cap=9)
  assert piece.shape == mask.shape == (0, 4) and total == 0
  piece, mask, total = tokeniser.windows(" \n", length=4, cap=9)
  np.testing.assert_array_equal(piece, [[CLS, SEP, PAD, PAD]])
  np.testing.assert_array_equal(mask, [[1, 1, 0, 0]])
  assert total == 1


def test_window_without_room_is_refused(folder):
  with pytest.raises(ValueError, match="2 pieces.*at least 3"):
    Tokeniser.load(folder(*WORDS)).windows("a", length=2, cap=1)


def _ids(tokeniser, text):
  piece, mask, _ = tokeniser.windows(text, length=64, cap=1)
  return piece[mask][1:-1].tolist()


def test_cased_vocabulary_stays_cased(folder):
  tokeniser = Tokeniser.load(folder("Lung", "lung", "É", "E"))
  assert _ids(tokeniser, "Lung lung LUNG É") == [5, 6, UNK, 7]


def test_uncased_vocabulary_lowers_and_strips_accents(folder):
  tokeniser = Tokeniser.load(folder("lung", "e"))
  assert _ids(tokeniser, "Lung lung LUNG É") == [5, 5, 5, 6]


def test_tokenizer_config_decides_the_casing(folder):
  path = folder("lung", "Lung", config={"do_lower_case": True})
  assert _ids(Tokeniser.load(path), "Lung") == [5]
  path = folder("lung", config={"do_lower_case": False})
  assert _ids(Tokeniser.load(path), "Lung lung") == [UNK, 5]


def test_tokenizer_config_overrides_tokenizer_json(folder):
  path = folder("lung", "Lung")
  Tokeniser.load(path).save(path)
  assert _ids(Tokeniser.load(path), "Lung") == [6]
  folder("lung", "Lung", config={"do_lower_case": True})
  assert _ids(Tokeniser.load(path), "Lung") == [5]


def test_line_separators_are_pieces(folder):
  tokeniser = Tokeniser.load(folder("\u2028", "\x85", "a"))
  assert tokeniser.vocab_size == 8 and _ids(tokeniser, "a") == [7]


def test_bad_vocabularies_are_refused(tmp_path):
  with pytest.raises(ValueError, match="neither tokenizer.json nor vocab.txt"):
    Tokeniser.load(tmp_path)
  (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\na\n")
  with pytest.raises(ValueError, match=r"lacks \[PAD\], \[SEP\]"):
    Tokeniser.load(tmp_path)
  (tmp_path / "tokenizer_config.json").write_text("[1]")
  with pytest.raises(ValueError, match="tokenizer_config.json: is no JSON"):
    Tokeniser.load(tmp_path)
  (tmp_path / "tokenizer_config.json").unlink()
  (tmp_path / "tokenizer.json").write_text("{}")
  with pytest.raises(ValueError, match="tokenizer.json: unreadable"):
    Tokeniser.load(tmp_path)
  import tokenizers

  bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
  bpe.add_special_tokens(list(SPECIALS))
  bpe.save(str(tmp_path / "tokenizer.json"))
  with pytest.raises(ValueError, match="holds a BPE model"):
    Tokeniser.load(tmp_path)


def _written(folder, change):
  """A tokenizer.json whose content was changed."""
  path = folder("lung", "##s")
  Tokeniser.load(path).save(path)
  file = path / "tokenizer.json"
  content = json.loads(file.read_text("utf-8"))
  change(content)
  file.write_text(json.dumps(content), "utf-8")
  return path


def _regex(c):
  pattern = {"Regex": "(a+)+$"}
  c["normalizer"] = {"type": "Replace", "pattern": pattern, "content": ""}


def _doubling(c):
  one = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
  c["normalizer"] = {"type": "Sequence", "normalizers": [one] * 40}


def _split(c):
  one = {"type": "Split", "pattern": {"Regex": "(a+)+$"}}
  one |= {"behavior": "Removed", "invert": False}
  c["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [one]}


@pytest.mark.parametrize(
  "change, message",
  [
    (_regex, "normalizer is of type 'Replace'"),
    (_doubling, "no Sequence of at most 16 steps"),
    (_split, "pre_tokenizer is of type 'Split'"),
    (
      lambda c: c["model"].update(max_input_chars_per_word=10**9),
      "from 1 to 1000",
    ),
    (
      lambda c: c["model"].update(continuing_subword_prefix="#" * 10**6),
      "at most 16 characters",
    ),
    (lambda c: c["model"]["vocab"].update({"a" * 300: 9}), "300 characters"),
    (lambda c: c["model"]["vocab"].update(a=2**40), "not from 0 to 999,999"),
    (
      lambda c: c["model"].update(vocab=dict.fromkeys(map(str, range(101)))),
      "holds 101 pieces",
    ),
    (
      lambda c: c["added_tokens"].append({"content": "a" * 300}),
      "300 characters",
    ),
    (
      lambda c: c["added_tokens"].extend([{"content": "a"}] * 101),
      "106 added_tokens",
    ),
    (lambda c: c["model"].update(vocab=None), "unreadable"),
    (lambda c: c.update(model=[]), "unreadable"),
  ],
)
def test_a_tokenizer_that_would_not_end_is_refused(
  folder, monkeypatch, change, message
):
  monkeypatch.setattr(vocabulary, "PIECES", 100)
  monkeypatch.setattr(vocabulary, "ADDED", 100)
  if "999" in message:
    monkeypatch.undo()
  with pytest.raises(ValueError, match=message) as e:
    Tokeniser.load(_written(folder, change))
  assert "tokenizer.json: " in str(e.value) and "\n" not in str(e.value)


def test_files_without_an_end_are_refused(folder, monkeypatch):
  """One too large, one nested too deep, a piece too long."""
  path = folder("lung")
  for name in ("tokenizer.json", "tokenizer_config.json"):
    (path / name).write_text("[" * 100_000)
    with pytest.raises(ValueError, match=f"{name}: is no JSON object"):
      Tokeniser.load(path)
    (path / name).unlink()
  folder("a" * 300)
  with pytest.raises(ValueError, match="vocab.txt: .*300 characters"):
    Tokeniser.load(path)
  monkeypatch.setattr(vocabulary, "BYTES", 1 << 20)
  with open(path / "vocab.txt", "ab") as file:
    file.truncate((1 << 20) + 1)
  with pytest.raises(ValueError, match="vocab.txt: is larger than 1 MiB"):
    Tokeniser.load(path)


def test_an_id_beyond_the_count_of_pieces_needs_an_embedding(folder):
  path = _written(folder, lambda c: c["model"]["vocab"].update(lung=90))
  assert Tokeniser.load(path).vocab_size == 91


TRAIN = """
import random, sys
from medpatch_jax.input.tokenise import Tokeniser
draw = random.Random(0)
def word():
  return "".join(draw.choices("abcdefghijklmnopqrstuvwxyzé", k=draw.randint(1, 9)))
words = [word() for _ in range(300)]
notes = [(i % 40, " ".join(draw.choices(words, k=30))) for i in range(300)]
if sys.argv[2] == "reversed":
  notes = notes[::-1]
Tokeniser.train(iter(notes), 400).save(sys.argv[1])
"""


def test_training_is_deterministic_across_processes(tmp_path, repository):
  written = []
  for name in ("once", "again", "reversed"):
    command = [sys.executable, "-c", TRAIN, str(tmp_path / name), name]
    subprocess.run(command, cwd=repository, check=True)
    written.append((tmp_path / name / "tokenizer.json").read_bytes())
  assert written[0] == written[1] == written[2]
  assert Tokeniser.load(tmp_path / "once").vocab_size == 400


def test_training_keeps_words_and_characters(tmp_path):
  notes = [(p, "Lung lung lung lung clear") for p in range(11)]
  trained = Tokeniser.train(notes, 105)
  trained.save(tmp_path)
  loaded = Tokeniser.load(tmp_path)
  assert (loaded.pad, loaded.cls, loaded.sep) == (PAD, CLS, SEP)
  assert len(_ids(loaded, "LUNG")) == 1
  assert UNK not in _ids(loaded, "clear gun 3%") and _ids(loaded, "ß") == [UNK]
  for text in SENTENCES:
    assert _ids(trained, text) == _ids(loaded, text)


def _pieces(tokeniser):
  """Pieces without ##, of a vocabulary's, but the special ones."""
  vocab = json.loads(tokeniser._tokenizer.to_str())["model"]["vocab"]
  return [p for p in vocab if p not in SPECIALS]


def _surname(i):
  """One of 280, no two of them alike: Abacada, Abacade, ..."""
  sounds = [c + v for c in "bcdfghjk" for v in "aeiou"]
  return "".join(sounds[i // 7**k % 7 * 5 + i % 5] for k in range(4)).title()


def test_no_piece_is_a_word_of_few_patients():
  """280 surnames, each of one patient who has many notes, and a common one."""
  notes = []
  for p in range(280):
    name = _surname(p) if p >= 20 else "Smith"
    name += "" if p >= 10 else f" {_surname(p)}"
    note = f"Mr. {name}, MRN {3_000_017 * (p + 1)}, has pneumonia of the lung."
    # More often than any word that all have, and by some in another form.
    notes += [(p, note + f" {name}!" * 20 + f"{name.upper()}-{name}")] * 3
  surnames = {_surname(p).lower() for p in range(280)}
  trained = Tokeniser.train(notes, 30_000)
  pieces = _pieces(trained)
  assert len({_surname(p) for p in range(280)}) == 280
  assert {"smith", "pneumonia", "lung", "mrn"} <= set(pieces)
  texts = [note.lower().split() for _, note in notes[::3]]
  for piece in pieces:
    plain = piece.removeprefix("##")
    if len(plain) > 1:
      having = sum(any(plain in word for word in text) for text in texts)
      assert having >= 11 and plain not in surnames
      assert not any(c.isdigit() for c in plain)
  # They are spelled, and nothing of them is lost.
  for name in surnames:
    ids = trained._tokenizer.encode(name, add_special_tokens=False).ids
    assert len(ids) > 1 and trained._tokenizer.decode(ids) == name


def test_a_word_needs_patients_and_neither_notes_nor_forms():
  ten = [(p % 10, "Borreliosis") for p in range(1000)]
  assert "borreliosis" not in _pieces(Tokeniser.train(ten, 30_000))
  forms = ["borreliosis", "Borreliosis,", "(BORRELIOSIS)"]
  eleven = [(p, forms[p % 3]) for p in range(11)]
  assert "borreliosis" in _pieces(Tokeniser.train(eleven, 30_000))
  # All of fewer than eleven patients: characters alone, of ASCII alone.
  few = Tokeniser.train([(p, "Łódź lung 12") for p in range(10)], 30_000)
  assert all(len(p.removeprefix("##")) == 1 for p in _pieces(few))
  assert all(p.isascii() for p in _pieces(few))
  assert len(_ids(few, "lung 12")) == 6
  # A letter that many have is one, wherever it stands.
  many = Tokeniser.train([(p, "łuk oł") for p in range(11)], 30_000)
  assert {"ł", "##ł", "łuk"} <= set(_pieces(many))


def _vocabulary(cased):
  """Characters and some words of SENTENCES, of one casing."""
  text = " ".join(SENTENCES)
  text = text if cased else text.lower()
  seen = sorted({c for c in text if c.isprintable() and not c.isspace()})
  words = (
    ["The", "Müller", "SpO", "patient"] if cased else ["patient", "muller"]
  )
  return [*seen, *(f"##{c}" for c in seen), *words]


@pytest.mark.extra
@pytest.mark.parametrize("cased", [False, True], ids=["uncased", "cased"])
@pytest.mark.parametrize("kind", ["vocab.txt", "tokenizer.json"])
def test_pieces_equal_those_of_transformers(folder, cased, kind):
  import transformers

  path = folder(*_vocabulary(cased), config={"do_lower_case": not cased})
  if kind == "tokenizer.json":
    saved = transformers.BertTokenizer.from_pretrained(path)
    (path / "vocab.txt").unlink()
    saved.save_pretrained(path)
    assert (path / "tokenizer.json").exists()
  theirs = transformers.BertTokenizer.from_pretrained(path)
  ours = Tokeniser.load(path)
  for text in SENTENCES[:-1]:
    piece, mask, _ = ours.windows(text, length=512, cap=1)
    assert piece[mask].tolist() == theirs(text)["input_ids"], text


@pytest.mark.parametrize("text", ["\ufeff{}\n", "{}\n\n\n", "{}\r\n"])
def test_a_vocabulary_of_another_editor_is_read(tmp_path, text):
  pieces = "\r\n" if "\r" in text else "\n"
  pieces = pieces.join((*SPECIALS, *WORDS))
  (tmp_path / "vocab.txt").write_bytes(text.format(pieces).encode())
  tokeniser = Tokeniser.load(tmp_path)
  assert tokeniser.vocab_size == 10 and tokeniser.pad == PAD
  assert _ids(tokeniser, "a e") == [5, 9]


def test_one_odd_piece_makes_no_vocabulary_cased(folder):
  tokeniser = Tokeniser.load(folder(*"abcdefghijklmnopqrstuvwxyz", "Ⅳ"))
  assert _ids(tokeniser, "A Z") == [5, 30]


def test_a_setting_of_null_is_not_said_and_others_are_named(folder):
  nothing = dict.fromkeys(
    ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
  )
  assert _ids(Tokeniser.load(folder("lung", config=nothing)), "Lung") == [5]
  for name in nothing:
    path = folder("lung", config={name: "false"})
    with pytest.raises(
      ValueError, match=f"config.json: {name} is a text, wanted true or false"
    ):
      Tokeniser.load(path)
