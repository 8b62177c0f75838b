"""The reading benchmark: what it writes can be read, and is all read."""

import re

import numpy as np
import pytest

from experiments.bench import feeding, read
from medpatch_jax.input.dataset import Dataset


def test_reads_what_it_wrote(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(read.records, "SHARD", 8)
  read.run(20, None, None, tmp_path, 2)
  text = capsys.readouterr().out
  assert text.startswith("20 records in 3 files of at most 8, ")
  rates = re.findall(r"([\d,]+) (?:records|films)/s", text)
  assert len(rates) == 5 and all(float(r.replace(",", "")) > 0 for r in rates)
  data = Dataset(tmp_path, read.TASK)
  source = data.source("train", ("stay_id", "cxr"))
  assert [int(source[i]["stay_id"]) for i in range(20)] == list(range(20))
  # A dataset that is there is read, not written.
  before = sorted(p.stat().st_mtime_ns for p in data.path.iterdir())
  read.run(99, tmp_path, read.TASK, None, 1)
  assert capsys.readouterr().out.startswith("20 records")
  assert before == sorted(p.stat().st_mtime_ns for p in data.path.iterdir())
  read.forget(data.path.glob("*array_record*"))
  assert np.array_equal(data.hours("train"), np.full(20, 48))


@pytest.fixture(scope="module")
def fed(tmp_path_factory):
  return feeding.records(tmp_path_factory.mktemp("fed"))


@pytest.mark.parametrize(
  ("m", "shapes"),
  [
    ("ehr", {"x": (2, 48, 76), "mask": (2, 48)}),
    ("cxr", {"image": (2, 384, 384)}),
    ("rr", {"piece": (2, 1, 512), "mask": (2, 1, 512)}),
  ],
)
def test_encoders_are_fed_batches_of_the_published_size(fed, m, shapes):
  loader = feeding.loader(fed, m, batch_size=2, batches=3, learn=True)
  batches = [batch for _, batch in loader.epoch()]
  assert len(batches) == 3
  for batch in batches:
    assert {k: x.shape for k, x in batch.inputs[m].items()} == shapes
    np.testing.assert_array_equal(batch.weight, 1)
