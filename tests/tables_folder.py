"""A small folder in the format of docs/own_data.md, written by hand."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from data import build as build_lib
from data import errors

# Stands in cells that are wrong: it must never be printed.
SECRET = "Xanthippe"


def rows():
  """Table -> list of dicts; every stay tells one rule."""
  return {
    "stays": [
      _stay(1, 11, 3, 1, 0, "train", "F", 60),
      _stay(2, 12, 2.5, 0, 1, "train", "M", 30),
      _stay(3, 13, 3, 0, 0, "validation", "F", 70),
      _stay(4, 14, 3, 1, 1, "test", "", ""),
      _stay(5, 15, 3, 0, 0, "test", "M", 40),  # Nothing is known of it.
    ],
    "variables": [
      dict(name="Pulse", categories="", normal="80", low="20", high="250"),
      dict(name="Rhythm", categories="sinus|af|paced", normal="sinus"),
      dict(name="Lactate", categories="", normal="", low="0", high=""),
    ],
    "events": [
      _event(1, 0.5, "Pulse", 100),
      _event(1, 1.0, "Pulse", 110),  # On the hour: of the hour that ends.
      _event(1, 1.5, "Pulse", 120),
      _event(1, 1.5, "Pulse", 121),  # The last row of one time counts.
      _event(1, 2.2, "Rhythm", "af"),
      _event(1, 2.9, "Pulse", 999),  # Out of range: missing.
      _event(1, 0.1, "Lactate", 2),
      _event(2, 1.9, "Lactate", 4),
      _event(2, -1, "Pulse", 50),  # Before the stay.
      _event(2, 2.6, "Pulse", 50),  # After it.
      _event(2, 0.2, "Pulse", ""),  # No value.
      _event(3, 0, "Pulse", 90),
    ],
    "notes": [
      _note(1, "triage", 1, "second"),
      _note(1, "triage", 0, "first\nwith a break"),
      _note(1, "nursing", 2, "of the ward"),
      _note(2, "triage", 2.6, "too late"),
      _note(4, "triage", 3, "at the end"),
      _note(5, "triage", 1, "  "),  # A note of blanks is none.
    ],
    "images": [
      dict(stay_id=1, hour=1, path="films/a.png"),
      dict(stay_id=1, hour=2, path="films/b.png"),
      dict(stay_id=1, hour=3.5, path="films/late.png"),
    ],
  }


def _stay(stay, subject, hours, death, sepsis, split, sex, age):
  return {
    "stay_id": stay,
    "subject_id": subject,
    "hours": hours,
    "label_death": death,
    "label_sepsis": sepsis,
    "split": split,
    "group_sex": sex,
    "group_age": age,
  }


def _event(stay, hour, variable, value):
  return dict(stay_id=stay, hour=hour, variable=variable, value=value)


def _note(stay, kind, hour, text):
  return dict(stay_id=stay, kind=kind, hour=hour, text=text)


def write(folder, tables=None, films=("a", "b")):
  """Writes the tables as .csv, and the films."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, lines in (tables or rows()).items():
    columns = list(dict.fromkeys(c for line in lines for c in line))
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as f:
      file = csv.DictWriter(f, columns)
      file.writeheader()
      file.writerows(lines)
  (folder / "films").mkdir(exist_ok=True)
  for i, name in enumerate(films):
    (folder / f"films/{name}.png").write_bytes(film(10 * (i + 1)))
  return folder


def film(grey):
  buffer = io.BytesIO()
  Image.fromarray(np.full((4, 6), grey, np.uint8)).save(buffer, "PNG")
  return buffer.getvalue()


def build(folder, out, task="mine", **kwargs):
  return build_lib.build(
    source="tables",
    tables=folder,
    task=task,
    data_dir=out,
    quiet=True,
    **kwargs,
  )


def refused(folder, out, *patterns):
  """Builds, which must fail with each pattern and leave nothing behind."""
  with pytest.raises(errors.InputError) as caught:
    build(folder, out)
  message = str(caught.value)
  for pattern in patterns:
    assert re.search(pattern, message), (pattern, message)
  assert SECRET not in message
  assert not out.exists()
  return message
