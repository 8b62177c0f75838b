"""Odd files: data.build and medpatch_jax.predict read each in one way.

Both take or refuse it in the same words, and see the same values.
"""

import csv
import datetime
import decimal
import gzip
import io
import re

import numpy as np
import pytest
from PIL import Image

import medpatch_jax
from data.tables import assemble, extract
from medpatch_jax.input import cell, examples, stay
from medpatch_jax.input.places import InputError
from medpatch_jax.input.tables import layout, problems, reader
from medpatch_jax.predict import tables as tables_lib
from tests import tables_folder
from tests.tables_folder import SECRET


@pytest.fixture(scope="module")
def preparation(mine):
  return medpatch_jax.load(mine.model).preparation


def built(folder, work, censored="refuse"):
  """stay -> (present, series, texts), as a record holds them."""
  found = problems.Problems(folder)
  opened = layout.open_all(folder, found)
  connection = reader.connect(
    ":memory:", threads=1, memory="1GB", temporary=work
  )
  read = reader.Reader(connection, found)
  stays, variables, kinds, unread, embedded = extract._read(
    read, opened, work, folder, censored, {}, True
  )
  assemble.keep(connection, work, opened.keys() & assemble.KEPT.keys())
  job = assemble.Job(
    work, stays.split, stays.end, 0, stays=stays, kinds=kinds,
    variables=variables, root=folder, embedded=embedded,
  )  # fmt: skip
  out = {"unread": unread}
  for e in job.assembler().part(0, len(stays.end)).examples:
    texts = {m: e[m] for m, kind in kinds.items() if kind == "text"}
    present = dict(zip(kinds, e["present"].tolist()))
    out[e["stay_id"]] = present, e.get("ehr"), texts
  connection.close()
  return out


def predicted(folder, work, preparation):
  """The same, as a prediction reads it."""
  source = tables_lib.Tables(folder, preparation, work)
  out = {"unread": source.unread}
  for number, raw in zip(source.ids, source.part(0, len(source.ids))):
    grid, texts = None, {}
    if raw.get("ehr"):
      grid, _ = preparation.recipe.grid(raw["ehr"], raw["hours"])
    for m in ("nursing", "triage"):
      kept, _ = stay.within(raw.get(m, []), raw["hours"], str)
      texts[m] = examples.join(t for _, t in kept)
    present = {"ehr": grid is not None, "cxr": "cxr" in raw}
    present |= {m: bool(text) for m, text in texts.items()}
    if any(present.values()):
      out[int(number)] = present, grid, texts
  source.close()
  return out


def outcome(read, *arguments):
  """What was read, or the problems without their first line."""
  try:
    return read(*arguments), None
  except InputError as error:
    # The variables that are known are those of the folder, or of the model.
    known = r"(is none of the )(table|model's) variables.*?(?= \(row)"
    text = re.sub(known, r"\1variables", str(error))
    return None, text.splitlines()[1:]


def compared(folder, tmp_path, preparation, wanted):
  """Reads a folder in both ways; `wanted` is None, or what each must say."""
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
  one, said = outcome(built, folder, tmp_path / "a")
  two, told = outcome(predicted, folder, tmp_path / "b", preparation)
  assert said == told
  if wanted:
    assert said and re.search(wanted, "\n".join(said)), said
    assert SECRET not in "\n".join(said)
    return None
  assert said is None, said
  assert one.pop("unread") == two.pop("unread")
  assert one.keys() == two.keys()
  for number, (present, grid, texts) in one.items():
    their_present, their_grid, their_texts = two[number]
    assert {m: present.get(m, False) for m in their_present} == their_present
    assert {m: texts.get(m, "") for m in their_texts} == their_texts
    if present["ehr"]:
      np.testing.assert_array_equal(grid, their_grid)
  return one


def lines(change):
  """A change of a file's lines, which end in a line feed."""
  return lambda raw: b"\n".join(change(raw.split(b"\n")))


def swap(old, new):
  def change(raw):
    assert old.encode() in raw
    return raw.replace(
      old.encode(), new if isinstance(new, bytes) else new.encode(), 1
    )

  return change


def index(raw):
  """As pandas writes a table with its index."""
  rows = raw.decode().strip().split("\n")
  return "\n".join(
    f"{i - 1 if i else ''},{row}" for i, row in enumerate(rows)
  ).encode()


