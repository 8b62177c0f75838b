"""The extraction benchmark: what it prints of a small twin."""

import gzip
import re

from experiments.bench import extract


def test_measures_what_the_files_hold(tmp_path, capsys):
  extract.run([0.02], 40, tmp_path, 1, "500MB")
  text = capsys.readouterr().out
  chart = tmp_path / "raw-0.02" / "mimiciv" / "icu" / "chartevents.csv.gz"
  rows = gzip.decompress(chart.read_bytes()).count(b"\n") - 1
  line = re.search(r"^ +0\.02 +([\d,]+) +([\d,]+) +\S+ +([\d.]+) s", text, re.M)
  assert int(line.group(1).replace(",", "")) == rows
  total = re.search(r"together ([\d.]+) minutes", text)
  assert float(total.group(1)) > 0
  assert re.search(r"^\d+ records with notes, without films", text, re.M)
  memory = re.search(r" ([\d.]+) GB", text)
  assert 0.05 < float(memory.group(1)) < 2
