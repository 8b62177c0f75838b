"""Counts of people as they may be printed: none below 11, nor a way to one.

A number from 1 to 10 is "<11". One that could be had by subtracting what is
printed from a printed total is hidden with it.
"""

HIDDEN = 11
WORD = "hidden"


def small(count):
  return 0 < count < HIDDEN


def shown(count):
  """A count as it may be printed."""
  count = int(count)
  return f"<{HIDDEN}" if small(count) else count


def share(count, total):
  """A count out of a printed total: neither it nor the rest is given away."""
  if small(total - count) and not small(count):
    return f">{total - HIDDEN}" if total > HIDDEN else WORD
  return shown(count)


def percent(count, total):
  """A rate in percent that gives no hidden count away; None of nothing."""
  if not total:
    return None
  if not small(count) and not small(total - count):
    return round(100 * count / total, 1)
  if total < 2 * HIDDEN:
    return WORD
  edge = 100 * HIDDEN / total
  return f"<{edge:.1f}" if small(count) else f">{100 - edge:.1f}"


def cells(counts):
  """Counts that add up to a printed total, by name.

  Where one alone is hidden, the smallest other one is too.
  """
  out = {name: shown(count) for name, count in counts.items()}
  if sum(map(small, counts.values())) == 1:
    others = [n for n, c in counts.items() if c >= HIDDEN]
    if others:
      out[min(others, key=lambda n: counts[n])] = WORD
  return out


def chain(counts, end=None):
  """Falling counts, whose differences are counts too: [(name, count)].

  From the end upwards a count is hidden that is less than 11 above the next
  one printed. `end` is what is known below the last, the last by default.
  """
  out, below = [], end
  for name, count in reversed(counts):
    if small(count):
      out.append((name, shown(count)))
    elif below is not None and small(count - below):
      out.append((name, WORD))
    else:
      out.append((name, shown(count)))
      below = count
  return out[::-1]


def coarse(count, total):
  """A share in percent, in steps of 11 people: no difference tells on one."""
  if not total:
    return None
  step = HIDDEN * ((count + HIDDEN // 2) // HIDDEN)
  return round(100 * min(step, total) / total, 1)