def first(cells):
  """Puts other cells into the first row of the events."""
  return swap("1,0.5,Pulse,100", cells)


# What is odd -> (table, change of its bytes, None where it is read, or what is
# said of it).
FILES = {
  "as it is": ("events", lambda raw: raw, None),
  "comment": ("events", lines(lambda x: [x[0], b"# page 1", *x[1:]]), r"too few columns.*\(line 2\)"),
  "row that begins with #": ("events", first("#1,0.5,Pulse,100"), "no whole number .row 1"),
  "text with #": ("notes", swap("of the ward", "bed #7 restless"), None),
  "note of # alone": ("notes", swap("of the ward", "#"), None),
  "blank lines first": ("events", lambda raw: b"\n  \n\n" + raw, None),
  "byte order mark, blank line": ("stays", lambda raw: b"\xef\xbb\xbf\n" + raw, None),
  "blank line between": ("events", lines(lambda x: [*x[:3], b"", *x[3:]]), None),
  "line of blanks": ("events", lines(lambda x: [*x[:3], b"  ", *x[3:]]), "too few columns"),
  "empty cells alone": ("events", lines(lambda x: [*x[:3], b",,,", *x[3:]]), "no whole number .row 3"),
  "index of events": ("events", index, None),
  "index of stays": ("stays", index, None),
  "index of notes": ("notes", index, None),
  "index of variables": ("variables", index, None),
  "last columns of nothing": ("events", lambda raw: raw.replace(b"\n", b",,\n"), None),
  "column of stays without a name": ("stays", lambda raw: raw.replace(b"\n", b",\n"), "column number 9: has no name"),
  "carriage returns": ("events", lambda raw: raw.replace(b"\n", b"\r"), None),
  "carriage returns in stays": ("stays", lambda raw: raw.replace(b"\n", b"\r"), None),
  "carriage returns in variables": ("variables", lambda raw: raw.replace(b"\n", b"\r"), None),
  "both": ("events", lambda raw: raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), None),
  "mixed line ends": ("events", lambda raw: raw.replace(b"\n", b"\r", 2), "lines end in more than one way"),
  "byte order mark": ("events", lambda raw: b"\xef\xbb\xbf" + raw, None),
  "UTF-16": ("notes", lambda raw: raw.decode().encode("utf-16"), "line 1 is not UTF-8"),
  "UTF-16 without a mark": ("notes", lambda raw: raw.decode().encode("utf-16-le"), "line 1 is not UTF-8"),
  "Latin-1": ("notes", swap("of the ward", "w\xe4rd".encode("latin-1")), "no UTF-8 text"),
  "Latin-1 header": ("events", lambda raw: raw.replace(b"value", b"w\xe4rt", 1), "line 1 is not UTF-8"),
  "19 digits": ("all", lambda raw: re.sub(rb"(?m)^1,", b"9223372036854775807,", raw), None),
  "2^63": ("all", lambda raw: re.sub(rb"(?m)^1,", b"9223372036854775808,", raw), "no whole number"),
  "ids of floats": ("all", lambda raw: re.sub(rb"(?m)^([0-9]),", rb"\1.0,", raw), None),
  "half an id": ("events", first("1.5,0.5,Pulse,100"), "no whole number .row 1"),
  "id of full width": ("events", first("１,0.5,Pulse,100"), "no whole number .row 1"),
  "quoted cells": ("events", first('"1","0.5","Pulse","100"'), None),
  "line break in quotes": ("notes", swap("of the ward", '"of\n\nthe ward"'), None),
  "comma in quotes": ("notes", swap("of the ward", '"of, the ""ward"""'), None),
  "NUL in a text": ("notes", swap("of the ward", "of\0ward"), None),
  "NUL in a number": ("events", first("1,0.5,Pulse,1\x0000"), "no number .row 1"),
  "NUL in the header": ("events", lambda raw: raw.replace(b"hour", b"h\0our", 1), "line 1 is not UTF-8"),
  "too few columns": ("events", first("1,0.5,Pulse"), r"too few columns.*line 2"),
  "too many columns": ("events", first("1,0.5,Pulse,100,5"), r"too many columns.*line 2"),
  "text behind a quote": ("notes", swap("of the ward", f'"{SECRET}" said'), "a quote that does not close"),
  "quote that never closes": ("notes", swap("of the ward", f'"{SECRET}'), "a quote that does not close; nothing behind"),
  "quote in the header": ("notes", swap("text", '"text'), "column text: is missing"),
  "column twice": ("events", lambda raw: raw.replace(b"\n", b",1\n").replace(b",1\n", b",value\n", 1), "column value: is there twice"),
  "column missing": ("events", swap("value", "wert"), "column value: is missing; found 4"),
  "header alone": ("events", lines(lambda x: [x[0], b""]), "has no rows"),
  "empty": ("events", lambda raw: b"", "is empty"),
  "blank lines alone": ("events", lambda raw: b"\n\n\n", "is empty"),
  "semicolons": ("events", lambda raw: raw.replace(b",", b";"), "parted by semicolons"),
  "no header": ("notes", lines(lambda x: [f"1,ward,2,{SECRET}".encode(), *x[1:]]), "is the header line missing"),
  "no header of stays": ("stays", lines(lambda x: [f"1,11,3,1,0,train,{SECRET},60".encode(), *x[1:]]), "is the header line missing"),
  "no header of variables": ("variables", lines(lambda x: [f"{SECRET},,80,20,250".encode(), *x[1:]]), "is the header line missing"),
  "decimal comma": ("events", first('1,0.5,Pulse,"100,5"'), "no number .row 1.: 1 with a comma"),
  "hour with a comma": ("events", first('1,"0,5",Pulse,100'), "hour: no number"),
  "power of ten": ("events", first("1,5e-1,Pulse,1e2"), None),
  "plus": ("events", first("1,+0.5,Pulse,+100."), None),
  "infinite": ("events", first("1,0.5,Pulse,inf"), "no number .row 1.: 1 infinite; --censored=drop"),
  "infinitely low": ("events", first("1,0.5,Pulse,-Infinity"), "1 infinite"),
  "no number at all": ("events", first("1,0.5,Pulse,nan"), "1 a word for missing .leave it empty"),
  "NA": ("events", first("1,0.5,Pulse,NA"), "1 a word for missing"),
  "below": ("events", first("1,0.5,Pulse,<5"), "1 as <5 or >100; --censored=drop"),
  "above": ("events", first("1,0.5,Pulse,>100"), "1 as <5 or >100"),
  "with a unit": ("events", first("1,0.5,Pulse,100/min"), "1 with a unit"),
  "underscore": ("events", first("1,0.5,Pulse,1_00"), "1 with a unit or other words"),
  "full width": ("events", first("1,0.5,Pulse,１００"), "1 other text"),
  "hexadecimal": ("events", first("1,0.5,Pulse,0x64"), "1 with a unit or other words"),
  "blanks at the ends": ("events", first(" 1\t,\u00a00.5,Pulse \u200b, 100\u3000"), None),
  "blank value": ("events", first("1,0.5,Pulse,\u00a0"), None),
  "category of full width": ("events", swap("2.2,Rhythm,af", "2.2,Rhythm,ａｆ"), "none of its categories"),
  "hours of zero": ("stays", swap("1,11,3,", "1,11,0,"), "no number of hours above 0"),
  "label": ("stays", swap("1,11,3,1,", f"1,11,3,{SECRET},"), "neither 0 nor 1"),
  "two byte order marks": ("events", lambda raw: b"\xef\xbb\xbf" * 2 + raw, None),
  "name in another case": ("events", lambda raw: raw.replace(b"\n", b",1\n").replace(b",1\n", b",Value\n", 1), "column value: is there twice"),
  "rows end in a comma": ("events", lines(lambda x: [x[0], *(b + b"," for b in x[1:-1]), b""]), None),
  "header ends in a comma": ("events", lines(lambda x: [x[0] + b",", *x[1:]]), "too few columns"),
  "comma that is a point": ("events", first("1,0,5,Pulse,100"), "too many columns"),
  "hour without end": ("events", first("1,1e400,Pulse,100"), "column hour: no number"),
  "hour of no number": ("events", first("1,NaN,Pulse,100"), "column hour: no number"),
  "hour of negative zero": ("events", first("1,-0.0,Pulse,100"), None),
  "no hour": ("notes", swap("1,nursing,2", "1,nursing,"), "column hour: no number"),
  "length without end": ("stays", swap("1,11,3,", "1,11,1e400,"), "no number of hours"),
  "id within blanks": ("events", first('" 1 ",0.5,Pulse,100'), None),
  "id in quotes of its own": ("events", first('"""1""",0.5,Pulse,100'), "no whole number .row 1"),
  "id of two words": ("events", first("1 2,0.5,Pulse,100"), "no whole number .row 1"),
  "id with zeros in front": ("events", first("0001,0.5,Pulse,100"), None),
  "the same id with zeros": ("stays", swap("2,", "01,"), "has been there before"),
  "id of powers": ("events", first("1e0,0.5,Pulse,100"), "no whole number .row 1"),
  "an empty id": ("notes", swap("1,nursing", ",nursing"), "no whole number"),
  "a workbook": ("events", lambda raw: b"PK\x03\x04\x14\0\x06\0" + bytes(range(256)), "line 1 is not UTF-8"),
  "gzip without its ending": ("events", gzip.compress, "line 1 is not UTF-8"),
  "NUL lines at the end": ("events", lambda raw: raw + bytes(512), "too few columns"),
  "no such stay": ("notes", swap("1,nursing", "77,nursing"), "is of no stay"),
  "words for a kind": ("notes", swap("1,nursing", "1,Two words"), "no lower-case word"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_odd_files_are_read_in_one_way(name, tmp_path, preparation):
  table, change, wanted = FILES[name]
  folder = tables_folder.write(tmp_path / "in")
  for path in folder.glob("*.csv"):
    raw = path.read_bytes().replace(b"\r\n", b"\n")
    mine = table in (path.stem, "all") and path.stem != (
      "variables" if table == "all" else ""
    )
    path.write_bytes(change(raw) if mine else raw)
  found = compared(folder, tmp_path, preparation, wanted)
  if found and name == "text with #":
    assert found[1][2]["nursing"] == "bed #7 restless"
  if found and name == "19 digits":
    assert 2**63 - 1 in found and 1 not in found
  if found and name in ("power of ten", "plus", "blanks at the ends"):
    assert found[1][1][0, 0] == 110  # Nothing else of it has moved.


def _arrow(folder, name, change):
  """A table as Parquet, its columns of text changed."""
  import pyarrow as pa
  from pyarrow import parquet

  path = folder / f"{name}.csv"
  with open(path, newline="", encoding="utf-8") as file:
    head, *rows = csv.reader(file)
  columns = dict(zip(head, map(pa.array, zip(*rows))))
  path.unlink()
  parquet.write_table(
    pa.table(columns | change(columns)), path.with_suffix(".parquet")
  )


def _cast(column, kind):
  return lambda columns: {column: columns[column].cast(kind)}


def _utf8(columns):
  return {
    "text": [f"caf\u00e9 {i}".encode() for i in range(len(columns["text"]))]
  }


# What a table is as Parquet -> (its name, columns changed, what is said).
PARQUET = {
  "texts as bytes": ("notes", _utf8, None),
  "texts of Latin-1": ("notes", lambda x: {"text": [b"w\xe4rd"] * len(x["text"])}, "is not UTF-8 text"),
  "categories": ("events", lambda x: {"variable": x["variable"].dictionary_encode()}, None),
  "ids as floats": ("notes", _cast("stay_id", "float64"), None),
  "ids as decimals": ("notes", lambda x: {"stay_id": [decimal.Decimal(f"{i}.00") for i in x["stay_id"].to_pylist()]}, None),
  "hours of 32 bits": ("notes", _cast("hour", "float32"), None),
  "hours as times": ("notes", lambda x: {"hour": [datetime.datetime(2150, 1, 1)] * len(x["hour"])}, "column hour: no number"),
  "values as lists": ("events", lambda x: {"value": [[1.0]] * len(x["value"])}, "column value: no number"),
  "labels as truth": ("stays", lambda x: {"label_death": [True] * len(x["hours"])}, "neither 0 nor 1"),
  "no row": ("notes", lambda x: {k: v[:0] for k, v in x.items()}, "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", PARQUET)
def test_odd_types_are_read_in_one_way(name, tmp_path, preparation):
  table, change, wanted = PARQUET[name]
  folder = tables_folder.write(tmp_path / "in")
  _arrow(folder, table, change)
  found = compared(folder, tmp_path, preparation, wanted)
  if name == "texts as bytes":
    assert "caf\u00e9" in found[1][2]["nursing"]


def _members(path):
  """A compressed file of several members, as of `cat a.gz b.gz`."""
  raw = path.read_bytes()
  half = len(raw) // 2
  path.unlink()
  packed = gzip.compress(raw[:half]) + gzip.compress(raw[half:])
  path.with_suffix(".csv.gz").write_bytes(packed)


def _trailing(path):
  packed = gzip.compress(path.read_bytes())
  path.unlink()
  path.with_suffix(".csv.gz").write_bytes(packed + b"trailing")


def _folder(path):
  path.unlink()
  path.mkdir()


def _nowhere(path):
  path.unlink()
  path.symlink_to("nowhere.csv")


PLACES = {
  "members": (_members, None),
  "bytes behind the end": (_trailing, "the gzip stream ends early|not gzip"),
  "a folder": (_folder, "notes.csv: is a folder; wanted a file"),
  "a link to nothing": (_nowhere, "notes.csv: is a link to nothing; wanted"),
}


@pytest.mark.parametrize("name", PLACES)
def test_odd_places_are_read_in_one_way(name, tmp_path, preparation):
  change, wanted = PLACES[name]
  folder = tables_folder.write(tmp_path / "in")
  change(folder / "notes.csv")
  compared(folder, tmp_path, preparation, wanted)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("title", ["in[1]", "in?", "it's", "group_x=5"])
def test_the_folder_that_is_named_is_read(title, kind, tmp_path, preparation):
  """No other that DuckDB takes its name for, and no column of its name."""
  tables = tables_folder.rows()
  tables["notes"] = [tables_folder._note(1, "nursing", 1, "mine")]
  folder = tables_folder.write(tmp_path / title, tables)
  tables["notes"] = [tables_folder._note(1, "nursing", 1, "another's")]
  other = tables_folder.write(tmp_path / "in1", tables)
  if kind == "parquet":
    _arrow(folder, "notes", dict)
    _arrow(other, "notes", dict)
  found = compared(folder, tmp_path, preparation, None)
  assert found[1][2]["nursing"] == "mine"


def _png(mode, size):
  buffer = io.BytesIO()
  Image.new(mode, size).save(buffer, "PNG")
  return buffer.getvalue()


IMAGES = {
  "cut off": (tables_folder.film(10)[:50], "ends early, or is no JPEG or PNG"),
  "empty": (b"", "ends early, or is no JPEG or PNG"),
  "a text": (b"a film", "or is no JPEG or PNG"),
  "16 bits": (_png("I;16", (8, 8)), "has 16 bits a pixel"),
  "a strip": (_png("L", (9, 2)), "at most 4 times the shorter"),
  "gone": (None, "names no file of the folder"),
  "a folder": ("folder", "names no file of the folder"),
  "a link": ("link", "leads outside the folder"),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("many", [False, True])
def test_odd_images_are_read_in_one_way(name, many, tmp_path, preparation):
  """One of them is taken as absent, two of two are too many."""
  content, wanted = IMAGES[name]
  tables = tables_folder.rows()
  tables["images"].append(dict(stay_id=2, hour=1, path="films/b.png"))
  if not many:
    del tables["images"][1]
  folder = tables_folder.write(tmp_path / "in", tables)
  film = folder / "films/b.png"
  film.unlink()
  if content == "folder":
    film.mkdir()
  elif content == "link":
    (tmp_path / "b.png").write_bytes(tables_folder.film(10))
    film.symlink_to(tmp_path / "b.png")
  elif content is not None:
    film.write_bytes(content)
  gone = content is None or content in ("folder", "link")
  if not many and not gone:
    found = compared(folder, tmp_path, preparation, None)
    assert found[1][0]["cxr"] and not found[2][0]["cxr"]
    return
  rows = "2, 4" if many else "3"
  said = rf"images.csv, column path: .*{wanted}.* \(row {rows}\)"
  compared(folder, tmp_path, preparation, said)


@pytest.mark.parametrize("table", ["stays", "events", "notes", "images"])
def test_other_formats_are_read_in_one_way(table, tmp_path, preparation):
  """Compressed, and Parquet of numbers whose missing ones are NaN."""
  import pyarrow as pa
  from pyarrow import csv, parquet

  folder = tables_folder.write(tmp_path / "in")
  path = folder / f"{table}.csv"
  raw = path.read_bytes()
  path.unlink()
  if table in ("stays", "notes"):
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(raw))
  else:
    options = csv.ConvertOptions(strings_can_be_null=True)
    parse = csv.ParseOptions(newlines_in_values=True)
    found = csv.read_csv(
      pa.BufferReader(raw), parse_options=parse, convert_options=options
    )
    if table == "events":  # The rows of numbers, as floats.
      text = found["value"].to_pylist()
      keep = [v is None or v[0].isdigit() for v in text]
      number = [
        np.nan if v is None else float(v) for v, k in zip(text, keep) if k
      ]
      found = found.filter(pa.array(keep))
      found = found.set_column(3, "value", pa.array(number, pa.float64()))
    parquet.write_table(found, path.with_suffix(".parquet"))
  compared(folder, tmp_path, preparation, None)


@pytest.mark.parametrize(
  "blank", ["\u00a0", "\x0c", "\x0b", "\u200b", "\ufeff", "\u2060", "\u00ad", "\u3000", "\x1f", " \n\t"]
)  # fmt: skip
def test_a_note_of_blanks_is_none(blank, tmp_path, preparation):
  """Whatever blank it is; and it leaves no trace at the ends of a text."""
  tables = tables_folder.rows()
  tables["notes"] = [
    tables_folder._note(1, "nursing", 1, blank),
    tables_folder._note(4, "nursing", 1, f"{blank}pale{blank}grey{blank}"),
    tables_folder._note(1, "triage", 1, "calm"),
  ]
  folder = tables_folder.write(tmp_path / "in", tables)
  found = compared(folder, tmp_path, preparation, None)
  assert found[1][0]["nursing"] is False
  assert found[4][2]["nursing"] == f"pale{blank}grey"


def test_blanks_are_those_of_python_and_of_duckdb():
  import duckdb

  spaces = [chr(i) for i in range(0x110000) if chr(i).isspace()]
  assert set(spaces) < set(cell.BLANK)
  db = duckdb.connect()
  found = db.execute(
    f"SELECT count({cell.text_sql('x')}) FROM (SELECT unnest(?) AS x)",
    [[c for c in cell.BLANK]],
  ).fetchone()
  assert found == (0,)


WORDS = (
  "5 .5 5. -1 +2 1e3 1E-2 1e400 1_0 １２ ٣ inf -inf Infinity nan NA <5 >100 ≤5"
  " <=5 >-1 3,5 0x10 1e --1 007 1.0 1.50 9223372036854775807 -9223372036854775808"
  " 9223372036854775808 99999999999999999999999999 true 5mg - ."
).split()  # fmt: skip


def test_cells_mean_the_same_in_python_and_in_duckdb():
  import duckdb

  sql = ", ".join(
    f(cell.text_sql("x"))
    for f in (cell.number_sql, cell.whole_sql, cell.limit_sql, cell.kind_sql)
  )
  db = duckdb.connect()
  for word in (*WORDS, " 5 ", "\u00a0<\u00a05", "< 5"):
    *found, kind = db.execute(
      f"SELECT {sql} FROM (SELECT ? AS x)", [word]
    ).fetchone()
    number = cell.number(word)
    mine = [
      None if np.isnan(number) else number,
      cell.whole(word),
      cell.limit(word),
    ]
    assert (found, kind) == (mine, cell.kind(word)), word


CENSORED = [
  (1, 0.5, "Pulse", "<5"),  # Below the range: missing.
  (1, 1.5, "Pulse", ">100"),
  (2, 1.5, "Pulse", "-inf"),  # At the range's end.
  (3, 1.5, "Lactate", "inf"),  # Without an end.
  (3, 2.5, "Pulse", "< 90"),
  (4, 0.5, "Pulse", "70"),
]


@pytest.mark.parametrize(
  ("censored", "pulses"),
  [("drop", {4: 70}), ("bound", {1: 100, 2: 20, 3: 90, 4: 70})],
)
def test_values_beyond_a_limit(censored, pulses, tmp_path, preparation):
  """Dropped or at the limit, in both commands, and counted."""
  import dataclasses

  tables = tables_folder.rows()
  tables["events"] = [tables_folder._event(*row) for row in CENSORED]
  folder = tables_folder.write(tmp_path / "in", tables)
  recipe = dataclasses.replace(preparation.recipe, censored=censored)
  exact = dataclasses.replace(preparation, recipe=recipe)
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
  one = built(folder, tmp_path / "a", censored)
  two = predicted(folder, tmp_path / "b", exact)
  assert one.pop("unread") == two.pop("unread") == []
  # A stay of which nothing was measured has no series.
  last = {n: grid[-1, 0] for n, (_, grid, _) in two.items() if grid is not None}
  assert last == pulses and one.keys() == two.keys()
  for number, (present, grid, _) in one.items():
    assert present["ehr"] == (two[number][1] is not None)
    if present["ehr"]:
      columns = [0, 1, 2, 3, 5, 6, 7]  # Lactate's normal value is the mean.
      np.testing.assert_array_equal(
        grid[:, columns], two[number][1][:, columns]
      )
  _, said = exact.recipe.grid([row[1:] for row in CENSORED[:5]], 3)
  what = "left out" if censored == "drop" else "taken to be at it"
  assert f"beyond a limit of measurement: {what}" in " ".join(said)


def test_the_choice_of_values_beyond_a_limit_is_kept_and_counted(tmp_path):
  import json

  tables = tables_folder.rows()
  tables["events"] += [tables_folder._event(3, 1, "Pulse", ">100")] * 12
  folder = tables_folder.write(tmp_path / "in", tables)
  path = tables_folder.build(folder, tmp_path / "out", censored="drop")
  metadata = json.loads((path / "metadata.json").read_text())
  facts = metadata["cohort"]["facts"]
  assert metadata["censored"] == "drop"
  assert facts["events_beyond_a_limit_of_measurement_left_out"] == 12
  with pytest.raises(InputError, match="--censored=drp: .*'drop'"):
    tables_folder.build(folder, tmp_path / "no", censored="drp")


def test_a_range_that_is_not_given_is_that_of_any_human(tmp_path):
  import json

  tables = tables_folder.rows()
  tables["variables"] = [
    dict(name="Weight", unit="kg"),
    dict(name="Height", unit="cm"),
    dict(name="mean blood pressure", unit="mmHg", low="0", high="500"),
  ]
  tables["events"] = [
    tables_folder._event(1, 0.5, "Weight", 0),
    tables_folder._event(1, 1.5, "Weight", 3.2),
    tables_folder._event(1, 0.5, "Height", 1.75),
    tables_folder._event(1, 0.5, "mean blood pressure", 0),
  ]
  folder = tables_folder.write(tmp_path / "in", tables)
  path = tables_folder.build(folder, tmp_path / "out")
  variables = json.loads((path / "metadata.json").read_text())["variables"]
  found = [(v["low"], v["high"]) for v in variables]
  assert found == [(0.2, 700), (20, 280), (0, 500)]
  text = (path / "report.txt").read_text()
  assert "Weight was given without low and high: 0.2 to 700 kg" in text


@pytest.mark.parametrize("hour", [30, -3])
def test_notes_and_images_of_another_time_are_not_seen(hour, mine):
  """As events, and as of a folder of tables."""
  model = medpatch_jax.load(mine.model)
  film = tables_folder.film(10)
  plain = {"hours": 3, "ehr": [(1, "Pulse", 80)]}
  given = {"nursing": [(hour, "late")], "cxr": [(hour, film)]}
  example, said = model.preparation.example(plain | given)
  assert example["present"].tolist() == [True, False, False, False]
  assert said == [
    "cxr: 1 images outside the 3 hours: left out",
    "cxr: no image left: taken as absent",
    "nursing: 1 notes outside the 3 hours: left out",
    "nursing: no note left: taken as absent",
  ]
  both = {
    "nursing": [(hour, "late"), (3, "pale")],
    "cxr": [(2, film), (hour, tables_folder.film(20))],
  }
  example, said = model.preparation.example(plain | both)
  want, _ = model.preparation.example(
    plain | {"nursing": "pale", "cxr": (2, film)}
  )
  for m in ("nursing", "cxr"):
    for name, value in want["inputs"][m].items():
      np.testing.assert_array_equal(example["inputs"][m][name], value)
  left = [words for words in said if "left out" in words]
  assert len(left) == 2 and "absent" not in " ".join(said)
  for wrong in ([(hour,)], [("x", film)], ("x", film)):
    with pytest.raises(ValueError, match=r"image 1: wanted \(hour, image\)"):
      model.preparation.example(plain | {"cxr": wrong})
  with pytest.raises(ValueError, match="hours: wanted a number above 0"):
    model.preparation.example({"hours": "x", "nursing": "pale"})
