"""The benchmark of kills: a run killed while it saves loses nothing."""

import re

import pytest

from experiments.bench import kill


@pytest.mark.slow
def test_a_run_killed_in_a_save_ends_as_the_one_that_was_not(
  tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(kill, "MOMENTS", ("save",))
  monkeypatch.setattr(kill, "SUBJECTS", 60)
  kill.run(2, 0, tmp_path)
  said = capsys.readouterr().out
  assert "kills: 2 save" in said
  equal = re.findall(r"bit for bit: (\d+) metrics files, (\d+) arrays", said)
  assert equal and all(int(n) for n in equal[-1])
  # The second run is no copy of the first: at least one writing was cut short.
  cut = re.findall(r"(\d+) writings cut short", said)
  assert len(cut) == 2 and any(map(int, cut))
