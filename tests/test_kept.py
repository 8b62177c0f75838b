"""A run that is stopped, damaged or goes wrong loses nothing."""

import dataclasses
import json
import pathlib
import signal

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medpatch_jax import files
from medpatch_jax.train import checkpoint, loop, memory, stop
from medpatch_jax.train.parallel import Parallel
from tests import test_train
from tests.devices import Ended
from tests.test_train import problem

# 3 updates an epoch, a save after each.
SETTINGS = dataclasses.replace(test_train.SETTINGS, epochs=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """(best parameters, metrics.jsonl) of a run that nothing happens to."""
  folder = tmp_path_factory.mktemp("whole")
  best, _ = loop.fit(problem(), SETTINGS, folder, Parallel())
  return best["w"], (folder / "metrics.jsonl").read_text()


def again(folder, whole) -> None:
  """Goes on, and ends as the whole run did."""
  best, _ = loop.fit(problem(), SETTINGS, folder, Parallel())
  np.testing.assert_array_equal(best["w"], whole[0])
  assert (folder / "metrics.jsonl").read_text() == whole[1]


@pytest.mark.parametrize(
  ("name", "batches", "number", "code"),
  [
    ("train", 6, signal.SIGTERM, 143),
    ("validation", 5, signal.SIGTERM, 143),
    ("train", 6, signal.SIGINT, 130),
  ],
)
def test_a_signal_saves_and_the_run_goes_on_from_there(
  tmp_path, whole, name, batches, number, code
):
  stage = problem()
  ended = Ended(**vars(getattr(stage, name)), left=[batches], number=number)
  before = signal.getsignal(ended.number)
  settings = dataclasses.replace(SETTINGS, save_minutes=1e9)
  with pytest.raises(stop.Stopped, match=", toy saved in epoch 2") as said:
    loop.fit(
      dataclasses.replace(stage, **{name: ended}),
      settings,
      tmp_path,
      Parallel(),
    )
  assert said.value.code == code
  assert signal.getsignal(ended.number) is before
  saves = checkpoint.Checkpoints(tmp_path, Parallel())
  step = {"train": batches, "validation": 6}[name]
  assert list(saves._managers["latest"].all_steps()) == [step]
  saves.close()
  again(tmp_path, whole)


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 64
  path.write_bytes(data)


@pytest.mark.parametrize(
  ("file", "damage"),
  [
    pytest.param("arrays", cut, marks=pytest.mark.slow),
    ("arrays", flip),
    pytest.param("arrays", pathlib.Path.unlink, marks=pytest.mark.slow),
    ("progress/metadata", cut),
  ],
)
def test_a_damaged_save_is_put_aside_and_the_one_before_it_used(
  tmp_path, whole, caplog, damage, file
):
  stage = problem()
  ended = Ended(**vars(stage.train), left=[7])
  with pytest.raises(stop.Stopped):
    loop.fit(
      dataclasses.replace(stage, train=ended), SETTINGS, tmp_path, Parallel()
    )
  newest = tmp_path / "latest" / "7"
  data = [p for p in newest.glob("state/**/d/*") if p.is_file()]
  for path in data if file == "arrays" else [newest / file]:
    damage(path)
  caplog.set_level("INFO", "medpatch_jax")
  again(tmp_path, whole)
  assert "latest/7: the save is damaged" in caplog.text
  assert "goes on from step 6" in caplog.text
  assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_a_best_save_that_is_lost_is_not_taken_for_another(tmp_path):
  loop.fit(problem(), SETTINGS, tmp_path, Parallel())
  (best,) = (tmp_path / "best").iterdir()
  for path in best.glob("state/**/d/*"):
    cut(path)
  with pytest.raises(ValueError, match="best epoch is lost; delete"):
    loop.fit(problem(), SETTINGS, tmp_path, Parallel())


def test_saves_come_every_so_many_steps(tmp_path):
  settings = dataclasses.replace(SETTINGS, epochs=2, save_steps=2)
  seen = []

  class Spy(checkpoint.Checkpoints):
    def save(self, kind, state, progress):
      if kind == "latest":
        seen.append(int(state.step))
      super().save(kind, state, progress)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(checkpoint, "Checkpoints", Spy)
    loop.fit(problem(), settings, tmp_path, Parallel())
  assert seen == [2, 4, 6, 6]  # 3 updates an epoch; the last one always.


class Two(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Dense(2, name="first")(x)
    return nn.Dense(1, name="second")(x)


def overflowing():
  """Row 13 is so large that the output of Dense `first` overflows."""
  model, stage = Two(), problem()
  ones = {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)}
  last = {"kernel": np.ones((2, 1), np.float32), "bias": np.ones(1, np.float32)}
  collate = stage.train.collate

  def large(rows, size):
    batch = collate(rows, size)
    if 13 in rows:
      batch.inputs["x"][list(rows).index(13)] = 3e38
    return batch

  def forward(params, frozen, batch, key):
    logits = model.apply({"params": params}, batch.inputs["x"][:, 0])
    each = jnp.logaddexp(0.0, logits) - batch.label * logits
    total = jnp.sum(each[:, 0] * batch.weight)
    return total, jnp.sum(batch.weight), {"logits": logits}

  return dataclasses.replace(
    stage,
    forward=forward,
    params={"first": ones, "second": last},
    frozen={},
    train=dataclasses.replace(stage.train, collate=large),
  )


def test_a_loss_that_is_not_finite_names_step_and_module_and_keeps_the_state(
  tmp_path,
):
  stage = overflowing()
  order = stage.train.order(0)
  bad = next(i for i, positions in enumerate(order) if 13 in positions)
  assert bad > 0  # So that there is a state to keep.
  said = (
    rf"update {bad + 1} \(epoch 1, batch {bad + 1}\).*output of first \(Dense"
  )
  settings = dataclasses.replace(SETTINGS, save_minutes=1e9)
  for _ in range(2):  # Given again, it ends at once in the same place.
    with pytest.raises(FloatingPointError, match=said):
      loop.fit(stage, settings, tmp_path, Parallel())
  saves = checkpoint.Checkpoints(tmp_path, Parallel())
  run = loop._Run(stage, settings, tmp_path / "other", Parallel())
  kept, progress = saves.restore("latest", run.start)
  saves.close()
  current = run.parallel.replicate(run.start)
  for _, batch in list(stage.train.epoch(0))[:bad]:
    current = run.train_step(current, run.frozen, run.parallel.split(batch))
  np.testing.assert_array_equal(
    kept.params["first"]["kernel"],
    run.parallel.one(current).params["first"]["kernel"],
  )
  assert progress["batch"] == bad == kept.step


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (dict(params={"w": np.full((3, 1), np.nan, np.float32)}), "parameter.*'w'"),
    (
      dict(
        forward=lambda p, f, b, k: (jnp.log(p["w"].sum()), b.weight.sum(), {})
      ),
      "the loss, its inputs being finite",
    ),
    (
      dict(
        forward=lambda p, f, b, k: (jnp.sqrt(p["w"]).sum(), b.weight.sum(), {})
      ),
      "gradient of.*'w'",
    ),
  ],
)
def test_what_else_is_not_finite_is_named(tmp_path, change, said):
  stage = dataclasses.replace(problem(), **change)
  with pytest.raises(FloatingPointError, match=f"toy.*{said}.*learning_rate"):
    loop.fit(stage, SETTINGS, tmp_path, Parallel())


