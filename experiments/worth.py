"""Do late weights follow what each source is worth? Of runs on the twin.

  python -m experiments.worth --workdirs=RUN,RUN --truths=RAW,RAW
      [--shares=DIR,DIR --figures=DIR]

A run's stacked late weights stand beside what the modalities of its twin tell of
the labels, in bits: each modality alone, I(label; items), and what a pair tells
only together (data/synthetic/information.py). Evidence is a log odds, so a
source that can be believed has weight 1 however little it knows, one that
repeats others less, and noise none; what it moves is its weight times the
evidence it gives. So the standard deviation of that over the test stays that
have it is what is drawn against the bits. Prints the table; --figures writes
worth.svg and worth.png.

Dims: N stays, M modalities, P pairs, C labels.
"""

import itertools
import pathlib

import numpy as np
from absl import flags

from data.synthetic import bayes, information, model, world
from experiments import flags as experiment_flags
from experiments.config import Config
from experiments.report import plots
from experiments.training import models
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax import late
from medpatch_jax.evaluate import predictions

PAIR = " x "


def measure(stages: Stages, items) -> list[dict]:
  """Lines of a run: source, its bits, weight and what it moves.

  Args:
    stages: a complete run with stacked late weights, evaluated.
    items: world.Items of its twin and task.

  Raises:
    ValueError: it has other late weights, or a stage did not end.
  """
  config = stages.config
  if config.late_pooling != "stacked" or "unimodal" in config.without:
    raise ValueError(
      f"--workdirs: {config.workdir} has no stacked late weights of modalities;"
      " give runs of MedPatch with --late_pooling=stacked."
    )
  stages.check_complete()
  names = config.modalities
  found = predictions.load(config.results / predictions.NAME)
  said = np.nan_to_num(np.stack([found.logits[m] for m in names], 1))
  rows = stages.run.rows("test")
  present = stages.run.present("test")[rows]
  params = models.parameters(stages)["medpatch"]["late"]
  evidence = np.asarray(late.evidence_of(said, present, params["prior"]))
  together = np.asarray(late.products(evidence, present, params["center"]))
  pairs = information.pairs(items, model.prior(config.task))
  lines = [
    _line(m, alone(pairs, m), params["weight"][i], evidence[present[:, i], i])
    for i, m in enumerate(names)
  ]
  for k, (i, j) in enumerate(itertools.combinations(range(len(names)), 2)):
    both = present[:, i] & present[:, j]
    bits = pairs[names[i], names[j]]["synergistic"]
    name = PAIR.join((names[i], names[j]))
    lines.append(_line(name, bits, params["pair"][k], together[both, k]))
  return lines


def alone(pairs, m: str) -> float:
  """Bits that a modality's items tell of a label, of any pair it is in.

  Args:
    pairs: of `information.pairs`.
    m: the modality.
  """
  pair = next(p for p in pairs if m in p)
  own = "first" if pair[0] == m else "second"
  return pairs[pair][own] + pairs[pair]["redundant"]


def _line(name, bits, weight, given) -> dict:
  moved = (weight * given).std(axis=0).mean() if len(given) else 0.0
  return {
    "source": name,
    "bits": max(float(bits), 0.0),
    "weight": float(weight.mean()),
    "moves": float(moved),
  }


def markdown(found: dict[str, list[dict]]) -> str:
  """Table of the lines of each run, by its twin's world."""
  rows = [
    "| world | source | bits | weight | what it moves, log odds |",
    "| --- | --- | --- | --- | --- |",
  ]
  for name, lines in found.items():
    rows += [
      "| {} | {source} | {bits:.4f} | {weight:.2f} | {moves:.2f} |".format(
        name, **line
      )
      for line in lines
    ]
  return "\n".join(rows) + "\n"


def draw(found: dict[str, list[dict]]) -> plots.Drawing:
  """What a source moves against its bits: modalities, and pairs of them."""
  with plots.style():
    figure, axes = plots.blank(3.4, 2 * plots.WIDTH, columns=2)
    for k, (name, lines) in enumerate(found.items()):
      how = {
        "color": plots.COLOURS[k % len(plots.COLOURS)],
        "marker": plots.MARKS[k % len(plots.MARKS)],
        "linestyle": "none",
        "label": name,
      }
      for axis, pairs in zip(axes, (False, True)):
        of = [line for line in lines if (PAIR in line["source"]) == pairs]
        axis.plot([x["bits"] for x in of], [x["moves"] for x in of], **how)
    axes[0].set_xlabel("bits that a modality alone tells of a label")
    axes[1].set_xlabel("bits that only two together tell")
    axes[0].set_ylabel("moves the log odds by (standard deviation)")
    axes[0].legend(loc="upper left")
  head = ["world", "source", "bits", "weight", "moves"]
  rows = [
    [name, *(line[column] for column in head[1:])]
    for name, lines in found.items()
    for line in lines
  ]
  alt = (
    "Left: what each modality moves the late log odds by, against the bits it"
    " tells alone. Right: the same of products of two, against the bits that"
    " only both together tell."
  )
  title = "Late weights and information"
  return plots.Drawing("worth", title, alt, figure, head, rows, wide=True)


def main(argv) -> None:
  del argv
  f = flags.FLAGS
  counts = [len(f.workdirs), len(f.truths), len(f.shares or f.workdirs)]
  if not f.workdirs or len(set(counts)) > 1:
    raise ValueError(
      "--workdirs, --truths and --shares: wanted as many of each, found"
      f" {', '.join(map(str, counts))}."
    )
  shares = f.shares or [None] * len(f.workdirs)
  found = {}
  for folder, raw, share in zip(f.workdirs, f.truths, shares, strict=True):
    config = Config.from_workdir(folder, share)
    of = bayes.world_of(raw)
    items = world.Items(of, config.task)
    known = (name for name, other in world.WORLDS.items() if other == of)
    name = next(known, pathlib.Path(raw).name)
    found[name] = measure(Stages(Run(config)), items)
  print(markdown(found))
  if f.figures:
    plots.save([draw(found)], f.figures)


if __name__ == "__main__":
  flags.DEFINE_list("workdirs", [], "Runs of MedPatch on twins, evaluated.")
  flags.DEFINE_list("truths", [], "Raw folder of each one's twin.")
  flags.DEFINE_list("shares", [], "Where each shared encoders, if they did.")
  flags.DEFINE_string("figures", None, "Folder for worth.svg and worth.png.")
  experiment_flags.run(main)
