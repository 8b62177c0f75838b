"""Phenotypes that a file of the reader defines: its form, and its labels."""

import json
import pathlib

import pytest

from data.errors import InputError
from data.mimic import definitions, rules
from medpatch_jax.input import dataset
from tests import mimic_raw, test_mimic

# The published form; names not in order, a code in two spellings, one that
# YAML would take for an octal number, and a phenotype that is not used.
PUBLISHED = """\
Zebra fever:
  codes: [A41.9, '0340']
  id: 2
  type: acute
  use_in_benchmark: true
Acute kidney injury, "any":
  codes:
  - '5849'
  - 0389
  - 0340
  type: acute
  use_in_benchmark: true
High pressure:
  codes: ['4019']
  type: unknown
  use_in_benchmark: false
Both:
  codes: [n17.9, "4019"]
"""


def _read(tmp_path, text):
  path = tmp_path / "phenotypes.yaml"
  path.write_text(text, "utf-8")
  return path, definitions.read(path)


def test_published_form_is_read_as_text(tmp_path):
  _, found = _read(tmp_path, PUBLISHED)
  assert found.names == ('Acute kidney injury, "any"', "Both", "Zebra fever")
  assert found.codes == (
    {"5849", "0389", "0340"},
    {"N179", "4019"},
    {"A419", "0340"},
  )
  assert found.labels("0340") == [0, 2]
  assert found.labels(" a41.9") == [2]
  assert found.labels("N17") == found.labels(None) == []


def test_the_documented_example_is_of_the_form(tmp_path):
  page = pathlib.Path(__file__).parent.parent / "docs" / "data.md"
  example = page.read_text("utf-8").split("```yaml")[1].split("```")[0]
  _, found = _read(tmp_path, example)
  assert found.names == ("Acute kidney injury", "Sepsis")
  assert found.codes == ({"5849", "N179"}, {"0389", "A419"})


@pytest.mark.parametrize(
  "text, wanted",
  [
    ("", "wanted phenotypes by name"),
    ("- a\n- b\n", "wanted phenotypes by name"),
    ("A: [b\n", "line 2: is no YAML"),
    ("A:\n\tcodes: [I10]\n", "line 2: is no YAML"),
    ("A: {codes: [I10]}\nA: {codes: [I11]}\n", "line 2.*earlier line"),
    ("? [A]\n: {codes: [I10]}\n", "line 1.*no name"),
    ("[" * 5000, "is no YAML"),
    ("A: [I10, I11]\n", "'A': wanted fields, codes, id"),
    ("A:\n  code: [I10]\n", "'A': field 'code' is unknown.*codes"),
    ("A:\n  type: acute\n", "'A', codes: wanted a list"),
    ("A:\n  codes: I10\n", "'A', codes: wanted a list"),
    ("A:\n  codes: []\n", "'A', codes: wanted a list"),
    ("A:\n  codes: [I10, {a: b}]\n", "'A', codes: entry 2"),
    ("A:\n  codes: [I10, '40 19']\n", "'A', codes: entry 2"),
    ("A:\n  codes: [I10, ]\n  use_in_benchmark: maybe\n", "use_in_benchmark"),
    ("A:\n  codes: [I10]\n  use_in_benchmark: no\n", "no phenotype to use"),
    ("'':\n  codes: [I10]\n", "phenotype 1: its name is empty"),
    ('"a\\nb":\n  codes: [I10]\n', "phenotype 1: its name"),
    ("'" + "a" * 201 + "':\n  codes: [I10]\n", "phenotype 1: its name"),
  ],
)
def test_what_is_wrong_is_named(tmp_path, text, wanted):
  with pytest.raises(InputError, match=wanted) as error:
    _read(tmp_path, text)
  assert "phenotypes.yaml" in str(error.value)
  assert "\n" not in str(error.value)


def test_labels_are_those_of_the_file(tmp_path):
  """Of the published rules too, where a code of either version counts."""
  raw = mimic_raw.write(tmp_path / "raw")
  path, _ = _read(tmp_path, PUBLISHED)
  out = mimic_raw.build(
    raw, tmp_path / "out", phenotypes=path, rules=rules.published()
  )
  stays, metadata = test_mimic.read(out)
  names = ['Acute kidney injury, "any"', "Both", "Zebra fever"]
  assert metadata["label_names"] == names
  described = dataset.describe(tmp_path / "out", "phenotyping")
  assert list(described.labels) == names
  assert {s: e["label"].tolist() for s, e in stays.items()} == {
    1: [1, 1, 0],  # 5849 and 4019.
    5: [0, 1, 0],  # N179.
  }
  report = json.loads((out / "report.json").read_text())
  assert list(report["splits"]["train"]["labels"]) == names
  assert "published_percent" in report["splits"]["train"]["labels"]["Both"]
  assert any("phenotypes.yaml (sha256" in r for r in report["remarks"])


def test_a_file_that_does_not_fit_is_refused(tmp_path):
  raw = mimic_raw.write(tmp_path / "raw")
  path, _ = _read(tmp_path, "A:\n  codes: [O80]\n")
  for wanted, options in (
    ("none of the codes of phenotypes.yaml", {"phenotypes": path}),
    ("cannot be read", {"phenotypes": tmp_path / "nowhere.yaml"}),
    ("only --task=phenotyping", {"phenotypes": path, "task": "radiology"}),
  ):
    mimic_raw.assert_refused(raw, tmp_path / "out", wanted, **options)
