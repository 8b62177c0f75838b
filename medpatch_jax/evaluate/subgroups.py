"""Stays divided by whom they are of (age, gender ...) and by what they have.

Dims: N stays, M modalities.
"""

import dataclasses

import numpy as np

from medpatch_jax.evaluate import disclosure

AGE_BANDS = ((45, "under 45"), (65, "45 to 64"), (80, "65 to 79"))
OLDEST = "80 and over"
THIRDS = ("lowest third", "middle third", "highest third")
UNKNOWN = "unknown"
POOLED = "smaller groups"


@dataclasses.dataclass(frozen=True)
class Group:
  """Some of the stays.

  Attributes:
    name: of the group; `POOLED` for small ones shown as one.
    rows: bool[N].
    modalities: what its stays have, or None if it is no such group.
  """

  name: str
  rows: np.ndarray
  modalities: tuple[str, ...] | None = None


def age_band(age: np.ndarray) -> np.ndarray:
  """Ages f[N] in years -> names of their bands [N]; NaN is unknown."""
  age = np.asarray(age, np.float64)
  bands = np.full(age.shape, OLDEST, dtype=object)
  for below, name in reversed(AGE_BANDS):
    bands[age < below] = name
  bands[np.isnan(age)] = UNKNOWN
  return bands


def thirds(values: np.ndarray) -> np.ndarray:
  """Numbers f[N] -> names of the thirds they lie in [N]; NaN is unknown."""
  values = np.asarray(values, np.float64)
  names = np.full(values.shape, UNKNOWN, dtype=object)
  known = ~np.isnan(values)
  if known.any():
    edges = np.quantile(values[known], [1 / 3, 2 / 3])
    names[known] = np.array(THIRDS, object)[
      np.searchsorted(edges, values[known], side="left")
    ]
  return names


def by_name(
  names: np.ndarray,
  order: tuple[str, ...] = (),
  patient: np.ndarray | None = None,
  rule: disclosure.Rule = disclosure.SECRET,
) -> list[Group]:
  """Groups of one name, those too small to be shown as one at the end.

  Args:
    names: [N], the name of each stay's group.
    order: names that come first, as they stand; then the largest first.
    patient: [N] of each stay; every stay is a patient by default.
    rule: of openly licensed data no groups are merged.

  Returns:
    The groups that have stays; none if they would have to be one.
  """
  found, place = np.unique(np.asarray(names, str), return_inverse=True)
  rank = {name: i for i, name in enumerate(order)}
  sizes = np.bincount(place, minlength=len(found))
  key = [(rank.get(n, len(rank)), -s) for n, s in zip(found, sizes)]
  merged = _merged(place, sizes, patient, rule)
  groups = [
    Group(str(found[i]), place == i)
    for i in sorted(range(len(found)), key=key.__getitem__)
    if not merged[i]
  ]
  if groups and merged.any():
    groups.append(Group(POOLED, merged[place]))
  return groups


def by_presence(
  present: np.ndarray,
  modalities,
  patient: np.ndarray | None = None,
  rule: disclosure.Rule = disclosure.SECRET,
) -> list[Group]:
  """Groups of one pattern of presence, the most frequent first.

  Args:
    present: bool[N M].
    modalities: M names.
    patient, rule: as of `by_name`.

  Returns:
    As `by_name`.
  """
  patterns, place, sizes = np.unique(
    np.asarray(present, bool), axis=0, return_inverse=True, return_counts=True
  )
  place = place.reshape(-1)
  merged = _merged(place, sizes, patient, rule)
  groups = []
  for i in np.argsort(-sizes, kind="stable"):
    has = tuple(m for m, p in zip(modalities, patterns[i]) if p)
    if not merged[i]:
      groups.append(Group("+".join(has) or "nothing", place == i, has))
  if groups and merged.any():
    groups.append(Group(POOLED, merged[place]))
  return groups


def _merged(place, sizes, patient, rule) -> np.ndarray:
  """Groups bool[G] to be shown as one; `place` i64[N] is each stay's group."""
  if rule.open:
    return np.zeros(len(sizes), bool)
  if patient is None:
    return disclosure.pool(sizes)
  return disclosure.pool(
    sizes, lambda groups: len(np.unique(patient[groups[place]]))
  )


def divide(
  people: dict[str, np.ndarray],
  patient: np.ndarray | None = None,
  rule: disclosure.Rule = disclosure.SECRET,
) -> dict[str, list[Group]]:
  """The divisions that are reported, by name.

  Args:
    people: name -> [N] words, blank where unknown; or f[N] numbers, NaN where
      unknown: `age` in years, any other is cut in thirds.
    patient, rule: as of `by_name`.
  """
  found = {}
  for name, values in people.items():
    values = np.asarray(values)
    if name == "age":
      bands = tuple(band for _, band in AGE_BANDS) + (OLDEST, UNKNOWN)
      found[name] = by_name(age_band(values), bands, patient, rule)
    elif values.dtype.kind == "f":
      found[name] = by_name(thirds(values), (*THIRDS, UNKNOWN), patient, rule)
    else:
      words = [str(word).strip() or UNKNOWN for word in values]
      found[name] = by_name(np.array(words, object), (), patient, rule)
  return found