def test_speeds_have_a_file_of_their_own(tmp_path):
  loop.fit(problem(), SETTINGS, tmp_path, Parallel())
  lines = (tmp_path / "speeds.jsonl").read_text().splitlines()
  assert len(lines) == 3
  found = json.loads(lines[-1])
  assert found["epoch"] == 2 and found["step"] == 9
  assert 0 <= found["waiting"] <= 1 and found["stays_per_second"] > 0
  assert "seconds" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_profile_of_some_updates_is_written(tmp_path):
  settings = dataclasses.replace(SETTINGS, epochs=2, profile=(1, 4))
  loop.fit(problem(), settings, tmp_path, Parallel())
  assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_full_disk_is_said_so_and_nothing_else_is_taken_for_it(tmp_path):
  with pytest.raises(files.DiskFull, match="disk is full.*same command"):
    with files.room(tmp_path):
      try:
        raise OSError(28, "No space left on device")
      except OSError as error:
        raise RuntimeError("the save failed") from error
  with pytest.raises(PermissionError):
    with files.room(tmp_path):
      raise PermissionError(13, "denied")


def test_too_little_memory_is_said_with_what_to_lower():
  stage = problem()
  state = loop.state.create(stage.params, loop.optimizer.adam(1.0), 0)
  with pytest.raises(memory.TooLittle, match="toy.*a device has 0.00 GiB"):
    memory.check("toy", state, stage.frozen, 10)
  memory.check("toy", state, stage.frozen, 10**9)
  memory.check("toy", state, stage.frozen, None)
  with pytest.raises(memory.TooLittle, match="--batch_size.*--accumulate"):
    with memory.enough("toy", state, stage.frozen, 10**9):
      jnp.zeros((1 << 44,), jnp.float32).block_until_ready()


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
def test_too_little_memory_in_an_update_names_its_activations(tmp_path, kind):
  """Of an update whose activations are 8 GB, on a device that is full."""
  stage, width = problem(), 10**8

  def forward(params, frozen, batch, key):
    wide = jnp.sin(batch.inputs["x"][:, 0] @ params["w"] * jnp.ones((1, width)))
    total = (jnp.sort(wide, axis=1)[:, 0] * batch.weight).sum()
    return total, batch.weight.sum(), {}

  class Full(Parallel):
    def train(self, step):
      mapped = super().train(step)

      def full(*arguments):
        jnp.zeros((1 << 44,), jnp.float32).block_until_ready()

      full.lower = mapped.lower
      return full

  stage = dataclasses.replace(stage, forward=forward)
  with pytest.raises(memory.TooLittle, match=r"activations [1-9]\d*\.\d\d GiB"):
    loop.fit(stage, SETTINGS, tmp_path, Full(kind))
