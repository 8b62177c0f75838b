"""The model card: what an exported model is, in words and measured numbers."""

from medpatch_jax.evaluate import table

NOTICE = {
  "mimic": """\
The model was trained on records of MIMIC, which fall under the PhysioNet
Credentialed Health Data Use Agreement. Weights made from them fall under it,
too: do not give this folder to anyone who is not credentialed for the data, and
do not try to find out from it who was among them.""",
  "twin": """\
The model was trained on a synthetic twin of MIMIC: no real patients, and no use
in care. Its numbers say nothing about real data.""",
  "open": """\
The model was trained on openly licensed records: {license}. What is made from
them may be used and passed on as that licence says; name its authors.""",
  "other": """\
Weights hold traces of the data they were trained on. Whatever agreement holds
for those data holds for this folder: ask who gave them before it is passed on.""",
}
CITATION = """\
@inproceedings{aljorf2025medpatch, title={MedPatch: Confidence-Guided
Multi-Stage Fusion for Multimodal Clinical Data}, author={Al Jorf, Baraa and
Shamout, Farah E}, booktitle={Machine Learning for Healthcare}, year={2025}}"""
LIMITS = """\
- For research. It is no medical device and was not tried in care.
- It holds for stays like those it was trained on: same kinds of unit, charting
  habits, devices, language. Measure it on your own stays before anything else,
  and calibrate it anew (docs/export.md of medpatch-jax).
- A probability is of the label as it was recorded, not of what was so.
- Its confidence in a token says how sure the encoder is, not why. Late weights
  are shares of a sum of logits, not causes.
- A stay without any of its inputs is refused; with few of them it is predicted,
  and less well: see the groups by what a stay has, above."""


def text(config: dict, result: dict | None, training: dict) -> str:
  """README.md of the folder.

  Args:
    config: its config.json.
    result: results.json of the run, None if it was never scored.
    training: flag -> value, as shown.
  """
  made = config["architecture"]
  sections = [
    f"# MedPatch: {config['task']}",
    _what(config, made),
    "## Data\n\n" + _data(config),
    "## Whose it is\n\n"
    + NOTICE[config["dataset"]["kind"]].format_map(config["dataset"]),
    "## Measured\n\n" + _measured(result),
    "## Limits\n\n" + LIMITS + _windows(config),
    "## How it was trained\n\n"
    + "\n".join(f"- `--{k}={v}`" for k, v in sorted(training.items())),
    "## How it is used\n\n" + _use(config),
    "## Citation\n\n```\n" + CITATION + "\n```",
    "## Versions\n\n"
    + "\n".join(f"- {k} {v}" for k, v in sorted(config["versions"].items())),
  ]
  return "\n\n".join(sections) + "\n"


def _what(config, made):
  inputs = "\n".join(f"- `{m}`: {k}" for m, k in made["kinds"])
  labels = ", ".join(made["labels"])
  of = "for a hospital stay"
  if config["hourly"]:
    of = "at any hour of a hospital stay, from what is known by then"
  one = ", of which one is true" if made["classes"] else ""
  return (
    f"Predicts {of}{one}: {labels}.\n\nFrom any of these, each of"
    f" which may be absent:\n\n{inputs}\n\nReported is the head"
    f" `{config['head']}`, chosen on validation. Method: Al Jorf and Shamout,"
    " MLHC 2025, arXiv 2508.09182, by medpatch-jax (Apache-2.0)."
  )


def _data(config):
  dataset = config["dataset"]
  lines = [f"- Source: {dataset['source']}"]
  for split, size in dataset["splits"].items():
    shown = " hours of ".join(
      f"{size[unit]:,}" if isinstance(size[unit], int) else size[unit]
      for unit in ("hours", "stays")
      if unit in size
    )
    lines.append(f"- {split}: {shown} stays")
  lines.append("- Splits are by subject; test was used for nothing but scores.")
  lines += [
    f"- SHA-256 of the records of {s}: {d}"
    for s, d in sorted(dataset["digest"].items())
  ]
  lines += [
    f"- Embeddings `{m}`: made by {e['model']}, {e['width']} wide; of a stay at"
    f" most {e['tokens']:,} tokens. Those of another model are refused."
    for m, e in config.get("embeddings", {}).items()
  ]
  if "vocabulary" in config:
    lines.append(f"- Vocabulary of the texts: {_pieces(config['vocabulary'])}")
  return "\n".join(lines)


def _pieces(vocabulary) -> str:
  """Where the vocabulary comes from, and what it can tell of a patient."""
  origin, patients = vocabulary["from"], vocabulary["patients"]
  if origin == "bert":
    return "of the published model that the run was given (`--bert`)."
  where = "trained on the notes of the train split"
  if "source" in vocabulary:
    where += f" of {vocabulary['source']}"
  if origin == "init_from":
    where = "of the model that the run started from (`--init_from`)"
    if "source" in vocabulary:
      where += f", trained on the notes of {vocabulary['source']}"
  if patients is None:
    return (
      f"{where}; how many patients have each of its words is not known, so it"
      " may hold the words of one, names among them."
    )
  return (
    f"{where}. A piece of more than one character is part of a word that at"
    f" least {patients} patients have; digits are pieces of their own."
  )


def _windows(config) -> str:
  """How much of a text is read, where the model reads texts."""
  if "text" not in dict(config["architecture"]["kinds"]).values():
    return ""
  most, window = (config["shapes"][n] for n in ("max_windows", "window"))
  return (
    f"\n- Of a stay's notes of one kind the first {most} windows of {window - 2}"
    f" word pieces\n  are read, {most * (window - 2):,} pieces; what is beyond is"
    " dropped, and a prediction\n  says how many windows that is."
  )


def _measured(result):
  if result is None:
    return (
      "The run was not scored on a test split: nothing is known of how good it"
      " is, nor of how far its probabilities can be believed."
    )
  return (
    "On the test split, scored once: intervals, the groups by presence and by"
    f" people, calibration.\n\n```\n{table.text(result)}\n```"
  )


def _use(config):
  programs = "\n".join(
    f"- `{p['file']}`"
    + (f": series padded to {p['hours']} hours" if p["hours"] else "")
    for p in config["programs"]
  )
  return (
    "With medpatch-jax, from raw input:\n\n```\nimport medpatch_jax\n\nmodel ="
    ' medpatch_jax.load("THIS_FOLDER")\nmodel.predict({...})\n```\n\nPrograms,'
    " whose arguments and results config.json names under"
    f" `programs`:\n\n{programs}"
  )
