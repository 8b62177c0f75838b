"""Figures as vector graphics: one look for a page, in both themes, and papers.

Drawn with Matplotlib and taken over into the page as SVG: its text stays text,
its colours become those of the page, so that the reader's theme decides.
"""

import dataclasses
import io
import pathlib
import re

import matplotlib as mpl
from matplotlib.backends import backend_agg, backend_svg
from matplotlib.figure import Figure

from medpatch_jax import files

INK, FAINT, RULE, PAPER = "#1a1d21", "#6b737d", "#d9dde2", "#ffffff"
# Okabe and Ito's palette, which colour-blind readers can tell apart, without
# its yellow; each with a mark of its own. The page brightens it on dark.
COLOURS = (
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#cc79a7",
  "#56b4e9",
  "#e69f00",
  INK,
)
MARKS = ("o", "s", "^", "D", "v", "P", "X")
NAMES = dict(zip((INK, FAINT, RULE, PAPER), ("ink", "faint", "rule", "paper")))
NAMES |= {colour: f"c{i}" for i, colour in enumerate(COLOURS[:-1])}
WIDTH = 4.3  # Inches; a figure is as wide as a telephone.
LABEL = "label-"  # What a label's line is called: `label-3`.
STYLE = {
  "svg.fonttype": "none",
  "font.size": 9.0,
  "axes.titlesize": 9.0,
  "axes.labelsize": 9.0,
  "xtick.labelsize": 8.0,
  "ytick.labelsize": 8.0,
  "legend.fontsize": 8.0,
  "legend.frameon": False,
  "text.color": INK,
  "axes.labelcolor": INK,
  "axes.edgecolor": FAINT,
  "xtick.color": FAINT,
  "ytick.color": FAINT,
  "xtick.labelcolor": INK,
  "ytick.labelcolor": INK,
  "axes.facecolor": "none",
  "figure.facecolor": "none",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": RULE,
  "grid.linewidth": 0.7,
  "lines.linewidth": 1.6,
  "text.parse_math": False,
}


@dataclasses.dataclass(frozen=True)
class Drawing:
  """One figure with what stands around it.

  Attributes:
    name: of its files, a word.
    title: a line.
    alt: what is to be seen, in a sentence or two.
    figure: Matplotlib's.
    head: names of the columns of the table behind it.
    rows: of the table: words, numbers or None.
    pick: labels have lines of their own, one of which can be shown.
    wide: takes the page's whole width.
  """

  name: str
  title: str
  alt: str
  figure: Figure
  head: list[str]
  rows: list[list]
  pick: bool = False
  wide: bool = False


def blank(height: float, width: float = WIDTH, columns: int = 1, left=0.62):
  """(figure, its axes) of a size in inches; `left` is kept for labels."""
  figure = Figure(figsize=(width, height))
  axes = figure.subplots(1, columns, squeeze=False)[0]
  figure.subplots_adjust(
    left=left / width,
    right=1 - 0.2 / width,
    bottom=0.48 / height,
    top=1 - 0.12 / height,
    wspace=0.32,
  )
  return figure, axes


def style():
  """Inside the `with`, figures look as they do here."""
  return mpl.rc_context(STYLE)


def svg(drawing: Drawing) -> str:
  """The figure for a page: an <svg> whose colours are CSS variables."""
  with style(), mpl.rc_context({"svg.hashsalt": drawing.name}):
    out = io.StringIO()
    backend_svg.FigureCanvasSVG(drawing.figure).print_svg(
      out, metadata={"Date": None}
    )
  text = out.getvalue()
  text = text[text.index("<svg") :]
  text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
  # It holds for every element of the page.
  text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
  text = re.sub(r"<!--.*?-->|\n\s*", lambda m: "\n" * (m[0][0] == "\n"), text)
  for colour, name in NAMES.items():
    text = re.sub(colour, f"var(--{name})", text, flags=re.I)
  text = re.sub(r"font:\s*([\d.]+px) [^\";]*", r"font: \1 var(--font)", text)
  text = re.sub(r"font-family:[^;\"]*", "font-family: var(--font)", text)
  text = _ids(text, drawing.name)
  box = re.search(r'viewBox="([^"]*)"', text)[1]
  # The root's: the rest begins after it.
  return (
    f'<svg viewBox="{box}" xmlns="http://www.w3.org/2000/svg"'
    ' xmlns:xlink="http://www.w3.org/1999/xlink" aria-hidden="true"'
    f' style="--wide:{drawing.figure.get_figwidth() * 96:.0f}px"'
    + text[text.index(">") :]
  )


def _ids(text, name):
  """Ids that nothing refers to are left out, others named by the figure."""
  used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))

  def one(match):
    found = match[1]
    if found.startswith(LABEL):
      return f' class="pick" data-pick="{found.removeprefix(LABEL)}"'
    return f' id="{name}-{found}"' if found in used else ""

  text = re.sub(r' id="([^"]+)"', one, text)
  text = re.sub(r"url\(#", f"url(#{name}-", text)
  return re.sub(r'href="#', f'href="#{name}-', text)


def save(drawings, folder) -> list[pathlib.Path]:
  """Writes NAME.svg and NAME.png of every figure.

  Raises:
    DiskFull: they did not fit.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  paths = []
  for drawing in drawings:
    canvases = {
      "svg": backend_svg.FigureCanvasSVG(drawing.figure).print_svg,
      "png": backend_agg.FigureCanvasAgg(drawing.figure).print_png,
    }
    for kind, write in canvases.items():
      path = folder / f"{drawing.name}.{kind}"
      own = {"svg.hashsalt": drawing.name, "savefig.dpi": 200}
      own |= {"savefig.facecolor": PAPER}
      with style(), mpl.rc_context(own), files.whole(path) as part:
        drawing.figure.set_facecolor(PAPER)
        drawing.figure.set_dpi(200 if kind == "png" else 72)
        write(str(part), metadata={"Date": None} if kind == "svg" else None)
      paths.append(path)
  return paths
