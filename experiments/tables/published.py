"""The paper's tables as values: what each row trains and what is printed.

Al Jorf and Shamout, MLHC 2025; numbers are those of METHOD.md section 8, test
split, mean over labels, "AUROC / AUPRC". An empty string: not at hand.
"""

import dataclasses

MORTALITY, PHENOTYPING = "in_hospital_mortality", "phenotyping"


@dataclasses.dataclass(frozen=True)
class Entry:
  """One row of a table.

  Attributes:
    name: shown.
    flags: of experiments.train, beside the task and the learning rate.
    mortality, phenotyping: the published numbers.
    ensemble: early, joint, late or diverse; then `flags` hold for all
      members.
    tasks: of those two, the ones the row exists for.
  """

  name: str
  flags: tuple[str, ...] = ()
  mortality: str = ""
  phenotyping: str = ""
  ensemble: str | None = None
  tasks: tuple[str, ...] = (MORTALITY, PHENOTYPING)

  def published(self, task: str) -> str:
    return self.mortality if task == MORTALITY else self.phenotyping


@dataclasses.dataclass(frozen=True)
class Table:
  """A table whose rows are models.

  Attributes:
    title: shown above it.
    entries: its rows.
    tasks: those it has columns for.
  """

  title: str
  entries: tuple[Entry, ...]
  tasks: tuple[str, ...] = (MORTALITY, PHENOTYPING)


def _alone(m, mortality="", phenotyping="", **fields):
  flags = ("--model=unimodal", f"--modalities={m}")
  return Entry(m.upper(), flags, mortality, phenotyping, **fields)


def _model(name, mortality="", phenotyping="", *, of=(), title=None):
  return Entry(title or name, (f"--model={name}", *of), mortality, phenotyping)


PAIR = ("--modalities=ehr,cxr",)
MEDPATCH = Entry(
  "MedPatch",
  (),
  "0.876 (0.863, 0.890) / 0.558 (0.519, 0.597)",
  "0.862 (0.853, 0.871) / 0.614 (0.591, 0.638)",
)
HYBRID = _model(
  "healnet", "0.875 / 0.550", "0.886 / 0.659", title="HealNet on the encoders"
)

UNIMODAL = Table(
  "One modality",
  (
    _alone(
      "ehr",
      "0.861 (0.847, 0.875) / 0.523 (0.484, 0.562)",
      "0.764 (0.752, 0.775) / 0.423 (0.402, 0.446)",
    ),
    _alone("cxr", "0.723 / 0.351", "0.692 / 0.388"),
    _alone("rr", "0.742 / 0.287", "0.776 / 0.474"),
    _alone("dn", "", "0.856 / 0.601", tasks=(PHENOTYPING,)),
  ),
)
TWO = Table(
  "EHR and film",
  (
    _model("early", "0.859 / 0.522", "0.772 / 0.438", of=PAIR),
    _model("joint", "0.861 / 0.526", "0.769 / 0.434", of=PAIR),
    _model("late", "0.854 / 0.520", "0.582 / 0.237", of=PAIR),
    _model("medfuse", "0.861 / 0.501", "0.758 / 0.418", of=PAIR),
    _model("metra", "0.864 / 0.513", "0.766 / 0.423", of=PAIR),
    _model("mmtm", of=PAIR),
    _model("daft", of=PAIR),
    _model("drfuse", of=PAIR),
    Entry(
      "MedPatch",
      PAIR,
      "0.868 (0.855, 0.882) / 0.541 (0.501, 0.578)",
      "0.773 (0.762, 0.785) / 0.439 (0.417, 0.462)",
    ),
  ),
)
ALL = Table(
  "All modalities",
  (
    _model("early", "0.869 / 0.536", "0.772 / 0.438"),
    _model("joint", "0.869 / 0.537", "0.771 / 0.436"),
    _model("late", "0.865 / 0.519", "0.825 / 0.519"),
    Entry("ensemble early", (), "0.868", "0.754", "early"),
    Entry("ensemble joint", (), "0.871", "0.763", "joint"),
    Entry("ensemble late", (), "0.864", "0.824", "late"),
    Entry("ensemble diverse", (), "0.872 / 0.547", "0.797 / 0.474", "diverse"),
    HYBRID,
    MEDPATCH,
  ),
)
ABLATIONS = Table(
  "Ablations",
  (
    MEDPATCH,
    Entry(
      "1 without unimodal predictions",
      ("--without=unimodal",),
      "0.850 / 0.484",
      "0.859 / 0.608",
    ),
    Entry(
      "2 without missingness",
      ("--without=missingness",),
      "0.875 / 0.552",
      "0.862 / 0.614",
    ),
    Entry(
      "3 without calibration",
      ("--calibration=none",),
      "0.876 / 0.557",
      "0.862 / 0.614",
    ),
    Entry(
      "4 without confidence patching",
      ("--without=joint",),
      "0.876 / 0.549",
      "0.840 / 0.543",
    ),
  ),
)
HEADS = Table(
  "Heads",
  tuple(
    Entry(head, (f"--head={head}",), *numbers)
    for head, *numbers in (
      ("late", "0.876", "0.818"),
      ("combined", "0.867", "0.862"),
      ("reduced", "0.861", "0.856"),
    )
  ),
)
ENTROPY = Table(
  "Entropy patching",
  (
    MEDPATCH,
    Entry(
      "entropy", ("--confidence=entropy",), "0.876 / 0.558", "0.864 / 0.620"
    ),
  ),
)
HEALNET = Table(
  "HealNet on raw input and on the encoders",
  (
    _model("healnet_raw", title="HealNet on raw input"),
    HYBRID,
    MEDPATCH,
  ),
)
LOSS_WEIGHTS = Table(
  "Loss weights",
  tuple(
    Entry(kind, (f"--loss_weights={kind}",))
    for kind in ("learned", "uniform", "uncertainty")
  ),
)

# The tables whose rows are models; paper.py has the others.
TABLES = {
  "1": UNIMODAL,
  "2": TWO,
  "3": ALL,
  "5": ABLATIONS,
  "C1": HEADS,
  "C5": ENTROPY,
  "C6": HEALNET,
  "C8": LOSS_WEIGHTS,
}
# Table C4: (modalities, task) -> millions of parameters of stage 3.
MILLIONS = {
  (("ehr", "cxr"), MORTALITY): 0.4,
  (("ehr", "cxr", "rr"), MORTALITY): 1.2,
  (("ehr", "cxr"), PHENOTYPING): 1.8,
  (("ehr", "cxr", "rr", "dn"), PHENOTYPING): 4.8,
}
