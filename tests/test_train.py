"""The loop on a small problem: devices, resume, checkpoints, frozen parts."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medpatch_jax import schema
from medpatch_jax.input.loader import Loader
from medpatch_jax.train import checkpoint, freeze, log, loop, step
from medpatch_jax.train.parallel import Parallel

ROOT = pathlib.Path(__file__).parent.parent


def problem(batch_size=8, n=20):
  """Logistic regression on n rows of 3 numbers, as a stage."""
  x = np.random.default_rng(0).normal(size=(n, 3)).astype(np.float32)
  y = (x[:, :1] > 0).astype(np.float32)

  def collate(rows, size):
    weight = np.zeros(size, np.float32)
    inputs = np.zeros((size, 3), np.float32)
    label = np.zeros((size, 1), np.float32)
    for i, row in enumerate(rows):
      inputs[i], label[i], weight[i] = x[row], y[row], 1.0
    return schema.Batch({"x": inputs}, np.zeros((size, 1), bool), label, weight)

  def forward(params, frozen, batch, key):
    logits = batch.inputs["x"] @ params["w"] + frozen["b"][None]
    each = jnp.logaddexp(0.0, logits) - batch.label * logits
    total = jnp.sum(each[:, 0] * batch.weight)
    return total, jnp.sum(batch.weight), {"logits": logits}

  data = dict(
    rows=np.arange(n),
    batch_size=batch_size,
    fetch=lambda row, rng: row,
    collate=collate,
  )
  return loop.Stage(
    name="toy",
    forward=forward,
    params={"w": np.zeros((3, 1), np.float32)},
    frozen={"b": np.ones((1,), np.float32)},
    train=Loader(seed=1, **data),
    validation=Loader(**data),
    score=lambda loss, outputs: (-loss, {}),
  )


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


def test_both_ways_of_mapping_and_any_number_of_devices_agree(tmp_path):
  code = (
    "import sys, json, jax; sys.path.insert(0, sys.argv[1])\n"
    "from tests import test_train as t\n"
    "from medpatch_jax.train import loop; from medpatch_jax.train.parallel"
    " import Parallel\n"
    "for kind in ('pmap', 'shard_map'):\n"
    "  for n in (1, 2, 4):\n"
    "    p = Parallel(kind, jax.devices()[:n])\n"
    "    best, _ = loop.fit(t.problem(), t.SETTINGS,"
    " f'{sys.argv[2]}/{kind}{n}', p)\n"
    "    print('w', json.dumps(best['w'].ravel().tolist()))\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, str(ROOT), str(tmp_path)],
    env={
      "PATH": "/usr/bin:/bin",
      "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
      "JAX_PLATFORMS": "cpu",
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  found = [
    json.loads(line[2:])
    for line in done.stdout.splitlines()
    if line.startswith("w ")
  ]
  assert len(found) == 6
  for w in found[1:]:
    np.testing.assert_allclose(w, found[0], rtol=1e-5, atol=1e-6)


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


def test_a_batch_that_does_not_divide_names_the_nearest():
  parallel = Parallel()
  parallel.devices = [None] * 4
  with pytest.raises(ValueError, match="=10 .* 4 devices; pass 8 or 12"):
    parallel.check(10)


def test_split_and_join_of_parameters():
  tree = {"a": {"w": 1, "b": 2}, "c": 3}
  learn, still = freeze.split(tree, lambda path: path[0] == "a")
  assert learn == {"c": 3} and still == {"a": {"w": 1, "b": 2}}
  assert freeze.join(learn, still) == tree
  assert jax.tree.leaves(freeze.split(tree, lambda path: False)[1]) == []
