"""The page of a run: what is on it, what is not, and that nothing is run."""

import json
import re
import shutil
import types

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from experiments.report import facts as facts_
from experiments.report import page, plots, tables, write
from medpatch_jax.evaluate import curves, disclosure, report, tokens
from medpatch_jax.evaluate.cells import Cells
from medpatch_jax.train import machine
from tests.test_report import cohort


def drawn(rows=400, labels=2, seed=0, rule=disclosure.OPEN):
  rng = np.random.default_rng(seed)
  label = (rng.random((rows, labels)) < 0.3).astype(int)
  logits = label + rng.normal(size=label.shape)
  return logits, label, Cells(label, np.arange(rows), 1, rule=rule)


def test_curves_of_open_data_are_those_of_scikit_learn():
  logits, label, cells = drawn()
  found = curves.build(logits, cells)
  rate, recall, _ = sklearn_metrics.roc_curve(
    label[:, 0], logits[:, 0], drop_intermediate=False
  )
  for x, y in zip(found["roc"]["rate"], found["roc"]["per_label"][0]):
    after = recall[rate == rate[rate >= x].min()].max()
    assert recall[rate <= x].max() - 1e-4 <= y <= after + 1e-4
  precision, recall, _ = sklearn_metrics.precision_recall_curve(
    label[:, 0], logits[:, 0]
  )
  want = [precision[recall >= x - 1e-9][-1] for x in curves.RECALLS]
  got = found["precision"]["per_label"][0]
  np.testing.assert_allclose(got, want, atol=1e-4)
  both = np.array(found["roc"]["per_label"])
  np.testing.assert_allclose(found["roc"]["mean"], both.mean(axis=0))


def test_curves_of_other_data_are_coarse_and_of_rounded_counts():
  logits, label, cells = drawn(rule=disclosure.SECRET)
  label[:, 1] = np.arange(400) < 6  # Six patients: no curve at all.
  cells = Cells(label, np.arange(400), 1, rule=disclosure.SECRET)
  found = curves.build(logits, cells)
  assert found["roc"]["per_label"][1] is None
  assert found["precision"]["per_label"][1] is None
  hits, alarms = curves._rounded(logits[:, 0], label[:, 0] == 1, cells)
  assert len(hits) <= curves.PARTS + 1
  assert not (hits % 10).any() and not (alarms % 10).any()
  assert (hits[1:] >= 20).all() and (alarms[1:] >= 20).all()
  few = Cells(label[:8], np.arange(8), 1, rule=disclosure.SECRET)
  assert curves.build(logits[:8], few) is None


def test_shares_of_tokens_are_counted_and_few_patients_suppressed():
  patient = np.arange(30) // 2
  counted = tokens.Shares(2, patient)
  before = np.full((30, 4, 2), 0.61)
  after = before.copy()
  after[:4] = 0.99  # Of two patients.
  mask = np.ones((30, 4), bool)
  mask[:, 3] = False
  for some in (slice(0, 20), slice(20, 30)):
    counted.add(before[some], after[some], after[some] >= 0.75, mask[some])
  found = counted.found()
  shown = tokens.shares(found, disclosure.OPEN)
  at = shown["edges"].index(0.6)
  assert shown["before"][at] == 1.0 and shown["after"][at] == 26 / 30
  assert shown["after"][-1] == 4 / 30 and shown["high"] == [4 / 30] * 2
  hidden = tokens.shares(found, disclosure.SECRET)
  assert hidden["after"][-1] is None and hidden["high"] == [None] * 2
  assert hidden["before"][at] == 1.0


NOTHING = dict.fromkeys(("curves", "groups", "tokens", "late", "training"), ())


def build(tmp_path, rule=disclosure.OPEN, **more):
  """Facts of a run of which only the result and the configuration are there."""
  found = report.build(**cohort(rule=rule))
  found["labels"][0] = "<script>alert(1)</script> & 'co'"
  config = {"task": "phenotyping", "model": "medpatch", "clip": 1.0}
  return facts_.Facts(tmp_path, config, result=found, **more)


def test_what_others_wrote_is_shown_and_never_interpreted(tmp_path):
  facts = build(tmp_path)
  facts.result["subgroups"] = [
    {"by": "<b>x", "groups": [facts.result["patterns"][0] | {"group": "a<i>b"}]}
  ]
  text = page.html(facts)
  assert "<script>alert" not in text and "<i>b" not in text
  assert "&lt;script&gt;alert(1)" in text and "a&lt;i&gt;b" in text
  assert (
    "</script>" not in page.data("x", "</script><!--").split(">", 1)[1][:-9]
  )
  assert tables.cell("<x>") == "<td>&lt;x&gt;</td>"


