"""The reading benchmark: what it writes can be read, and is all read."""

import re

import numpy as np

from experiments import reading
from medpatch_jax.input.dataset import Dataset


def test_reads_what_it_wrote(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(reading.records, "SHARD", 8)
  reading.run(20, None, None, tmp_path, 2)
  text = capsys.readouterr().out
  assert text.startswith("20 records in 3 files of at most 8, ")
  rates = re.findall(r"([\d,]+) (?:records|films)/s", text)
  assert len(rates) == 5 and all(float(r.replace(",", "")) > 0 for r in rates)
  data = Dataset(tmp_path, reading.TASK)
  source = data.source("train", ("stay_id", "cxr"))
  assert [int(source[i]["stay_id"]) for i in range(20)] == list(range(20))
  # A dataset that is there is read, not written.
  before = sorted(p.stat().st_mtime_ns for p in data.path.iterdir())
  reading.run(99, tmp_path, reading.TASK, None, 1)
  assert capsys.readouterr().out.startswith("20 records")
  assert before == sorted(p.stat().st_mtime_ns for p in data.path.iterdir())
  reading.forget(data.path.glob("*array_record*"))
  assert np.array_equal(data.hours("train"), np.full(20, 48))
