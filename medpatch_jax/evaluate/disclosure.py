"""Which numbers about people may be shown, for all that is printed or written.

Of openly licensed data everything is shown (`OPEN`). Of all other data
(`SECRET`) nothing may tell a count of 1 to 10 patients, not even by
subtraction:

- Only totals are exact. Every other count is rounded to a multiple of 10
  (`~160`), so that no difference of two of them tells a small one.
- A count of 1 to 10 patients is `<11`; one that all but 1 to 10 patients are
  in is `>N-11`. Stays are shown, patients decide: 11 stays of one patient are
  one patient.
- Groups of fewer than 11 patients are merged with the next larger ones.
- A metric of a label is shown only where 11 patients or more have the label
  and as many lack it. Labels that are suppressed are in no mean.
- A head that takes few different values is a table of counts in disguise (the
  AUPRC of a constant one is the prevalence): none of its metrics is shown.
- Metrics have three decimals.

docs/statistics.md tells it in plain words, tests/test_attack.py tries it.

Dims: N stays, C labels, G groups.
"""

import dataclasses

import numpy as np

SMALLEST_CELL = 11
STEP = 10
DECIMALS = 3
HIDDEN = f"<{SMALLEST_CELL}"
WORD = "hidden"


def small(number):
  """Whether a count, or each of an array of them, is not shown."""
  return (0 < number) & (number < SMALLEST_CELL)


