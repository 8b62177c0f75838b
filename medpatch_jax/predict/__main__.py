"""Predicts every stay of a folder of tables (docs/own_data.md).

  python -m medpatch_jax.predict --model=DIR --tables=DIR --out=FILE.csv

FILE is .csv, .parquet or .jsonl; it appears when all is done. A command that
was stopped goes on when it is given again.
"""

import argparse
import contextlib
import pathlib
import sys
import time

import medpatch_jax
from medpatch_jax import compiled, files
from medpatch_jax.evaluate.disclosure import SECRET
from medpatch_jax.export import artefact
from medpatch_jax.input import interrupt, places, stay
from medpatch_jax.predict import out, tables

PART = 256  # Stays predicted and kept at once.


def run(model_folder, folder, path, *, memory="1GB", skip_unknown=False):
  """Predicts and writes; returns (stays predicted, stays without any input).

  Raises:
    ValueError: bad input; nothing is written to `path`.
  """
  places.a_file("out", path, out.FORMATS)
  model = medpatch_jax.load(model_folder)
  labels = model.labels
  key = {
    "model": artefact.digests(model_folder),
    "tables": _fingerprint(folder),
    "skip_unknown": skip_unknown,
    "part": PART,
  }
  with files.private(), files.room(path), out.Parts(path, key) as parts:
    with contextlib.closing(
      tables.Tables(folder, model.preparation, parts.work, memory, skip_unknown)
    ) as source:
      if parts.done is None:
        _parts(model, source, parts)
        for what, count in source.left.items():
          if count:
            shown = _shown(SECRET.rough(count))
            print(f"{shown} {what}: left out", file=sys.stderr)
        if source.unread:
          print(
            "images that cannot be read, taken as absent: row"
            f" {', '.join(map(str, source.unread[:100]))}",
            file=sys.stderr,
          )
        parts.done = parts.finish(labels)
    return parts.done, len(source.ids) - parts.done


def _parts(model, source, parts):
  """Predicts and writes the parts that are not there."""
  total, start, done = len(source.ids), time.monotonic(), 0
  for number, lo in enumerate(range(0, total, PART)):
    hi = min(lo + PART, total)
    if not parts.has(number):
      ids, found = source.ids[lo:hi], _predict(model, source, lo, hi)
      parts.write(number, ids, found, model.labels)
      done += hi - lo
    _say(hi, total, done, time.monotonic() - start)


def _predict(model, source, lo, hi):
  """Predictions of stays [lo, hi), None for those without any input."""
  prepared, place = [], []
  found = [None] * (hi - lo)
  for i, raw in enumerate(source.part(lo, hi)):
    try:
      prepared.append(model.preparation.example(raw))
    except stay.Empty:
      continue
    except ValueError as error:
      raise ValueError(
        f"{source.stays_file()}, row {source.row(lo + i)}: {error}"
      ) from None
    place.append(i)
  for i, prediction in zip(place, model.predict_prepared(prepared)):
    found[i] = prediction
  return found


def _fingerprint(folder) -> dict:
  """Sizes and times of the tables, by name."""
  there = pathlib.Path(folder).glob("*.*")
  return {
    p.name: [p.stat().st_size, p.stat().st_mtime_ns]
    for p in sorted(there)
    if p.name.startswith(tuple(tables.COLUMNS))
  }


def _say(hi, total, done, seconds):
  left = seconds * (total - hi) / max(done, 1)
  print(
    f"predicted {100 * hi / total:.0f} % of {_shown(SECRET.total(total))} stays,"
    f" {left:,.0f} s left",
    file=sys.stderr,
    flush=True,
  )


def _shown(count) -> str:
  """A count of `disclosure`, as text."""
  return f"{count:,}" if isinstance(count, int) else count


class _Parser(argparse.ArgumentParser):
  """Bad flags are one line and exit code 2, as everywhere here."""

  def error(self, message):
    _stop(message)


def _stop(message):
  print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
  sys.exit(2)


def main() -> None:
  parser = _Parser(
    prog="python -m medpatch_jax.predict", description=__doc__.splitlines()[0]
  )
  parser.add_argument("--model", required=True, help="Exported folder.")
  parser.add_argument("--tables", required=True, help="Folder of tables.")
  parser.add_argument("--out", required=True, help="File to write.")
  parser.add_argument("--memory", default="1GB", help="DuckDB may hold.")
  parser.add_argument(
    "--skip_unknown",
    action="store_true",
    help="Leave out variables and kinds of notes that the model does not know.",
  )
  given = parser.parse_args()
  interrupt.listen()
  try:
    with compiled.kept():
      count, without = run(
        given.model,
        given.tables,
        given.out,
        memory=given.memory,
        skip_unknown=given.skip_unknown,
      )
  except ValueError as error:
    _stop(error)
  except OSError as error:
    if not (line := files.told(error)):
      raise
    _stop(line)
  except KeyboardInterrupt:
    interrupt.end()
  more = "; those without any input left out" if without else ""
  count = _shown(SECRET.part(count, count + without))
  print(f"{given.out}: {count} stays{more}")


if __name__ == "__main__":
  main()
