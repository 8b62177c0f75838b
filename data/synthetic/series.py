"""The series of a chunk's stays: what they show, and all of their rows.

Dims: N stays, T hours of the longest, R hours of any stays.
"""

import dataclasses

import numpy as np

from data.synthetic import channels, items, model, people, vitals


@dataclasses.dataclass(frozen=True)
class Items:
  """What the series of N stays show.

  Attributes:
    phenotypes: bool[N 25].
    death: bool[N 2], of two hours.
    clear: slot -> bool[N], "death" -> bool[N 2]: hours that are no noise.
    marked: bool[N], whose hours tell whether they are.
    elsewhere: bool[N T], hours that are noise and hold no evidence.
    wild: bool[R 25], what is shown in the R hours of `elsewhere`.
    noise: bool[N T], all hours that are noise.
  """

  phenotypes: np.ndarray
  death: np.ndarray
  clear: dict
  marked: np.ndarray
  elsewhere: np.ndarray
  wild: np.ndarray
  noise: np.ndarray


def items_of(rng, folk, evidence):
  """Draws the Items of one chunk, and adds them to `evidence`."""
  pheno, death = model.EVIDENCE
  n, bins = len(folk.stay_id), vitals.num_bins(folk)
  # Where the hours of death are the stay's last, one mark would hide another.
  meet = folk.long & (bins <= channels.DEATH_BINS[-1] + 2)
  clear = {s: evidence.clear(n) | meet for s in channels.SLOTS}
  clear["death"] = evidence.clear((n, 2)) | meet[:, None]
  of_label = [clear[c.slot] for c in channels.PHENOTYPE_CHANNELS]
  out = []
  for task, label, prior, ok in (
    (pheno, folk.label, model.PREVALENCE, np.stack(of_label, 1)[..., None]),
    (death, folk.death[:, None], model.DEATH_RATE, clear["death"][:, None]),
  ):
    shown = evidence.draw(rng, task, "ehr", label[folk.of_admission])
    shown = evidence.spoil(task, "ehr", np.array(prior), shown, ok)
    evidence.add(task, "ehr", shown, ok, np.ones(n, bool))
    out.append(shown)
  marked = np.invert(meet) & (evidence.world.noise > 0)
  elsewhere = evidence.elsewhere(_free(folk) & marked[:, None])
  wild = evidence.wild(pheno, "ehr", model.PREVALENCE, elsewhere.sum())
  return Items(
    out[0][..., 0], out[1][:, 0], clear, marked, elsewhere, wild,
    elsewhere | _noise_in_place(folk, clear),
  )  # fmt: skip


def _free(folk):
  """Hours bool[N T] in which events are charted, but no evidence."""
  bins = vitals.num_bins(folk)[:, None]
  hour = np.arange(bins.max(initial=0))
  of_death = folk.long[:, None] & np.isin(hour, channels.DEATH_BINS)
  first = np.where(folk.late_events, people.MORTALITY_HOURS, 0)[:, None]
  free = (hour >= first) & (hour < bins - len(channels.SLOTS)) & ~of_death
  return free & ~folk.eventless[:, None]


def _noise_in_place(folk, clear):
  """Hours bool[N T] that are noise and would show evidence."""
  bins = vitals.num_bins(folk)
  out = np.zeros((len(bins), bins.max(initial=0)), bool)
  for slot, back in channels.SLOT_BINS_FROM_END.items():
    out[np.arange(len(bins)), bins - back] = ~clear[slot]
  dying = np.flatnonzero(folk.long & ~folk.late_events)
  for i, at in enumerate(channels.DEATH_BINS):
    out[dying, at] |= ~clear["death"][dying, i]
  return out & ~folk.eventless[:, None]


def draw(rng, folk, shown, density):
  """All rows of the 17 variables of one chunk, sorted by stay and time.

  Args:
    rng: numpy Generator.
    folk: People.
    shown: Items.
    density: share of MIMIC's chart rows; evidence is charted at any density.

  Returns:
    vitals.Rows.
  """
  writer = vitals.Writer(rng, folk)
  evidence, held = writer.evidence(shown)
  rest = writer.admission() + writer.noise(density)
  traps = writer.traps(evidence)
  if shown.elsewhere.any():
    noise, more = _elsewhere(writer, shown)
    traps, held = traps + noise + _measured_anew(writer, shown), held + more
  rest = _drop_held(vitals.concatenate(rest), folk, held)
  out = vitals.concatenate([*evidence, rest, *traps])
  return out.take(np.lexsort((out.item, out.time, out.stay)))


def _elsewhere(writer, shown):
  """Rows of hours that are noise and hold no evidence.

  Such an hour shows any levels of the phenotypes' variables, and the mark.

  Returns:
    vitals.Rows parts, and the times they hold, as `Writer.evidence` has them.
  """
  out, held = [], []
  stay, index = np.nonzero(shown.elsewhere)
  early = writer.rng.random(len(stay)) < 0.5
  for slot, rows in zip(channels.SLOTS, (early, ~early)):
    of, at, levels = stay[rows], index[rows], shown.wild[rows]
    for names in vitals.PHENOTYPE_GROUPS:
      time = writer.slot_time(of, at)
      out += writer.group(
        names,
        of,
        time,
        lambda n, s=slot, of=of, x=levels: writer.slot_value(of, n, s, x),
      )
      held += [(name, of, at, time) for name in names]
  time = writer.slot_time(stay, index)
  out.append(
    writer.rows("ph", stay, time, np.full(len(stay), channels.MARKS["ph"]))
  )
  held.append(("ph", stay, index, time))
  return out, held


def _measured_anew(writer, shown):
  """Calm rows of hours that follow noise and are neither noise nor a slot.

  Without them the values of noise would be carried into an hour that does not
  look like it.
  """
  folk = writer.folk
  after = np.zeros_like(shown.noise)
  after[:, 1:] = shown.noise[:, :-1]
  slots = np.arange(after.shape[1]) >= (vitals.num_bins(folk) - 2)[:, None]
  stay, index = np.nonzero(after & ~shown.noise & ~slots)
  # The hours of death chart the variables of the marks themselves.
  own = folk.long[stay] & np.isin(index, channels.DEATH_BINS)
  out = []
  for names in (*vitals.PHENOTYPE_GROUPS, ("ph",)):
    keep = ~own if names[0] in channels.MARKS else np.ones(len(own), bool)
    of, time = stay[keep], writer.slot_time(stay[keep], index[keep])
    out += writer.group(names, of, time, lambda n, of=of: writer.calm(of, n))
  return out


def _drop_held(rows, folk, held):
  """Drops calm rows that would come last in an hour held by evidence."""
  variable = np.array([channels.ROW[i.variable] for i in items.ITEMS])[
    rows.item
  ]
  offset = rows.time - folk.intime[rows.stay]
  index = -(-offset // people.HOUR) - 1
  until = {}
  for name, stay, bins, time in held:
    if name not in until:
      shape = len(folk.stay_id), vitals.num_bins(folk).max()
      until[name] = np.full(shape, np.iinfo(np.int64).max)
    until[name][stay, bins] = np.minimum(until[name][stay, bins], time)
  keep = np.ones(len(rows.stay), bool)
  for name, limit in until.items():
    mine = variable == channels.ROW[name]
    mine = np.flatnonzero(mine & (index >= 0) & (index < limit.shape[1]))
    keep[mine] = rows.time[mine] < limit[rows.stay[mine], index[mine]]
  return rows.take(keep)
