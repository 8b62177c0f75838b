"""Command line: python -m data.synthetic --out=RAW --subjects=2000."""

from absl import flags

from data import errors
from data.progress import Progress
from data.synthetic import tables, twin, world


def _flags():
  f = flags
  f.DEFINE_string("out", None, "Folder to create.", required=True)
  f.DEFINE_integer("subjects", 2000, "Number of subjects.")
  f.DEFINE_integer("seed", 0, "Same seed, same bytes.")
  f.DEFINE_enum("layout", "v2.2", tables.LAYOUTS, "Release to mimic.")
  f.DEFINE_float(
    "density", 0.05, "Share of MIMIC's event density (1: 4,300 rows a stay)."
  )
  f.DEFINE_bool("gzip", True, "Tables as .csv.gz, else .csv.")
  f.DEFINE_integer("film_size", 128, "Films' short side in pixels.")
  world.define(f)


def main(argv):
  """Writes the twin; bad flags end with one line and exit code 2."""
  del argv
  f = flags.FLAGS
  with Progress("writing the synthetic twin") as progress:
    twin.write(
      f.out,
      subjects=f.subjects,
      seed=f.seed,
      layout=f.layout,
      density=f.density,
      gzip=f.gzip,
      film_size=f.film_size,
      world=world.of_flags(f),
      progress=lambda done, total: progress.at(done / total),
    )
  print(f"wrote {f.out}")


if __name__ == "__main__":
  _flags()
  errors.run(main)
