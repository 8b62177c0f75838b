"""The look of every page that is written: a style sheet, light and dark."""

import pathlib

CSS = pathlib.Path(__file__).with_suffix(".css").read_text("utf-8")
