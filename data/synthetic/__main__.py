"""Command line: python -m data.synthetic --out=RAW --subjects=2000."""

import sys

from absl import app, flags

from data.synthetic import model, tables, twin

_OUT = flags.DEFINE_string("out", None, "folder to create", required=True)
_SUBJECTS = flags.DEFINE_integer("subjects", 2000, "number of subjects")
_SEED = flags.DEFINE_integer("seed", 0, "same seed, same bytes")
_LAYOUT = flags.DEFINE_enum("layout", "v2.2", tables.LAYOUTS, "release to mimic")
_DENSITY = flags.DEFINE_float(
  "density", 0.05, "share of MIMIC's event density (1: 4,300 rows a stay)"
)
_GZIP = flags.DEFINE_bool("gzip", True, "tables as .csv.gz, else .csv")
_FILM_SIZE = flags.DEFINE_integer("film_size", 128, "films' short side, pixels")


def main(argv):
  """Writes the twin; bad flags end with one line and exit code 2."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]!r}")
  try:
    twin.write(
      _OUT.value,
      subjects=_SUBJECTS.value,
      seed=_SEED.value,
      layout=_LAYOUT.value,
      density=_DENSITY.value,
      gzip=_GZIP.value,
      film_size=_FILM_SIZE.value,
      presence=model.Presence(),
      progress=twin.bar(),
    )
  except (ValueError, OSError) as error:
    print(error, file=sys.stderr)
    sys.exit(2)
  print(f"wrote {_OUT.value}")


if __name__ == "__main__":
  app.run(main)
