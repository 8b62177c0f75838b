"""The file of a run's predictions: read back whole, or refused with a reason."""

import dataclasses
import json

import numpy as np
import pytest

from medpatch_jax.evaluate import predictions


def made(rows=40, seed=0, **changes):
  rng = np.random.default_rng(seed)
  label = (rng.random((rows, 2)) < 0.4).astype(np.uint8)
  given = {
    "logits": {
      head: (rng.normal(size=label.shape) + label).astype(np.float32)
      for head in ("late", "ehr")
    },
    "label": label,
    "subject": np.arange(rows) // 2,
    "row": np.arange(rows),
    "label_names": ("Death; in hospital", "Shock"),
    "chosen": "late",
    "task": "phenotyping",
    "split": "test",
    "fingerprint": {"train": "1", "test": "2"},
  }
  return predictions.Predictions(**(given | changes))


def test_read_back_whole(tmp_path):
  want = made()
  want.logits["ehr"][3] = np.nan
  path = tmp_path / "run" / predictions.NAME
  predictions.save(path, want)
  found = predictions.load(path)
  for field in dataclasses.fields(want):
    a, b = (getattr(x, field.name) for x in (want, found))
    if field.name == "logits":
      assert list(a) == list(b)
      for head in a:
        np.testing.assert_array_equal(a[head], b[head])
    else:
      np.testing.assert_array_equal(a, b)
  assert [p.name for p in path.parent.iterdir()] == [predictions.NAME]


def rewritten(path, **changes):
  with np.load(path) as file:
    arrays = {name: file[name] for name in file.files}
  about = json.loads(str(arrays["about"])) | changes.pop("about", {})
  arrays |= {"about": json.dumps(about)} | changes
  with open(path, "wb") as out:
    np.savez(out, **{k: v for k, v in arrays.items() if v is not None})


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"about": {"version": 2}}, "is of version 2, this code reads 1"),
    ({"about": {"chosen": "best"}}, "head 'best' is not among late, ehr"),
    ({"row": None}, "damaged"),
    ({"subject": np.arange(3)}, "subject is"),
    ({"label": np.zeros((40, 2), "U3")}, "label is of type"),
  ],
)
def test_refuses_what_it_did_not_write(changes, said, tmp_path):
  path = tmp_path / predictions.NAME
  predictions.save(path, made())
  rewritten(path, **changes)
  with pytest.raises(ValueError, match=said) as error:
    predictions.load(path)
  assert str(path) in str(error.value)
  assert "experiments.evaluate" in str(error.value)


def test_refuses_absent_damaged_and_foreign_files(tmp_path):
  path = tmp_path / predictions.NAME
  with pytest.raises(ValueError, match="there is none"):
    predictions.load(path)
  predictions.save(path, made())
  whole = path.read_bytes()
  for bad in (b"", b"hello", whole[: len(whole) // 2]):
    path.write_bytes(bad)
    with pytest.raises(ValueError, match="damaged"):
      predictions.load(path)


def other_labels(p):
  label = p.label.copy()
  label[0] = 1 - label[0]
  return label


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda p: {"task": "in_hospital_mortality"}, "task phenotyping against"),
    (lambda p: {"split": "validation"}, "split test against validation"),
    (lambda p: {"label_names": ("Shock", "Gout")}, "2 of them not in both"),
    (lambda p: {"fingerprint": {"test": "3"}}, "another build"),
    (lambda p: {"row": p.row + 1}, "different stays"),
    (lambda p: {"label": other_labels(p)}, "another label"),
  ],
)
def test_other_stays_are_refused(change, said):
  first = made()
  second = dataclasses.replace(first, **change(first))
  with pytest.raises(ValueError, match=said) as error:
    predictions.check_same(first, second, ("runs/a", "runs/b"))
  assert "runs/a and runs/b" in str(error.value)


def test_other_training_stays_are_not():
  first = made()
  second = dataclasses.replace(first, fingerprint={"train": "9", "test": "2"})
  predictions.check_same(first, second, ("a", "b"))
