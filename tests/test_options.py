"""What the flags ask for: refused, or trained, predicted and exported."""

import jax
import numpy as np
import pytest

import medpatch_jax
from experiments import evaluate, export, train
from medpatch_jax.evaluate import calibration, predictions
from medpatch_jax.export import programs
from tests import small_run


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (("--without=unimodal,missingness,joint",), "leave one module in"),
    (("--without=joint", "--head=reduced"), "pass --head=late"),
    (("--authors=a.pth.tar",), "pass --bert"),
    (("--authors=a", "--modalities=ehr", "--calibration=none"), "leave --cal"),
    (("--authors=a", "--modalities=ehr", "--ehr=transformer"), "leave --ehr"),
    (("--authors=a", "--modalities=ehr", "--noclassifier_norm"), "leave --cl"),
    (("--authors=a", "--modalities=ehr", "--held_out=0.1"), "leave --held"),
    (("--authors=a", "--modalities=ehr", "--fuser=bilinear"), "no products"),
    (("--model=joint", "--held_out=0.1"), "learns all at once"),
    (("--model=early", "--fuser=lstm"), "--fuser is MedPatch's"),
    (("--model=unimodal",), "takes one modality"),
    (("--model=late", "--finetune_encoders"), "pass --model=joint"),
    (("--learning_rate=0",), "learning_rate=0: wanted a number above 0"),
    (("--late_pooling=sum", "--as_released=all"), "late_norm is of"),
    (("--late_pooling=stacked", "--as_released=late_norm"), "late_norm is of"),
    (("--late_pooling=stacked", "--head=reduced"), "has one head, late"),
    (("--as_published", "--cross_fit=5"), "wanted 2 or more, with"),
    (("--cross_fit=1", "--late_pooling=stacked"), "wanted 2 or more"),
    (("--modality_dropout=0.1", "--as_released=all"), "absent_tokens shows"),
    (("--clip=-1",), "clip=-1.0: wanted a number above 0"),
    (("--modalities=ehr,ecg",), "'ecg' is unknown"),
    (("--as_released=all,mirror",), "'all' is unknown"),
    (("--threshold=rr=0.4",), "wanted a number in"),
    (("--threshold=dn=0.8", "--modalities=rr"), "with a name of rr"),
    (("--save_steps=5", "--save_minutes=2"), "pass one"),
    (("--profile=9:3",), "wanted START:STOP"),
    (("--wandb=mine",), "wandb is not installed"),
  ],
)
def test_flags_that_do_not_go_together_are_refused(small, words, said):
  with pytest.raises(ValueError, match=said):
    small("refused", *words)


# Every value of every flag that shapes stage 3 is there, in pairs as they come.
COMBINATIONS = [
  "--modalities=cxr --fuser=lstm --loss_weights=uniform --calibration=scalar",
  "--modalities=dn,ehr --ehr=transformer --pairs=paired --head=reduced",
  "--modalities=cxr,rr --without=joint --loss_weights=uncertainty",
  "--modalities=rr,dn --without=unimodal --fuser=transformer --head=combined",
  "--modalities=rr,dn --without=missingness,unimodal --calibration=none",
  "--modalities=rr,dn --without=missingness,joint --schedule=plateau",
  "--modalities=rr,dn --without=unimodal,joint --head=late",
  "--modalities=rr,dn --confidence=entropy --fuser=lstm --adam_b2=0.9",
  "--modalities=rr,dn --confidence=entropy --threshold=rr=0.5 --clip=1",
  "--confidence=entropy --as_released=all --augment",
  "--modalities=rr,cxr,dn,ehr --as_released=presence_order,late_norm",
  "--modalities=ehr,cxr --finetune_encoders --ehr=transformer --fuser=lstm",
  "--modalities=rr,dn --finetune_encoders --without=joint --parallel=shard_map"
  " --late_pooling=stacked",
  "--modalities=ehr,cxr,rr --dtype=bfloat16 --remat --accumulate=4",
  "--model=unimodal --modalities=cxr",
  "--model=medfuse",
  "--model=mmtm --modalities=ehr,cxr --pairs=paired",
  "--model=daft --modalities=ehr,cxr",
  "--model=metra --ehr=transformer --dtype=bfloat16 --remat",
  "--model=healnet --modalities=rr,cxr",
  "--model=healnet_raw",
  "--modalities=ehr,dn --confidence=random --modality_dropout=0.5",
  "--modalities=rr,dn --late_pooling=sum --loss_weights=uniform --fuser=bilinear",
  "--modalities=ehr,cxr --noclassifier_norm --finetune_encoders",
  "--modalities=ehr,dn --missing_train=dn=0.2:0.6 --missing_test=0.5"
  " --late_pooling=stacked",
  "--modalities=ehr,rr --held_out=0.3 --model=medfuse",
  "--modalities=ehr,rr --train_fraction=0.5 --epochs=ehr=0,fuse=2",
  "--model=drfuse --modalities=ehr,rr --finetune_encoders",
  "--model=medfuse --modalities=ehr,rr --ehr=additive --as_released=all",
]


