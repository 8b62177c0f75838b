"""Words of errors that a user can act on."""

import difflib


def nearest(name, names):
  """' Did you mean X?' if one of `names` is close to `name`, else ''."""
  close = difflib.get_close_matches(str(name), [str(n) for n in names], n=1)
  return f" Did you mean {close[0]!r}?" if close else ""
