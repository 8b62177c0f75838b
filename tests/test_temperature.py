"""How far token confidence can be taken at its word, and how it is shown."""

import jax
import numpy as np
import pytest

from experiments import evaluate
from experiments.training import temperature
from experiments.training.run import Run
from medpatch_jax import calibrate
from medpatch_jax.evaluate import disclosure, report, table, tokens
from tests import small_run
from tests.test_report import cohort


def test_error_is_over_every_real_token_of_the_stays(small, drawn_parameters):
  """Worked out again token by token; hours differ in number, so pads count."""
  stages = small_run.Untrained(Run(small("run", "--modalities=ehr,rr")))
  run, made = stages.run, stages.architecture
  model, head = made.unimodal("ehr"), made.head()

  @jax.jit
  def logits(batch):
    _, out = model.apply({"params": stages.encoder("ehr")}, batch)
    return out["encoded"].mask, head.apply(
      {"params": stages.confidence("ehr")}, out["encoded"].tokens
    )

  bins = {name: np.zeros((3, 10, 25)) for name in tokens.WHEN}
  for at, batch in run.loader(
    "test", ("ehr",), run.rows("test", "ehr"), learn=False
  ).epoch():
    mask, z = (np.asarray(x) for x in logits(batch))
    after = np.asarray(calibrate.apply(z, stages.temperature("ehr")))
    for name, values in (("before", z), ("after", after)):
      p = np.asarray(jax.nn.sigmoid(values))
      for i, t in zip(*np.nonzero(mask & (at >= 0)[:, None])):
        sure = np.maximum(p[i, t], 1 - p[i, t])
        right = (p[i, t] >= 0.5) == (batch.label[i] == 1)
        bin_ = np.ceil(np.float64(sure) * 10).astype(int) - 1
        for k, value in enumerate((1, sure, right)):
          np.add.at(bins[name][k], (bin_, np.arange(25)), value)
  found = temperature.errors(stages, "ehr", "test")
  for name, (count, sure, right) in bins.items():
    want = np.abs(sure - right).sum(axis=0) / count.sum(axis=0)
    np.testing.assert_allclose(found[name], want, atol=1e-5, err_msg=name)
  both = [found[name].mean() for name in tokens.WHEN]
  assert abs(both[0] - both[1]) > 0.01
  assert [row["modality"] for row in evaluate.token_calibration(stages)] == [
    "ehr",
    "rr",
  ]


def test_means_over_labels_leave_out_those_of_few_patients():
  rng = np.random.default_rng(0)
  label = np.zeros((100, 4))
  for c, cases in enumerate((5, 30, 95, 0)):
    label[:cases, c] = 1
  sure = rng.random((100, 4))
  before, after = np.array([0.1, 0.2, 0.3, 0.4]), np.full(4, 0.1)
  found = tokens.build(before, after, sure, label, np.arange(100))
  # 5 and 95 of 100 have or lack it; who has none tells nothing.
  assert found["before"] == pytest.approx(0.3)
  assert found["suppressed"] == 2
  assert [row["before"] for row in found["per_label"]] == [
    None, 0.2, None, 0.4,
  ]  # fmt: skip
  # A head that says one number says how many cases there are.
  sure[:, 1] = 0.8 + rng.normal(size=100) * 1e-8
  found = tokens.build(before, after, sure, label, np.arange(100))
  assert found["before"] == 0.4 and found["suppressed"] == 3
  few = disclosure.SMALLEST_CELL - 1
  nobody = tokens.build(before, after, sure, label, np.arange(100) % few)
  assert set(nobody.values()) == {None}


def test_the_table_shows_the_error_of_each_modality():
  row = {"before": 0.1234, "after": 0.0567, "suppressed": 0, "per_label": []}
  none = dict.fromkeys(row)
  found = [
    {"modality": "ehr", "test": row | {"after": 0.06}, "validation": row},
    {"modality": "cxr", "validation": none, "test": none},
  ]
  lines = table.text(report.build(**cohort(), token_calibration=found))
  assert max(map(len, lines.splitlines())) <= 100
  lines = [line.split() for line in lines.splitlines()]
  at = lines.index(["Token", "calibration", "error", "validation", "test"])
  assert lines[at + 3] == ["EHR", "0.123", "0.057", "0.123", "0.060"]
  assert lines[at + 4] == ["CXR", "-", "-", "-", "-"]
