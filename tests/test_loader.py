"""The order of rows: complete, repeatable, padded at the end."""

import numpy as np

from experiments.training.run import Run, once
from medpatch_jax.input import loader


def _loader(**changes):
  settings = dict(
    rows=np.arange(10) * 10,
    batch_size=4,
    fetch=lambda row, rng: row,
    collate=lambda examples, size: examples,
    seed=3,
  )
  return loader.Loader(**(settings | changes))


def test_every_row_comes_once_an_epoch():
  for lengths in (None, np.arange(10) % 3):
    seen = [
      row for _, rows in _loader(lengths=lengths).epoch(5) for row in rows
    ]
    assert sorted(seen) == list(range(0, 100, 10))


def test_order_is_a_function_of_seed_and_epoch():
  first, again = ([rows for _, rows in _loader().epoch(1)] for _ in range(2))
  assert first == again
  assert first != [rows for _, rows in _loader().epoch(2)]
  assert first != [rows for _, rows in _loader(seed=4).epoch(1)]


def test_a_resumed_epoch_is_the_rest_of_the_whole_one():
  whole = [rows for _, rows in _loader().epoch(1)]
  assert [rows for _, rows in _loader().epoch(1, start=2)] == whole[2:]
  assert not list(_loader().epoch(1, start=3))


def test_evaluation_keeps_the_order_and_pads_the_tail():
  batches = list(_loader(seed=None).epoch())
  assert [b[1] for b in batches] == [
    [0, 10, 20, 30],
    [40, 50, 60, 70],
    [80, 90],
  ]
  np.testing.assert_array_equal(batches[-1][0], [8, 9, -1, -1])


def test_rows_of_like_length_share_a_batch():
  lengths = np.array([1, 9, 1, 9, 1, 9, 1, 9, 1, 9])
  spread = [
    len(set(lengths[np.array(rows) // 10]))
    for _, rows in _loader(lengths=lengths).epoch(0)
  ]
  assert sorted(spread) == [1, 1, 2]


def test_augmentation_differs_by_epoch_and_not_by_batch_company():
  def draw(row, rng):
    return row, rng.integers(1 << 30)

  def flat(l, epoch):
    return sorted(x for _, rows in l.epoch(epoch) for x in rows)

  one = _loader(fetch=draw, augment=True)
  few = _loader(fetch=draw, augment=True, batch_size=3)
  assert flat(one, 0) == flat(few, 0)
  assert flat(one, 0) != flat(one, 1)


def test_windows_of_a_note_that_are_read_are_chosen(small):
  """Two windows hold another reading than one; shared stores differ too."""
  runs = {n: Run(small(f"w{n}", f"--max_note_windows={n}")) for n in (1, 2)}
  preset = Run(small("preset"))
  row = preset.rows("train", "dn")[0]
  pieces = {n: r.fields("train", "dn", row)["piece"] for n, r in runs.items()}
  assert preset.shapes.max_windows == 4
  assert [len(pieces[n]) for n in (1, 2)] == [1, 2]
  keys = [r.config.key("unimodal", "dn") for r in (*runs.values(), preset)]
  assert keys[0] != keys[1] != keys[2]
  assert runs[1].config.key("unimodal", "ehr") == preset.config.key(
    "unimodal", "ehr"
  )


def test_functions_of_one_name_do_not_share_a_result():
  class Opened:
    def __init__(self):
      self.computed = {}

  def first():
    @once
    def size(run, m):
      return f"first {m}"

    return size

  @once
  def size(run, m):
    return f"second {m}"

  run = Opened()
  assert [first()(run, "ehr"), size(run, "ehr")] == ["first ehr", "second ehr"]
  assert len(run.computed) == 2 and Opened().computed == {}