def step(number):
  """A count, or an array of them, rounded to a multiple of 10.

  What is not small stays so: the least is 20, which stands for 11 to 24.
  """
  near = STEP * ((number + STEP // 2) // STEP)
  return np.where(number < SMALLEST_CELL, near, np.maximum(near, 2 * STEP))


def people(marks: np.ndarray, patient: np.ndarray) -> np.ndarray:
  """Patients who have a marked stay.

  Args:
    marks: bool[N ...].
    patient: [N], of each stay.

  Returns:
    i64[...].
  """
  marks, patient = np.asarray(marks, bool), np.asarray(patient)
  if not len(patient):
    return np.zeros(marks.shape[1:], np.int64)
  order = np.argsort(patient, kind="stable")
  ordered = patient[order]
  first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
  return np.logical_or.reduceat(marks[order], first, axis=0).sum(axis=0)


def few(label: np.ndarray, patient: np.ndarray | None = None) -> np.ndarray:
  """Labels that fewer than 11 patients have, or lack, and some do: bool[C].

  Args:
    label: [N C] in {0, 1}.
    patient: [N], of each stay; every stay is a patient by default.
  """
  label = np.asarray(label)
  patient = np.arange(len(label)) if patient is None else patient
  return small(people(label == 1, patient)) | small(people(label == 0, patient))


def tables(logits: np.ndarray) -> np.ndarray:
  """Labels of which a head f[N C] says so little that it is a table: bool[C].

  It has fewer than 22 values, or on average 11 stays or more share one, as
  where it knows only which modalities a stay has.
  """
  values = np.sort(np.asarray(logits), axis=0)
  different = 1 + (values[1:] != values[:-1]).sum(axis=0)
  return different < max(2 * SMALLEST_CELL, len(values) / SMALLEST_CELL)


def pool(sizes: np.ndarray, together=None) -> np.ndarray:
  """Groups to be shown as one, so that no small one can be told.

  Args:
    sizes: i64[G], stays of each group; every stay is in one group.
    together: bool[G] -> patients of some groups together; by default every
      stay is a patient.

  Returns:
    bool[G]: the groups of 1 to 10 patients, and the next larger ones until
    they have 11 patients together. All False if no group is small.
  """
  sizes = np.asarray(sizes)
  together = together or (lambda groups: sizes[groups].sum())
  each = np.eye(len(sizes), dtype=bool)
  merged = np.array([bool(small(together(group))) for group in each], bool)
  for group in np.argsort(sizes, kind="stable"):
    if not merged.any() or not small(together(merged)):
      break
    merged[group] |= sizes[group] > 0
  return merged


def figures(found, decimals: int = DECIMALS):
  """JSON types with every float rounded."""
  if isinstance(found, dict):
    return {name: figures(value, decimals) for name, value in found.items()}
  if isinstance(found, list):
    return [figures(value, decimals) for value in found]
  return round(found, decimals) if isinstance(found, float) else found


@dataclasses.dataclass(frozen=True)
class Rule:
  """How counts of people are shown.

  Attributes:
    open: the data are openly licensed, so everything is shown as it is.
  """

  open: bool = False

  def hides(self, patients):
    """Whether a count of patients, or each of an array, is not shown."""
    return small(patients) & (not self.open)

  def total(self, stays: int, patients: int | None = None) -> int | str:
    """A total as it is shown: exact, unless few patients are behind it."""
    few_ = self.hides(stays if patients is None else patients)
    return HIDDEN if few_ else int(stays)

  def rough(self, stays: int, patients: int | None = None) -> int | str:
    """A count that is no total."""
    shown = self.total(stays, patients)
    return shown if self.open or not shown or shown == HIDDEN else _near(shown)

  def part(
    self,
    stays: int,
    whole: int | None,
    patients: int | None = None,
    others: int | None = None,
  ) -> int | str:
    """A count out of a total.

    Args:
      stays: the count.
      whole: the total as it is shown elsewhere, None if it is not shown.
      patients: whose stays they are; as many as stays by default.
      others: patients of the total's other stays; as above.

    Returns:
      The count if it is 0 or the total, or the data are open; "<11" and
      ">839" (of 850) where few patients have it or lack it; "~160" else.
    """
    if self.open:
      return int(stays)
    if whole is None:
      return self.rough(stays, patients)
    rest = whole - stays
    if small(stays if patients is None else patients):
      return HIDDEN
    if small(whole):
      return WORD
    if small(rest if others is None else others):
      return f">{whole - SMALLEST_CELL}" if small(rest) else WORD
    return int(stays) if stays in (0, whole) else _near(stays)

  def percent(self, count: int, total: int, shown=None) -> float | str | None:
    """A rate in percent that gives no count away; None of nothing.

    Args:
      count: out of `total`.
      total: as it is shown elsewhere.
      shown: the count as it is shown, `part` by default.
    """
    if not total:
      return None
    shown = self.part(count, total) if shown is None else shown
    if isinstance(shown, int):
      return round(100 * shown / total, 1)
    if total < 2 * SMALLEST_CELL or shown == WORD:
      return WORD
    edge = 100 * SMALLEST_CELL / total
    if shown == HIDDEN:
      return f"<{edge:.1f}"
    if shown.startswith(">"):
      return f">{100 - edge:.1f}"
    return round(100 * min(int(step(count)), total) / total, 1)

  def cells(self, counts: dict, patients: dict | None = None) -> dict:
    """Counts that add up to a total that is shown, by name.

    Beside a small one the smallest other is not shown either, so that the
    total less the others does not bound the small ones.

    Args:
      counts: name -> stays.
      patients: name -> patients; as many as stays by default.
    """
    patients = patients or counts
    out = {name: self.rough(n, patients[name]) for name, n in counts.items()}
    if HIDDEN in out.values():
      others = [n for n in counts if out[n] not in (0, HIDDEN)]
      if not others:
        return {name: WORD if n else 0 for name, n in counts.items()}
      out[min(others, key=lambda n: counts[n])] = WORD
    return out

  def chain(self, counts: list, end: int | None = None, lost=()) -> list:
    """Falling totals, whose differences are counts too: [(name, count)].

    From the end upwards a count is not shown that is less than 11 stays or
    patients above the next one shown.

    Args:
      counts: (name, stays) of each.
      end: what is known below the last, the last by default.
      lost: patients of the stays between each count and the one before it; as
        many as stays where it ends, or by default.
    """
    out, below, patients = [], end, SMALLEST_CELL
    for i in reversed(range(len(counts))):
      name, count = counts[i]
      gap = 0 if below is None else count - below
      shown = self.total(count)
      near = self.hides(gap) or (gap and self.hides(patients))
      if shown == HIDDEN or near:
        out.append((name, HIDDEN if shown == HIDDEN else WORD))
      else:
        out.append((name, shown))
        below, patients = count, 0
      # At least as many as of the one rule that lost the most.
      patients = max(patients, lost[i] if i < len(lost) else SMALLEST_CELL)
    return out[::-1]

  def share(self, count: int, total: int) -> float | None:
    """A share of a curve in percent, of rounded counts; None of nothing."""
    if not total:
      return None
    near = count if self.open else int(STEP * ((count + STEP // 2) // STEP))
    return round(100 * min(near, total) / total, 1)

  def numbers(self, found):
    """Metrics, JSON types: all decimals, or three."""
    return found if self.open else figures(found)


def _near(stays) -> str:
  return f"~{int(step(stays)):,}"


OPEN, SECRET = Rule(open=True), Rule()


class Sizes:
  """Counts of the rows of a split that are scored, as they may be shown.

  Attributes:
    rule: `Rule`.
    rows: how many there are.
    people: how many patients they are of.
  """

  def __init__(self, rule: Rule, patient: np.ndarray, whole: int | None = None):
    """Counts all rows.

    Args:
      rule: what may be shown.
      patient: [N], of each row.
      whole: rows of the split; None, or N, where every one is scored.
    """
    self.rule, self._patient = rule, np.asarray(patient)
    N, patients = len(self._patient), len(np.unique(self._patient))
    self.rows = rule.total(N, patients)
    if whole not in (None, N):
      # How many are left out is a count, too: the whole is known elsewhere.
      self.rows = rule.part(N, whole, patients)
    self._whole = N if self.rows == N else None
    self.people = rule.part(patients, self._whole, patients, N - patients)

  def __call__(self, rows: np.ndarray) -> int | str:
    """How many there are of a subset bool[N]."""
    patients = (len(np.unique(self._patient[part])) for part in (rows, ~rows))
    return self.rule.part(int(rows.sum()), self._whole, *patients)

  def amount(self, each: np.ndarray) -> tuple[int | str, int | str]:
    """Of things i64[N] of the rows: (rows that have any, how many things).

    How many is shown only where the rows are.
    """
    rows, things = self(each > 0), int(each.sum())
    if self.rule.open or not things:
      return rows, things
    told = isinstance(rows, int) or rows.startswith("~")
    return rows, _near(things) if told else WORD

  def labels(self, cases: np.ndarray) -> list[int | str]:
    """How many there are of each label, of bool[N C]."""
    # Where each row has one of the labels, they add up to all rows.
    one = cases.shape[1] > 1 and (cases.sum(axis=1) == 1).all()
    if self.rule.open or not one:
      return [self(case) for case in cases.T]
    counts = dict(enumerate(cases.sum(axis=0).tolist()))
    patients = dict(enumerate(people(cases, self._patient).tolist()))
    return list(self.rule.cells(counts, patients).values())
