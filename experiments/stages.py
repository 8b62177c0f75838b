"""The stages of a run in order: each hands model, loss and data to the loop.

Stage 1 `unimodal` trains each encoder alone, stage 2 `confidence` a Dense on
its tokens, stage 2b `calibrate` the temperatures; `pools` then computes, once
per stay, all that stage 3 `fuse` needs. A stage that is complete is read back
instead of run again.

Dims: N stays of a split, B stays, M modalities, T tokens, C labels.
"""

import dataclasses
import functools

import numpy as np

from experiments import flags, models
from experiments.run import Run
from medpatch_jax import calibrate, medpatch, schema
from medpatch_jax.evaluate import metrics, report
from medpatch_jax.input import loader
from medpatch_jax.train import checkpoint, freeze, loop, losses, store
from medpatch_jax.train import step as steps
from medpatch_jax.train.log import logger

# Stages that go through the loop, once for each modality.
ENCODER_STAGES = ("unimodal", "confidence")


class Stages:
  """The stages of one run; each result is computed or read back once."""

  def __init__(self, run: Run):
    """Takes the workdir for this configuration.

    Raises:
      ValueError: the workdir holds another configuration or other records.
    """
    self.run, self.config = run, run.config
    self.workdir = run.config.workdir
    checkpoint.claim(self.workdir, run.config.given)
    checkpoint.claim(
      self.workdir / "records", {"fingerprint": run.data.fingerprint}
    )

  def check_complete(self) -> None:
    """Refuses a run whose stages did not all end.

    Raises:
      ValueError: names the first that did not.
    """
    names = [f"{s}/{m}" for m in self.config.modalities for s in ENCODER_STAGES]
    for name in (*names, "fuse"):
      if not loop.complete(self.workdir / name):
        raise ValueError(
          f"{self.workdir}: stage {name} is not complete; run python -m"
          " experiments.train with the same flags first."
        )

  def until(self, last: str) -> None:
    """Runs the stages up to and with `last`, each for every modality.

    Raises:
      ValueError: a modality is absent from the whole train split.
    """
    absent = [
      m for m in self.config.modalities if not len(self.run.rows("train", m))
    ]
    if absent:
      raise ValueError(
        f"{self.run.data.path}: no stay of the train split has"
        f" {', '.join(absent)}; leave it out with --modalities, or build with"
        " its source."
      )
    for m in self.config.modalities:
      self.encoder(m)
      if last in ("confidence", "calibrate", "fuse"):
        self.confidence(m)
      if last in ("calibrate", "fuse"):
        self.temperature(m)
    if last == "fuse":
      self.fuse()

  @functools.cache  # noqa: B019 a run lives as long as its process
  def encoder(self, m: str) -> dict:
    """Stage 1: the best parameters of one encoder with its classifier."""
    run, model = self.run, models.unimodal(self.run, m)
    learn, still = freeze.split(models.start(run, m), models.frozen(run, m))

    def forward(params, frozen, batch, key):
      variables = {"params": freeze.join(params, frozen)}
      rngs = None if key is None else {"dropout": key}
      outputs, _ = model.apply(
        variables, batch, train=key is not None, rngs=rngs
      )
      return *losses.bce(outputs[m], batch.label, batch.weight), outputs

    stage = loop.Stage(
      name=f"unimodal/{m}",
      forward=forward,
      params=learn,
      frozen=still,
      train=run.loader("train", m, learn=True),
      validation=run.loader("validation", m, learn=False),
      score=self._auroc(run.rows("validation", m), (m,)),
    )
    return freeze.join(self._fit(stage, m), still)

  @functools.cache  # noqa: B019
  def confidence(self, m: str) -> dict:
    """Stage 2: a Dense on the frozen encoder's tokens."""
    run, encoder = self.run, self.encoder(m)
    model, head = models.unimodal(run, m), models.confidence(run)

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
      params=models.start_confidence(run, m),
      frozen=encoder,
      train=run.loader("train", m, learn=True),
      validation=run.loader("validation", m, learn=False),
      score=lambda loss, outputs: (-loss, {}),
    )
    return self._fit(stage, m, self.config.sizes.confidence_epochs)

  @functools.cache  # noqa: B019
  def temperature(self, m: str) -> calibrate.Temperature:
    """Stage 2b: temperatures fitted on validation, all else frozen."""
    config = self.config
    folder = self.workdir / "calibrate" / m
    params = {"encoder": self.encoder(m), "confidence": self.confidence(m)}
    key = {"given": config.given, "params": store.digest(params)}
    if (found := store.read(folder, key)) is None:
      logits, mask, label = self._token_logits(m, "validation", params)
      temperature, fitted = calibrate.fit(
        logits,
        mask,
        label,
        config.calibration,
        batch_size=config.batch_size,
        steps=config.calibration_steps,
        seed=config.settings.seed,
      )
      logger.info(
        "calibrate/%s: epoch %d of %d, calibration error %.4f -> %.4f",
        m,
        fitted["epoch"],
        fitted["epochs"],
        fitted["before"].mean(),
        fitted["after"].mean(),
      )
      writer = store.Writer(folder)
      found = {
        "position": np.asarray(temperature.position),
        "label": np.asarray(temperature.label),
        "ece_before": fitted["before"],
        "ece_after": fitted["after"],
      }
      for name, value in found.items():
        writer.allocate(name, value.shape, value.dtype)[...] = value
      writer.finish(key)
    return calibrate.Temperature(
      np.array(found["position"]), np.array(found["label"])
    )

  def _token_logits(self, m, split, params):
    """Confidence logits f32[N T C], mask bool[N T] and labels f32[N C].

    The logits lie on disk: at MIMIC's size they may take a gigabyte.
    """
    run = self.run
    model, head = models.unimodal(run, m), models.confidence(run)

    def forward(params, frozen, batch, key):
      _, out = model.apply({"params": params["encoder"]}, batch)
      encoded = out["encoded"]
      logits = head.apply({"params": params["confidence"]}, encoded.tokens)
      return 0.0, 1.0, {"logits": logits, "mask": encoded.mask}

    batches = run.loader(split, m, learn=False)
    shape = (len(batches.rows), models.positions(run, m, split))
    scratch = store.Writer(self.workdir / "calibrate" / f"{m}-{split}")
    logits = scratch.allocate("logits", (*shape, len(run.labels)), np.float32)
    mask = np.zeros(shape, bool)
    for at, _, _, rows in self._batches(forward, params, batches):
      T = min(rows["mask"].shape[1], shape[1])
      logits[at, :T] = rows["logits"][:, :T]
      mask[at, :T] = rows["mask"][:, :T]
    scratch.drop()
    return logits, mask, run.label(split)[batches.rows]

  @functools.cache  # noqa: B019
  def pools(self, m: str, split: str) -> dict[str, np.ndarray]:
    """All that stage 3 needs of one modality, computed once per stay.

    Returns:
      The fields of `schema.Pool` and `logits` of stage 1, rows in the order
      of `run.pooled_rows(split, m)`, and `cut` i64[1], the number of texts
      cut at the most windows kept; memory-mapped from the workdir.
    """
    run, config = self.run, self.config
    folder = self.workdir / "pools" / f"{m}-{split}"
    temperature = self.temperature(m)
    params = {
      "encoder": self.encoder(m),
      "confidence": self.confidence(m),
      "temperature": vars(temperature),
    }
    key = {"given": config.given, "params": store.digest(params)}
    if (found := store.read(folder, key)) is not None:
      return found
    model, head = models.unimodal(run, m), models.confidence(run)

    def forward(params, frozen, batch, rng):
      outputs, out = model.apply({"params": params["encoder"]}, batch)
      encoded = out["encoded"]
      pool = medpatch.pools(
        encoded,
        head.apply({"params": params["confidence"]}, encoded.tokens),
        calibrate.Temperature(**params["temperature"]),
        threshold=config.thresholds[m],
        kind=config.confidence,
        modality=m,
        released=config.as_released,
      )
      return 0.0, 1.0, vars(pool) | {"logits": outputs[m]}

    rows = run.pooled_rows(split, m)
    batches = run.loader(split, m, learn=False, rows=rows)
    stays = report.count(len(batches.rows))
    logger.info("pools/%s: %s stays of %s", m, stays, split)
    writer = store.Writer(folder)
    if len(batches.rows):
      loop.evaluate(
        self._mapped(forward),
        run.parallel,
        run.parallel.replicate(params),
        {},
        batches,
        writer.allocate,
      )
    cut = run.cut(split, m)
    writer.allocate("cut", (1,), np.int64)[0] = cut
    if cut:
      logger.info(
        "pools/%s: %s texts of %s longer than %d windows, the rest unread",
        m,
        report.count(cut),
        split,
        run.shapes.max_windows,
      )
    writer.finish(key)
    return store.read(folder, key)

  @functools.cache  # noqa: B019
  def fuse(self) -> dict:
    """Stage 3: everything after the pools; best of the heads on validation."""
    run, model = self.run, models.medpatch(self.run)
    start = models.start_medpatch(
      run, {m: self.encoder(m) for m in self.config.modalities}
    )

    def forward(params, frozen, batch, key):
      outputs, out = model.apply({"params": params}, batch)
      total, count, _ = losses.fused(
        outputs, out, batch.label, batch.weight, self.config.loss_weights
      )
      return total, count, outputs

    stage = loop.Stage(
      name="fuse",
      forward=forward,
      params=start,
      frozen={},
      train=self.pool_loader("train", learn=True),
      validation=self.pool_loader("validation", learn=False),
      score=self._auroc(run.rows("validation"), self.heads),
    )
    return self._fit(stage, "fuse")

  @property
  def heads(self) -> tuple[str, ...]:
    """The heads one of which is reported (METHOD.md section 8)."""
    if "joint" in self.config.without:
      return ("late",)
    if self.config.head != "validation":
      return (self.config.head,)
    return flags.HEADS

  def predict(self, split: str) -> dict[str, np.ndarray]:
    """Logits f32[N C] of every head, rows in the order of `run.rows(split)`.

    Each unimodal model's are there under `unimodal/<modality>`, zero for the
    stays without it.
    """
    run, model = self.run, models.medpatch(self.run)

    def forward(params, frozen, batch, key):
      return 0.0, 1.0, model.apply({"params": params}, batch)[0]

    batches = self.pool_loader(split, learn=False)
    _, outputs = loop.evaluate(
      self._mapped(forward),
      run.parallel,
      run.parallel.replicate(self.fuse()),
      {},
      batches,
    )
    for m in self.config.modalities:
      logits = np.zeros((len(batches.rows), len(run.labels)), np.float32)
      at = np.searchsorted(batches.rows, run.pooled_rows(split, m))
      logits[at] = self.pools(m, split)["logits"]
      outputs[f"unimodal/{m}"] = logits
    return outputs

  def pool_loader(self, split: str, learn: bool) -> loader.Loader:
    """Batches `schema.Pools` of the cached pools."""
    run, modalities = self.run, self.config.modalities
    rows = run.rows(split)
    label, present = run.label(split), run.present(split)
    cached = {m: self.pools(m, split) for m in modalities}
    place = {}
    for m in modalities:
      pooled = run.pooled_rows(split, m)
      place[m] = np.full(len(present), -1)
      place[m][pooled] = np.arange(len(pooled))
    fields = [f.name for f in dataclasses.fields(schema.Pool)]
    blank = models.blank_pools(run)

    def collate(fetched, size):
      inputs = {}
      for m in modalities:
        at = place[m][fetched]
        here = np.flatnonzero(at >= 0)
        values = {}
        for name in fields:
          shape, dtype = blank[m][name]
          out = np.zeros((size, *shape), dtype)
          if len(here):
            out[here] = cached[m][name][at[here]]
          values[name] = out
        inputs[m] = schema.Pool(**values)
      pad = ((0, size - len(fetched)), (0, 0))
      weight = (np.arange(size) < len(fetched)).astype(np.float32)
      return schema.Pools(
        inputs,
        np.pad(present[fetched], pad),
        np.pad(label[fetched], pad),
        weight,
      )

    return loader.Loader(
      rows=rows,
      batch_size=self.config.batch_size,
      fetch=lambda row, rng: row,
      collate=collate,
      seed=self.config.settings.seed if learn else None,
    )

  def _fit(self, stage, part: str, epochs: int | None = None) -> dict:
    settings = dataclasses.replace(
      self.config.settings,
      learning_rate=self.config.learning_rates[part],
      epochs=epochs or self.config.epochs[part],
    )
    stage = dataclasses.replace(stage, config=self.config.given)
    best, _ = loop.fit(
      stage, settings, self.workdir / stage.name, self.run.parallel
    )
    return best

  def _mapped(self, forward):
    return self.run.parallel.evaluate(steps.eval_step(forward))

  def _batches(self, forward, params, batches):
    parallel = self.run.parallel
    params = parallel.replicate(params)
    return loop.batches(self._mapped(forward), parallel, params, {}, batches)

  def _auroc(self, rows, heads):
    """Scores by the best mean AUROC of some heads; by loss if undefined."""
    label = self.run.label("validation")[rows]

    def score(loss, outputs):
      values = {
        h: metrics.mean(metrics.auroc(outputs[h], label))[0] for h in heads
      }
      values = {h: v for h, v in values.items() if v is not None}
      if not values:
        return -loss, {}
      return max(values.values()), {f"auroc_{h}": v for h, v in values.items()}

    return score