def test_additive_starts_at_quantiles_of_train_stays(small):
  """Worked out again stay by stay, by numpy's own words."""
  words = "--model=unimodal --modalities=ehr --ehr=additive --learning_rate=0.1"
  stages = train.train(small("run", *words.split()))
  run = stages.run
  found = stages.encoder("ehr")["encoder"]
  assert np.abs(found["linear"]["kernel"]).max() > 0.1  # It learned.
  means, deviations, counts = [], [], []
  number, mask = run.channels.measured()[2]
  for row in run.rows("train", "ehr"):
    x = run.fields("train", "ehr", row)["x"]
    there = x[:, mask] > 0
    means.append(x[there, number].mean() if there.any() else 0.0)
    deviations.append(x[there, number].std() if there.any() else 0.0)
    counts.append(there.sum())
  share, V = np.linspace(0, 1, 17), len(run.channels.measured())
  for values, at, atol in (
    (means, 0, 1e-6),
    (deviations, V, 1e-4),  # A difference of squares.
    (counts, 4 * V, 0),
  ):
    want, knots = np.quantile(values, share), found["knots"][at + 2]
    np.testing.assert_allclose(knots, want, rtol=1e-5, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("words", COMBINATIONS)
def test_every_option_trains_and_predicts(small, words):
  jax.clear_caches()  # One file's fixture is too late for so many.
  config = small("run", *words.split())
  stages = train.train(config)
  outputs = stages.predict("test")
  assert set(stages.heads) <= outputs.keys()
  rows = stages.run.rows("test")
  for name, logits in outputs.items():
    assert logits.shape == (len(rows), 25), name
    assert np.isfinite(logits).all(), name


@pytest.mark.parametrize(
  "words",
  [
    # Films are all of one shape: the fewest compilations.
    ("--model=unimodal", "--modalities=cxr"),
    pytest.param((), marks=pytest.mark.slow),
  ],
)
def test_hours_left_of_a_stay_are_learned_and_scored(words, tmp_path):
  """Ten buckets, many rows a stay: from raw files to a table and a file."""
  root = tmp_path / "records"
  small_run.records(root, "length_of_stay", subjects=60)
  words += ("--task=length_of_stay", "--hours_per_stay=3")
  config = small_run.configuration(root, tmp_path / "run", *words)
  stages = train.train(config)
  data = stages.run.data
  assert data.size("train") == 3 * len(data.records("train", ("stay_id",)))
  text = evaluate.evaluate(stages)
  assert "Every hour" in text and "kappa" in text
  found = predictions.load(tmp_path / "run" / predictions.NAME)
  sure = calibration.probability(found.logits[found.chosen])
  np.testing.assert_allclose(sure.sum(axis=1), 1, atol=1e-5)
  np.testing.assert_array_equal(found.label.sum(axis=1), 1)
  np.testing.assert_array_equal(found.row, stages.run.rows("test"))
  if stages.config.model == "medpatch":
    assert_exported(stages, tmp_path / "out", 1e-5)
  evaluate.predict(stages, tmp_path / "left.csv")
  head, *lines = (tmp_path / "left.csv").read_text().splitlines()
  assert head.startswith("stay_id,hour,Under a day,1 to 2 days,")
  cells = [line.split(",") for line in lines]
  keys = [(int(stay), int(hour)) for stay, hour, *_ in cells]
  assert keys == sorted(set(keys)) and len(keys) == len(found.row) > 30
  with pytest.raises(ValueError, match="no bound is known of length_of_stay"):
    (tmp_path / "run" / "results.txt").unlink()
    evaluate.evaluate(stages, truth=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
  "words",
  [
    "--calibration=label",
    "--modalities=rr,dn --finetune_encoders --confidence=entropy",
    "--modalities=ehr,cxr --ehr=transformer --fuser=lstm --deviation",
    "--modalities=ehr,rr --without=unimodal --as_released=all",
    "--modalities=ehr --ehr=additive --finetune_encoders --staleness",
    "--modalities=ehr,cxr,rr --dtype=bfloat16",
  ],
)
def test_an_exported_run_predicts_what_it_did(small, words, tmp_path):
  """The checkpoints stage by stage, and what is read back of the folder."""
  tolerance = 1e-3 if "bfloat16" in words else 1e-5
  stages = train.train(small("run", *words.split()))
  assert_exported(stages, tmp_path / "out", tolerance)


def assert_exported(stages, folder, tolerance):
  """The checkpoints' predictions of the test split are the folder's."""
  export.to_folder(stages, folder)
  model = medpatch_jax.load(folder)
  run, want = stages.run, stages.predict("test")
  batches = run.loader(
    "test", run.config.modalities, run.rows("test"), learn=False
  )
  for positions, batch in batches.epoch():
    got = model._compiled(model.params, programs.inputs_of(batch))
    real = positions >= 0
    for head in {*stages.heads, "high", "missingness"}:
      np.testing.assert_allclose(
        run.scores(np.asarray(got[f"logits.{head}"]))[real],
        want[head][positions[real]],
        rtol=tolerance,
        atol=tolerance,
        err_msg=head,
      )
