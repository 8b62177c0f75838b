"""The loop on a small problem: devices, resume, checkpoints, frozen parts."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import schema
from medpatch_jax.input.loader import Loader
from medpatch_jax.train import checkpoint, freeze, log, loop, step
from medpatch_jax.train.parallel import Parallel


def problem(batch_size=8, n=20, ragged=False, share=(0, 1)):
  """Logistic regression on n rows of 3 numbers, as a stage.

  With `ragged`, two rows are series of two steps, to which the others of their
  batch are padded, and the rows that validation reads are returned beside.
  """
  x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
  y = (x[:, :1] > 0).astype(np.float32)

  def collate(rows, size):
    weight = np.zeros(size, np.float32)
    lengths = [1 + (ragged and row in (2, 5)) for row in rows]
    inputs = np.zeros((size, max(lengths, default=1), 3), np.float32)
    label = np.zeros((size, 1), np.float32)
    for i, row in enumerate(rows):
      # At the end, where it would be missed if cut off.
      inputs[i, lengths[i] - 1], label[i], weight[i] = x[row], y[row], 1.0
    return schema.Batch({"x": inputs}, np.zeros((size, 1), bool), label, weight)

  def forward(params, frozen, batch, key):
    logits = batch.inputs["x"].sum(axis=1) @ params["w"] + frozen["b"][None]
    each = jnp.logaddexp(0.0, logits) - batch.label * logits
    total = jnp.sum(each[:, 0] * batch.weight)
    return total, jnp.sum(batch.weight), {"logits": logits}

  data = dict(rows=np.arange(n), batch_size=batch_size, collate=collate)
  data |= dict(fetch=lambda row, rng: row, share=share)
  read = set()
  validation = data | dict(fetch=lambda row, rng: read.add(row) or row)
  stage = loop.Stage(
    name="toy",
    forward=forward,
    params={"w": np.zeros((3, 1), np.float32)},
    frozen={"b": np.ones((1,), np.float32)},
    train=Loader(seed=1, **data),
    validation=Loader(**validation),
    score=lambda loss, outputs: (-loss, {}),
  )
  return (stage, read) if ragged else stage


SETTINGS = loop.Settings(learning_rate=0.05, epochs=5, save_minutes=0.0)


def test_one_step_is_adams_first_step_on_the_mean_over_real_rows(tmp_path):
  stage = problem(batch_size=16, n=10)
  settings = loop.Settings(learning_rate=0.05, epochs=1)
  best, _ = loop.fit(stage, settings, tmp_path, Parallel())
  # Adam's first step is lr times the sign of the gradient.
  x = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
  y = (x[:, :1] > 0).astype(np.float32)
  gradient = x.T @ (1 / (1 + np.exp(-1.0)) - y) / 10
  np.testing.assert_allclose(best["w"], -0.05 * np.sign(gradient), rtol=1e-4)
  line = json.loads((tmp_path / "metrics.jsonl").read_text())
  expected = np.mean(np.logaddexp(0, 1.0) - y)
  np.testing.assert_allclose(line["train_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("batches", [2, 4, 7])
def test_a_killed_run_ends_as_if_never_killed(tmp_path, batches):
  whole, _ = loop.fit(problem(), SETTINGS, tmp_path / "whole", Parallel())

  class Killed(Exception):
    pass

  class Cut(Loader):
    """Dies after so many batches."""

    left = [batches]

    def epoch(self, epoch=0, start=0):
      for item in super().epoch(epoch, start):
        if not self.left[0]:
          raise Killed
        self.left[0] -= 1
        yield item

  stage = problem()
  cut = Cut(**vars(stage.train))
  with pytest.raises(Killed):
    loop.fit(
      dataclasses.replace(stage, train=cut),
      SETTINGS,
      tmp_path / "cut",
      Parallel(),
    )
  again, _ = loop.fit(problem(), SETTINGS, tmp_path / "cut", Parallel())
  np.testing.assert_array_equal(again["w"], whole["w"])
  assert (tmp_path / "cut/metrics.jsonl").read_text() == (
    tmp_path / "whole/metrics.jsonl"
  ).read_text()


def test_the_best_epoch_is_returned_not_the_last(tmp_path):
  values = iter([1.0, 3.0, 2.0, 2.0])
  seen = []

  def score(loss, outputs):
    seen.append(loss)
    return next(values), {}

  settings = dataclasses.replace(SETTINGS, patience=2)
  stage = dataclasses.replace(problem(), score=score)
  best, progress = loop.fit(stage, settings, tmp_path, Parallel())
  assert len(seen) == 4 and progress["stopped"]
  parallel = Parallel()
  mapped = parallel.evaluate(step.eval_step(stage.forward))
  loss, outputs = loop.evaluate(
    mapped,
    parallel,
    parallel.replicate(best),
    parallel.replicate(stage.frozen),
    stage.validation,
  )
  np.testing.assert_allclose(loss, seen[1], rtol=1e-6)
  assert outputs["logits"].shape == (20, 1)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
  stage = dataclasses.replace(
    problem(), params={"w": np.full((3, 1), np.nan, np.float32)}
  )
  with pytest.raises(FloatingPointError, match="toy.*learning_rate"):
    loop.fit(stage, SETTINGS, tmp_path, Parallel())


def test_a_checkpoint_of_another_size_is_refused(tmp_path):
  loop.fit(problem(), SETTINGS, tmp_path, Parallel())
  other = dataclasses.replace(
    problem(), params={"w": np.zeros((3, 2), np.float32)}
  )
  with pytest.raises(ValueError, match="workdir|wants"):
    loop.fit(other, SETTINGS, tmp_path, Parallel())


def test_another_configuration_is_refused_with_the_difference(tmp_path):
  checkpoint.claim(tmp_path, {"a": {"b": 1}, "c": (2,)})
  checkpoint.claim(tmp_path, {"a": {"b": 1}, "c": [2]})
  with pytest.raises(ValueError, match="a.b: 1 -> 5"):
    checkpoint.claim(tmp_path, {"a": {"b": 5}, "c": [2]})


def test_a_log_line_cut_short_or_too_late_is_dropped(tmp_path):
  (tmp_path / "metrics.jsonl").write_text(
    '{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo'
  )
  log.Log(tmp_path, 3).close()
  assert (tmp_path / "metrics.jsonl").read_text() == (
    '{"epoch": 1}\n{"epoch": 2}\n'
  )


def test_an_epoch_without_a_number_to_show_has_its_line(tmp_path, caplog):
  stage = dataclasses.replace(
    problem(), shown=lambda numbers: {}, start_counts=True
  )
  for epochs in (1, 2):  # Read back, the lines are those that were written.
    settings = dataclasses.replace(SETTINGS, epochs=epochs)
    loop.fit(stage, settings, tmp_path, Parallel())
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(x)["epoch"] for x in lines] == [-1, 0, 1]
  assert set(json.loads(lines[1])) == {"epoch", "step"}
  assert "damaged" not in caplog.text


def test_split_and_join_of_parameters():
  tree = {"a": {"w": 1, "b": 2}, "c": 3}
  learn, still = freeze.split(tree, lambda path: path[0] == "a")
  assert learn == {"c": 3} and still == {"a": {"w": 1, "b": 2}}
  assert freeze.join(learn, still) == tree
  assert jax.tree.leaves(freeze.split(tree, lambda path: False)[1]) == []


@pytest.mark.parametrize(
  ("values", "epoch"), [((0.9, 0.5, 0.6), -1), ((0.1, 0.5, 0.6), 1)]
)
def test_a_start_that_counts_is_kept_if_no_epoch_is_better(
  tmp_path, values, epoch
):
  scored = iter(values)
  stage = dataclasses.replace(
    problem(), start_counts=True, score=lambda loss, out: (next(scored), {})
  )
  settings = dataclasses.replace(SETTINGS, epochs=2)
  best, progress = loop.fit(stage, settings, tmp_path, Parallel())
  assert progress["best_epoch"] == epoch
  assert progress["best"] == max(values)
  same = np.array_equal(best["w"], stage.params["w"])
  assert same == (epoch < 0)
  # Read back, nothing is scored again.
  again, _ = loop.fit(stage, settings, tmp_path, Parallel())
  np.testing.assert_array_equal(again["w"], best["w"])
