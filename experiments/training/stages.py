"""The stages of a run in order: each hands model, loss and data to the loop.

Stage 1 `unimodal` trains each encoder alone, stage 2 `confidence` a Dense on
its tokens, stage 2b `calibrate` the temperatures; `pools` then computes, once
per stay, all that stage 3 `fuse` needs (fusion.py). A stage that is complete
is read back instead of run again; with --share, so is that of another run.

Dims: N stays of a split, B stays, M modalities, T tokens, C labels.
"""

import contextlib
import dataclasses
import functools
import pathlib
import weakref

import numpy as np

from experiments.config.names import HEADS, RAW
from experiments.training import (
  baseline,
  cache,
  from_authors,
  fusion,
  initial,
  late_weights,
  models,
  start,
  temperature,
  windows,
)
from experiments.training.run import Run, once
from medpatch_jax import calibrate, stacking
from medpatch_jax.evaluate import metrics
from medpatch_jax.train import (
  checkpoint,
  freeze,
  lock,
  loop,
  losses,
  store,
  workdir,
)
from medpatch_jax.train import step as steps

# Stages that go through the loop, once for each modality.
ENCODER_STAGES = ("unimodal", "confidence")


class Stages:
  """The stages of one run; each result is computed or read back once."""

  def __init__(self, run: Run):
    """Takes the workdir for this configuration.

    Raises:
      ValueError: the workdir holds another configuration or other records, or
        is in use by another process.
    """
    self.run, self.config = run, run.config
    self.computed: dict = {}  # What `once` methods returned.
    self.workdir = run.config.workdir
    self.board = None  # Of Weights & Biases, while it trains.
    if run.parallel.first:
      # Held as long as this object lives.
      weakref.finalize(self, lock.take(self.workdir / ".lock").close)
    run.parallel.in_turn(self._claim)

  def _claim(self) -> None:
    if self.run.parallel.first:
      workdir.claim(self.workdir, self.config.given)
    checkpoint.claim(self.workdir, self.config.given)
    checkpoint.claim(
      self.workdir / "records", {"fingerprint": self.run.data.fingerprint}
    )

  @property
  def architecture(self):
    """Which function the parameters of all stages stand for."""
    return models.architecture(self.run)

  def check_complete(self, last: str = "fuse") -> None:
    """Refuses a run whose stages up to and with `last` did not all end.

    Raises:
      ValueError: names the first that did not.
    """
    folders = [self.workdir / "fuse"] if last == "fuse" else []
    stages = ENCODER_STAGES
    if self.config.model != "medpatch":
      stages = ENCODER_STAGES[:1]
    if self.config.authors or self.config.model == RAW:
      stages = ()
    folders += [
      self.folder(s, m) for m in self.config.modalities for s in stages
    ]
    command = "experiments.train"
    command += "" if last == "fuse" else f" --stage={last}"
    for folder in folders:
      if not loop.complete(folder):
        raise ValueError(
          f"{folder}: the stage is not complete; run python -m {command} with the"
          " same flags first."
        )

  def until(self, last: str) -> None:
    """Runs the stages up to and with `last`, each for every modality."""
    for m in self.config.modalities:
      if self.config.model == RAW:
        break  # It has no encoders.
      self.encoder(m)
      if self.config.model != "medpatch":
        continue  # Baselines have no use for confidence.
      if last in ("confidence", "calibrate", "fuse"):
        self.confidence(m)
      if last in ("calibrate", "fuse"):
        self.temperature(m)
    if last == "fuse":
      self.fuse()

  def key(self, stage: str, m: str, split: str | None = None) -> dict:
    """What a stage's result for one modality depends on, records included."""
    records = {"records": self.run.data.fingerprint}
    return self.config.key(stage, m, split) | records

  def folder(self, stage: str, m: str, split: str | None = None):
    """Where a stage's result for one modality lies."""
    name = m if split is None else f"{m}-{split}"
    if self.config.share is None:
      return self.workdir / stage / name
    key = store.short(self.key(stage, m, split))
    return self.config.share / stage / f"{name}-{key}"

  @contextlib.contextmanager
  def alone(self, folder: pathlib.Path):
    """Nobody else writes this folder: other runs may share it."""
    held = contextlib.nullcontext()
    if self.config.share and self.run.parallel.first:
      held = lock.shared(folder.with_name(folder.name + ".lock"))
    with held:
      self.run.parallel.meet()
      yield

  @once
  def encoder(self, m: str) -> dict:
    """Stage 1: the best parameters of one encoder with its classifier."""
    if self.config.authors:
      return from_authors.unimodal(self.run, m)
    folder = self.folder("unimodal", m)
    return self._encoder(m, f"unimodal/{m}", folder, self.key("unimodal", m))

  @once
  def out_of_fold(self, m: str) -> np.ndarray:
    """Stage 1's logits f32[n C] of the train stays that have a modality.

    Of each by an encoder that learned from other patients (--cross_fit).
    """
    run, count = self.run, late_weights.cross_fit(self)
    rows = run.rows("train", m)
    fold = stacking.folds(run.data.subject("train"), count)[rows]
    logits = np.zeros((len(rows), len(run.labels)), np.float32)
    for k in range(count):
      if (fold == k).all():  # Nothing is left to learn from.
        logits[:] = run.base_rate()
      if (fold == k).all() or not (fold == k).any():
        continue
      key = self.key("unimodal", m) | {"without_fold": [k, count]}
      own, folder = f"-without-{k + 1}-of-{count}", self.folder("unimodal", m)
      folder = folder.with_name(folder.name + own)
      params = self._encoder(
        m, f"unimodal/{m}{own}", folder, key, rows[fold != k]
      )
      logits[fold == k] = self.unimodal_logits(
        "train", m, params, rows[fold == k]
      )
    return logits

  def _encoder(self, m, name, folder, key, rows=None) -> dict:
    """An encoder trained on some rows of train, or all it may learn from."""
    run, model = self.run, self.architecture.unimodal(m)
    learn, still = freeze.split(initial.encoder(run, m), initial.frozen(run, m))

    def forward(params, frozen, batch, key):
      variables = {"params": freeze.join(params, frozen)}
      rngs = None if key is None else {"dropout": key}
      outputs, _ = model.apply(
        variables, batch, train=key is not None, rngs=rngs
      )
      return *run.loss(outputs[m], batch.label, batch.weight), outputs

    stage = loop.Stage(
      name=name,
      forward=forward,
      params=learn,
      frozen=still,
      train=self.input("train", m, learn=True, rows=rows),
      validation=self.input("validation", m),
      score=self._auroc(run.rows("validation", m), (m,)),
      shown=self._shown(m),
      config=key,
    )
    return freeze.join(self._fit(stage, m, folder), still)

  def unimodal_logits(self, split: str, m: str, params, rows) -> np.ndarray:
    """Stage 1's logits f32[n C] of rows of a split that have a modality."""
    model = self.architecture.unimodal(m)
    batches = self.input(split, m, rows=rows)

    def forward(params, frozen, batch, key):
      return 0.0, 1.0, model.apply({"params": params}, batch)[0]

    return self.outputs(forward, params, batches)[m]

  @once
  def confidence(self, m: str) -> dict:
    """Stage 2: a Dense on the frozen encoder's tokens."""
    if self.config.authors:
      return from_authors.confidence(self.run, m)
    run, encoder = self.run, self.encoder(m)
    model, head = self.architecture.unimodal(m), self.architecture.head()

    def forward(params, frozen, batch, key):
      _, out = model.apply({"params": frozen}, batch, train=False)
      encoded = out["encoded"]
      logits = head.apply({"params": params}, encoded.tokens)
      return *losses.token_bce(
        logits, encoded.mask, batch.label, batch.weight
      ), {}

    stage = loop.Stage(
      name=f"confidence/{m}",
      forward=forward,
      params=initial.confidence(run, m),
      frozen=encoder,
      train=self.input("train", m, learn=True),
      validation=self.input("validation", m),
      score=lambda loss, outputs: (-loss, {}),
      shown=self._shown(m),
      config=self.key("confidence", m),
    )
    epochs = self.config.sizes.confidence_epochs
    return self._fit(stage, m, self.folder("confidence", m), epochs)

  @once
  def temperature(self, m: str) -> calibrate.Temperature:
    """Stage 2b: temperatures fitted on validation, all else frozen."""
    if self.config.authors:
      return from_authors.temperature(self.run, m)
    return temperature.of(self, m)

  @once
  def token_program(self, m: str):
    """Token logits as a program (temperature.py)."""
    return temperature.program(self, m)

  @once
  def pools(self, m: str, split: str) -> dict[str, np.ndarray]:
    """All that stage 3 needs of one modality (cache.py)."""
    return cache.pools(self, m, split)

  @once
  def encodings(self, m: str, split: str) -> dict[str, np.ndarray]:
    """What a baseline reads of one frozen encoder (cache.py)."""
    return cache.encodings(self, m, split)

  @once
  def hidden(self, m: str, split: str) -> dict[str, np.ndarray]:
    """What a frozen BERT makes of each note (cache.py)."""
    return cache.hidden(self, m, split)

  @property
  def cached(self) -> bool:
    """Whether pools, or what a baseline reads of the encoders, lie on disk."""
    return "fusion" in self.on_disk

  @functools.cached_property
  def on_disk(self) -> frozenset[str]:
    """What is computed once and read back: all that --cache_gb has room for."""
    names, size = cache.chosen(self.run)
    learns = self.config.finetune_encoders or self.config.model != "medpatch"
    if not learns and not loop.complete(self.workdir / "fuse"):
      start.room(self, size)
    return names

  @once
  def fusion(self) -> fusion.Fusion:
    """What stage 3 trains."""
    made = fusion if self.config.model == "medpatch" else baseline
    return made.build(self)

  @once
  def fuse(self) -> dict:
    """Stage 3: everything after the pools; best of the heads on validation.

    MedPatch starts as the late module over stage 1's predictions, and stays
    that if no epoch is better (as temperature 1 counts as epoch 0).
    """
    last = self.fusion()
    start = late_weights.before(self, last)
    stage = loop.Stage(
      name="fuse",
      forward=last.forward,
      params=start,
      frozen=last.frozen,
      train=last.loader("train", learn=True),
      validation=last.loader("validation", learn=False),
      score=self._auroc(
        self.run.rows("validation"),
        self.heads,
        late_weights.unseen(self, start),
      ),
      shown=self._shown(),
      config=self.config.given,
      start_counts=self.config.model == "medpatch",
    )
    # Nothing of it learns where a baseline is stage 1 put together.
    epochs = None if last.params else 0
    trained = self._fit(stage, "fuse", self.workdir / "fuse", epochs)
    return late_weights.after(self, last, start, trained)

  def tuned(self) -> dict[str, dict]:
    """With --finetune_encoders, stage 3's copies of the encoders, whole."""
    return {
      m: fusion.whole(self, m, learn, self.encoder(m))
      for m, learn in self.fuse()["encoder"].items()
    }

  @property
  def heads(self) -> tuple[str, ...]:
    """The heads one of which is reported (METHOD.md section 8)."""
    if self.config.model != "medpatch":
      return (self.config.model,)
    stacked = self.config.late_pooling == "stacked"
    if stacked or "joint" in self.config.without:
      return ("late",)
    if self.config.head != "validation":
      return (self.config.head,)
    return HEADS

  def predict(self, split: str) -> dict[str, np.ndarray]:
    """Logits f32[N C] of every head, rows in the order of `run.rows(split)`.

    Each unimodal model's are there under `unimodal/<modality>`, zero for the
    stays without it. Their sigmoid is the probability, also of classes.
    """
    run, last = self.run, self.fusion()
    batches = last.loader(split, learn=False)
    outputs = self.outputs(
      last.forward, self.fuse(), batches, frozen=last.frozen
    )
    for m in self.config.modalities:
      if self.config.model == RAW:
        break
      if self.config.authors and "unimodal" in self.config.without:
        continue  # The file's classifiers were never trained.
      logits = np.zeros((len(batches.rows), len(run.labels)), np.float32)
      # A modality may be absent from a whole split.
      if len(run.rows(split, m)):
        rows, values = self._unimodal(split, m)
        logits[np.searchsorted(batches.rows, rows)] = values
      outputs[f"unimodal/{m}"] = logits
    windows.say(run)
    return {name: run.scores(values) for name, values in outputs.items()}

  def _unimodal(self, split: str, m: str):
    """Rows i64[n] that have a modality and stage 1's logits f32[n C]."""
    if self.config.model == "medpatch" and self.cached:
      return self.run.pooled_rows(split, m), self.pools(m, split)["logits"]
    rows = self.run.rows(split, m, "encoders")
    return rows, self.unimodal_logits(split, m, self.encoder(m), rows)

  def input(self, split: str, m: str, learn: bool = False, rows=None):
    """Batches of what one modality's encoder reads.

    Of notes under a frozen BERT these are its hidden states, if there is room.

    Args:
      split: its name.
      m: modality.
      learn: shuffled and augmented.
      rows: i64[n] of the split; by default those that the encoder learns from.
    """
    if rows is None:
      rows = self.run.rows(split, m, "encoders")
    read = np.isin(rows, self.run.rows(split, m)).all()
    if f"hidden/{m}" in self.on_disk and read:
      return cache.hidden_loader(self, m, split, rows, learn)
    return self.run.loader(split, (m,), rows, learn)

  def outputs(self, forward, params, batches, frozen=None, **allocate):
    """One pass over `batches`: {output: rows in the order of the loader}."""
    parallel = self.run.parallel
    _, outputs = loop.evaluate(
      self.mapped(forward),
      parallel,
      parallel.replicate(params),
      parallel.replicate(frozen or {}),
      batches,
      **allocate,
    )
    return outputs

  def mapped(self, forward):
    """`forward` as a program of evaluation, for one pass or several."""
    return self.run.parallel.evaluate(steps.eval_step(forward))

  def fill(self, arrays, mapped, params, batches) -> None:
    """One pass over `batches`: each output's rows into its array.

    Args:
      arrays: name of an output of `mapped` -> [N L ..]; a batch of series has
        as many tokens as its bucket, more or fewer than L.
      mapped: of `mapped`.
      params, batches: as in `outputs`.
    """
    parallel = self.run.parallel
    params = parallel.replicate(params)
    for at, _, _, found in loop.batches(mapped, parallel, params, {}, batches):
      for name, values in found.items():
        values = values[:, : arrays[name].shape[1]]
        arrays[name][at, : values.shape[1]] = values

  def _fit(self, stage, part, folder, epochs: int | None = None) -> dict:
    settings = dataclasses.replace(
      self.config.settings,
      learning_rate=self.config.learning_rate[part],
      epochs=self.config.epochs[part] if epochs is None else epochs,
    )
    with self.alone(folder):
      best, _ = loop.fit(stage, settings, folder, self.run.parallel, self.board)
    windows.say(self.run)
    return best

  def _auroc(self, rows, heads, read=dict):
    """Scores by the best mean AUROC of some heads; by loss if undefined.

    Args:
      rows: of validation.
      heads: names.
      read: outputs of all rows -> those to score.
    """
    label = self.run.label("validation")[rows]

    def score(loss, outputs):
      outputs = read(outputs)
      logits = {h: self.run.scores(outputs[h]) for h in heads}
      each = {h: metrics.auroc(x, label) for h, x in logits.items()}
      values = [metrics.mean(values)[0] for values in each.values()]
      values = [v for v in values if v is not None]
      means = {
        f"auroc_{h}": self.run.shown_mean(x, logits[h], "validation", rows)
        for h, x in each.items()
      }
      numbers = {name: v for name, v in means.items() if v is not None}
      return max(values, default=-loss), numbers

    return score

  def _shown(self, m=None):
    """Which numbers of a stage may be logged, of the rows that have `m`.

    A loss is a mean over all labels: with one that few have it is not shown.
    """
    if self.run.rule.open:
      return dict
    few = {
      split: self.run.few(split, self.run.rows(split, m)).any()
      for split in ("train", "validation")
    }
    hidden = {"train_loss"} if few["train"] else set()
    hidden |= {"loss", "best"} if few["validation"] else set()

    def shown(numbers):
      return self.run.rule.numbers(
        {name: v for name, v in numbers.items() if name not in hidden}
      )

    return shown
