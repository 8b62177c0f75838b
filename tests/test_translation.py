"""Golden files of other kinds than those at hand, made by a translation.

The translation itself is held against a golden file of the released code and
one of our defaults; then it makes files that are not in the folder.
"""

import jax
import numpy as np
import pytest

from medpatch_jax.schema import RELEASED
from tests import golden, translation
from tests.test_golden import FOLDER
from tests.translation import Case

RELEASED_ORDER = ("ehr", "cxr", "dn", "rr")


@pytest.mark.parametrize(
  "name, case",
  [
    (
      "emsma__ehr-cxr-rr_c1_concat_default_mixed",
      Case(
        ("ehr", "cxr", "rr"),
        entropy=True,
        thresholds=(0.66, 0.65, 0.64, 0.655),
        switches=RELEASED,
        predictions=RELEASED_ORDER,
      ),
    ),
    pytest.param(
      "default__ehr-cxr-rr_c1_transformer_default_mixed",
      Case(("ehr", "cxr", "rr"), fuser="transformer"),
      marks=pytest.mark.slow,
    ),
  ],
)
def test_the_translation_equals_golden_numbers(name, case):
  with np.load(FOLDER / f"{name}.npz") as file:
    arrays = {k: file[k] for k in file.files if k != "meta"}
  given, params = (
    {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
    for start in ("in/", "param/")
  )
  with translation.double():
    params, given = translation.wide(params), translation.wide(given)
    learn = {k: v for k, v in params.items() if f"grad/{k}" in arrays}
    frozen = {k: v for k, v in params.items() if k not in learn}
    gradient = jax.value_and_grad(translation.forward, has_aux=True)
    (loss, (heads, _, _)), grads = gradient(learn, frozen, given, case)
    ours = {"loss/loss": loss, "out/late": heads["late"]}
    ours |= {f"grad/{k}": v for k, v in grads.items()}
    for key, value in ours.items():
      value = np.asarray(value).reshape(arrays[key].shape)
      assert golden.difference(value, arrays[key]) < 1e-5, key


@pytest.mark.parametrize(
  "case, steps",
  [
    pytest.param(
      Case(("ehr", "dn"), 2, "lstm", present=((1, 1), (1, 0))),
      0,
      marks=pytest.mark.slow,
    ),
    (Case(("dn",), present=((1,), (1,), (0,))), 0),
    (
      Case(
        ("cxr", "rr"),
        2,
        entropy=True,
        thresholds=(0, 0.93, 0.9, 0),
        present=((1, 1), (0, 1), (1, 0)),
        width=8,
      ),
      0,
    ),
    pytest.param(
      Case(
        ("ehr", "rr", "dn"),
        2,
        "transformer",
        "without_missingness_module",
        present=((1, 0, 1), (1, 1, 0)),
        switches=RELEASED,
        predictions=RELEASED_ORDER,
      ),
      0,
      marks=pytest.mark.slow,
    ),
    pytest.param(
      Case(
        ("ehr", "dn"),
        2,
        None,
        "without_joint_module",
        present=((1, 1), (1, 0)),
        switches=("late_norm", "padding_tokens"),
      ),
      0,
      marks=pytest.mark.slow,
    ),
    pytest.param(
      Case(
        ("ehr", "rr"),
        2,
        "lstm",
        present=((1, 1), (1, 0)),
        switches=RELEASED,
        predictions=RELEASED_ORDER,
      ),
      2,
      marks=pytest.mark.slow,
    ),
  ],
  ids=lambda x: "-".join(x.modalities) if isinstance(x, Case) else None,
)
def test_other_golden_files_match(tmp_path, case, steps):
  """Under a name that says nothing: what is in it counts."""
  path = translation.file(case, tmp_path / "renamed.npz", steps)
  worst = golden.compare(path, case.switches)
  assert max(worst.values())[0] <= golden.LIMIT, worst
  assert steps or worst.keys() == {"outputs", "losses", "gradients"}


def test_a_wrong_number_is_found(tmp_path):
  case = Case(("ehr",), present=((1,), (1,)))
  path = translation.file(case, tmp_path / "a.npz")
  with np.load(path) as file:
    arrays = {k: file[k] for k in file.files}
  arrays["grad/weights"] = arrays["grad/weights"] + np.float32(1e-4)
  np.savez(path, **arrays)
  assert golden.compare(path)["gradients"][0] > golden.LIMIT