def test_the_page_loads_nothing_and_every_figure_has_its_table(tmp_path):
  text = page.html(build(tmp_path))
  for word in re.findall(r'(?:src|href)="([^"]*)"', text):
    assert word.startswith(("#", "data:"))
  assert "url(http" not in text and "@import" not in text
  figures = re.findall(r"<figure.*?</figure>", text, re.S)
  assert len(figures) >= 5
  for figure in figures:
    assert re.search(r'role="img" aria-label="[^"]{20,}"', figure)
    assert "<details>" in figure and "<table" in figure
    assert not re.search(r"(?i)#0072b2|#1a1d21", figure), "a theme's colour"
  ids = re.findall(r'\bid="([^"]*)"', text)
  assert len(ids) == len(set(ids))


def test_of_other_data_small_counts_and_rare_labels_are_nowhere(tmp_path):
  given = cohort(rule=disclosure.SECRET)
  given["label"][:, 1] = np.arange(300) < 5
  found = report.build(**given)
  config = {"task": "phenotyping", "model": "medpatch"}
  facts = facts_.Facts(tmp_path, config, result=found)
  text = page.html(facts)
  assert "&lt;11" in text and "not open" in text
  for figure in page.drawings(facts)["curves"]:
    row = figure.rows[1]
    assert all(v is None for v in row[1:]), figure.name


def test_a_run_that_did_not_end_shows_its_logs_and_names_the_command(tmp_path):
  with pytest.raises(ValueError, match="holds no run"):
    facts_.of_files(tmp_path)
  config = {"task": "phenotyping", "data_dir": "a b", "seed": 3, "clip": None}
  (tmp_path / "config.json").write_text(json.dumps(config))
  folder = tmp_path / "unimodal" / "ehr"
  folder.mkdir(parents=True)
  lines = '{"epoch": 0, "loss": 0.5}\n{"epoch": 1, "loss": 0.4}\n{"epo'
  (folder / "metrics.jsonl").write_text(lines)
  facts = facts_.of_files(tmp_path)
  path = write.write(facts)
  text = path.read_text()
  assert "unimodal/ehr" in text and '<td data-v="0.4">0.400' in text
  assert "python -m experiments.evaluate --workdir=" in text
  assert "--data_dir=&#x27;a b&#x27; --task=phenotyping --seed=3" in text
  assert path == tmp_path / "report.html"


def test_figures_for_papers_are_svg_and_png(tmp_path):
  with plots.style():
    drawn_ = page.drawings(build(tmp_path))["groups"]
  paths = plots.save(drawn_, tmp_path / "figures")
  assert {p.suffix for p in paths} == {".svg", ".png"}
  svg = next(p for p in paths if p.suffix == ".svg").read_text()
  assert "#0072b2" in svg and "var(" not in svg
  assert paths[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("rule", [disclosure.OPEN, disclosure.SECRET])
@pytest.mark.parametrize("disclose", [False, True])
def test_single_stays_of_other_data_take_a_flag(rule, disclose):
  stages = types.SimpleNamespace(
    run=types.SimpleNamespace(rule=rule),
    config=types.SimpleNamespace(model="medpatch"),
    check_complete=lambda last: None,
  )
  want = rule.open or disclose
  assert write.may_show_cases(stages, disclose) == want
  stages.config.model = "medfuse"
  assert not write.may_show_cases(stages, disclose)


def test_a_summary_of_another_version_is_named_and_stops_nothing(tmp_path):
  facts = build(tmp_path, quality={"stays": {}})
  assert "built by another version" in page.html(facts, NOTHING)


def test_what_trained_a_run_is_remembered(tmp_path):
  machine.record(tmp_path, 12.0)
  machine.record(tmp_path, 3.0)
  facts = build(tmp_path, machine=machine.read(tmp_path))
  assert [p["seconds"] for p in facts.machine] == [12.0, 3.0]
  text = page.html(facts)
  assert "process 2" in text and "memory_gib" in text and "12.000" in text
  (tmp_path / machine.NAME).write_text("{")
  assert machine.read(tmp_path) == []


def test_a_damaged_result_is_refused_with_its_name(tmp_path):
  (tmp_path / "config.json").write_text('{"task": "phenotyping"}')
  (tmp_path / "results.json").write_text("{")
  with pytest.raises(ValueError, match="results.json"):
    facts_.of_files(tmp_path)
  shutil.rmtree(tmp_path)
