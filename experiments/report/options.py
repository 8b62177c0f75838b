"""Flags of a page; without Matplotlib, which takes a second to load."""

from absl import flags


def define(last: bool = True) -> None:
  """Defines the flags of a page.

  Args:
    last: it is the last step of a command, and may be left out.
  """
  if last:
    flags.DEFINE_bool("report", True, "Writes RUN/report.html at the end.")
  flags.DEFINE_integer(
    "cases",
    12,
    "Stays of open data that the report shows one by one.",
    lower_bound=0,
  )
  flags.DEFINE_bool(
    "disclose_cases",
    False,
    "Shows stays one by one of data that are not open, too: the report then"
    " holds patients' notes, radiographs, values and outcomes as they are. It"
    " falls under the data's agreement and must not be passed on.",
  )
