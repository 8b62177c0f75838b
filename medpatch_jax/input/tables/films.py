"""The files that a folder's table of images names."""

import collections
import concurrent.futures
import os
import pathlib

from medpatch_jax.input import images

# Of the images that are used so many may be damaged, and one may be.
MOST = 0.01


def check(read, table, root, outside) -> list[int]:
  """Opens each image that is used.

  Each must be a file below the folder, links or not. Those that no film can be
  had from are left out, as of absent films, unless they are too many.

  Args:
    read: `reader.Reader`, with the table `images`; its problems are added to.
    table: `layout.Table` of the images.
    root: the folder.
    outside: what is said of a path that leads out of it.

  Returns:
    Rows that were left out, ascending.
  """
  rows = read.connection.execute(
    "SELECT row_no, path FROM images ORDER BY row_no"
  ).fetchall()
  (threads,) = read.one("SELECT current_setting('threads')::INT")
  real_root, done = os.path.realpath(root), 0

  def wrong(item):
    return _wrong(real_root, pathlib.Path(root) / item[1], outside)

  bad, damaged = collections.defaultdict(list), {}
  with (
    read.progress("opening images", lambda: done / max(1, len(rows))),
    concurrent.futures.ThreadPoolExecutor(threads) as pool,
  ):
    for (row, _), what in zip(rows, pool.map(wrong, rows)):
      done += 1
      if isinstance(what, images.Unreadable):
        damaged[row] = f"the image {what}"
      elif what:
        bad[what].append(row)
  if len(damaged) > max(1, MOST * len(rows)):
    for row, what in damaged.items():
      bad[f"{what}; at most 1 % of the images may be left out"].append(row)
  for what, numbers in bad.items():
    read.problems.add(table.file, what, "path", numbers)
  left = sorted(damaged)
  read.connection.execute("DELETE FROM images WHERE row_no IN ?", [left])
  return left


def _wrong(root, path, outside):
  """What is wrong with one image: a problem, `Unreadable`, or None."""
  try:
    found = os.path.realpath(path)
    there = os.path.isfile(found)
  except (OSError, ValueError):  # Such as a path that holds a NUL.
    there, found = False, root + os.sep
  if not found.startswith(root + os.sep):
    return outside
  if not there:
    return "names no file of the folder"
  try:
    images.shrink(found)
  except images.Unreadable as error:
    return error
  return None
