"""Runs in one process: what is shared, what stage 3 trains, authors' files."""

import copy
import itertools
import json
import string

import jax
import numpy as np
import pytest
from absl import flags as absl_flags
from safetensors.numpy import load_file, save_file

import medpatch_jax
from data import build
from experiments import evaluate, export, flags, fusion, train
from experiments.config import Config
from experiments.run import Run
from experiments.stages import Stages
from medpatch_jax.encode.notes import Bert
from medpatch_jax.evaluate import calibration, predictions
from medpatch_jax.export import names, programs
from medpatch_jax.input.tokenise import SPECIALS

SMALL = (
  "--epochs=1",
  "--calibration_steps=2",
  "--batch_size=32",
  "--learning_rate=0.01",
)


@pytest.fixture(scope="module")
def defaults():
  if "workdir" not in absl_flags.FLAGS:
    flags.define()
  return absl_flags.FLAGS


@pytest.fixture(scope="module")
def records(tmp_path_factory):
  root = tmp_path_factory.mktemp("records")
  build.build(
    source="synthetic",
    task="phenotyping",
    data_dir=root,
    subjects=100,
    density=0.02,
    quiet=True,
  )
  return root


@pytest.fixture
def configure(defaults, records, tmp_path):
  """(folder, *flags) -> configuration of a small run there."""

  def made(folder, *words):
    values = copy.deepcopy(defaults)
    values(["train", f"--data_dir={records}", *SMALL, *words])
    return Config.from_flags(values, workdir=tmp_path / folder)

  return made


def run(config) -> dict[str, np.ndarray]:
  return train.train(config).predict("test")


def assert_equal(ours, theirs, tolerance):
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_allclose(
      ours[name], theirs[name], rtol=tolerance, atol=tolerance, err_msg=name
    )


def test_shared_stages_are_read_back_and_change_nothing(configure, tmp_path):
  words = ("--modalities=cxr", f"--share={tmp_path / 'share'}")
  alone = run(configure("alone", "--modalities=cxr"))
  assert_equal(run(configure("first", *words)), alone, 0)
  made = sorted(p.name for p in (tmp_path / "share").glob("*/*"))
  # Another run of the same encoders makes nothing anew.
  run(configure("second", *words, "--without=missingness"))
  assert made == sorted(p.name for p in (tmp_path / "share").glob("*/*"))
  # A run of other ones does.
  run(configure("third", *words, "--threshold=0.6"))
  new = {p.name for p in (tmp_path / "share").glob("*/*")} - set(made)
  assert new and all(
    p.name in made for p in (tmp_path / "share").glob("unimodal/*")
  )


def test_without_room_for_pools_the_numbers_are_the_same(configure):
  words = ("--modalities=ehr",)
  kept = train.train(configure("kept", *words))
  anew = train.train(configure("anew", *words, "--cache_gb=0"))
  assert kept.cached and not anew.cached
  assert (kept.workdir / "pools").exists()
  assert not (anew.workdir / "pools").exists()
  assert_equal(anew.predict("test"), kept.predict("test"), 1e-5)


@pytest.mark.parametrize(
  "words",
  [
    pytest.param(  # Summaries alone.
      ("--model=medfuse", "--modalities=rr,cxr"), marks=pytest.mark.slow
    ),
    ("--model=metra", "--modalities=ehr"),  # Tokens, of many lengths.
  ],
)
def test_a_baseline_from_kept_encodings_is_the_one_from_input(configure, words):
  kept = train.train(configure("kept", *words))
  anew = train.train(configure("anew", *words, "--cache_gb=0"))
  kind = "summaries" if "rr" in words[1] else "tokens"
  assert kept.cached and (kept.workdir / kind).exists()
  assert not (anew.workdir / kind).exists()
  assert not any("encoders" in name for name in kept.fuse())
  assert_equal(anew.predict("test"), kept.predict("test"), 1e-5)


def test_fine_tuning_starts_at_the_frozen_model_and_moves_a_copy(
  configure, monkeypatch
):
  # Every epoch is better than the one before: the start is not kept.
  scores = itertools.count()
  monkeypatch.setattr(
    Stages, "_auroc", lambda *_: lambda loss, out: (float(next(scores)), {})
  )
  stages = train.train(
    configure("moved", "--modalities=rr,dn", "--finetune_encoders")
  )
  before = {m: jax.tree.map(np.array, stages.encoder(m)) for m in ("rr", "dn")}
  # Before it moves it is the model on pools, here at random parameters since
  # new heads start at zero.
  from_input, from_pools = fusion.from_input(stages), fusion.from_pools(stages)
  rng = np.random.default_rng(0)
  drawn = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), from_pools.params
  )
  assert_equal(
    stages.outputs(
      from_input.forward,
      from_input.params | {"medpatch": drawn},
      from_input.loader("test", learn=False),
      from_input.frozen,
    ),
    stages.outputs(
      from_pools.forward, drawn, from_pools.loader("test", learn=False)
    ),
    1e-4,
  )
  # The copy has moved in every leaf, what confidences come from in none.
  for m, moved in stages.fuse()["encoder"].items():
    fixed = before[m]["encoder"]
    change = jax.tree.map(
      lambda a, b: np.abs(a - b).max(), moved["encoder"], fixed
    )
    assert min(jax.tree.leaves(change)) > 0, change
    assert jax.tree.all(
      jax.tree.map(np.array_equal, stages.encoder(m), before[m])
    )


@pytest.fixture
def bert(tmp_path):
  """A Hugging Face folder of a small BERT with a vocabulary of letters."""
  folder = tmp_path / "bert"
  folder.mkdir()
  letters = string.ascii_lowercase + string.digits
  pieces = [*SPECIALS, *letters, *(f"##{c}" for c in letters)]
  (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
  sizes = dict(width=8, depth=1, heads=2, mlp=8, vocab_size=len(pieces))
  config = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": len(pieces),
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
  }
  (folder / "config.json").write_text(json.dumps(config))
  module = Bert(positions=128, **sizes)
  piece = np.zeros((1, 3), np.int32)
  params = module.init(jax.random.key(0), piece, piece > 0)["params"]
  tensors = names.dump(params, names.bert("", (), 1))
  save_file(tensors, folder / "model.safetensors")
  return folder


def test_a_frozen_berts_hidden_states_are_kept_and_change_nothing(
  configure, bert, tmp_path
):
  words = ("--modalities=rr", f"--bert={bert}", "--epochs=2")
  share = f"--share={tmp_path / 'share'}"
  kept = train.train(configure("kept", *words, share))
  anew = train.train(configure("anew", *words, "--cache_gb=0"))
  assert "hidden/rr" in kept.on_disk and not anew.on_disk
  assert_equal(anew.predict("test"), kept.predict("test"), 1e-5)
  made = sorted((tmp_path / "share" / "hidden").glob("*/key.json"))
  assert len(made) == 3  # Train, validation, test.
  assert not (anew.workdir / "hidden").exists()
  # Another seed has other heads on the same hidden states.
  other = train.train(configure("other", *words, share, "--seed=1"))
  assert made == sorted((tmp_path / "share" / "hidden").glob("*/key.json"))
  assert not np.allclose(
    other.predict("test")["late"], kept.predict("test")["late"]
  )


def test_stage_3_learns_from_patients_held_out_of_the_encoders(configure):
  words = ("--modalities=ehr,rr", "--train_fraction=0.9")
  plain = Run(configure("plain", *words))
  held = Run(configure("held", *words, "--held_out=0.3"))
  subject = held.data.subject("train")
  for m in ("ehr", "rr"):
    seen, rest = (held.rows("train", m, of) for of in ("encoders", "fusion"))
    assert not set(subject[seen]) & set(subject[rest])
    both = np.sort(np.concatenate([seen, rest]))
    np.testing.assert_array_equal(both, plain.rows("train", m))
    assert 0.1 < len(rest) / len(both) < 0.5
    for of in ("encoders", "fusion"):
      np.testing.assert_array_equal(both, plain.rows("train", m, of))
      for split in ("validation", "test"):
        np.testing.assert_array_equal(
          held.rows(split, m, of), plain.rows(split, m)
        )
  config = configure("run", "--modalities=rr", "--held_out=0.3")
  stages = Stages(Run(config))
  seen, rest = (
    stages.run.rows("train", of=of) for of in ("encoders", "fusion")
  )
  np.testing.assert_array_equal(stages.input("train", "rr", True).rows, seen)
  learned = stages.fusion().loader("train", learn=True)
  np.testing.assert_array_equal(learned.rows, rest)
  assert len(stages.pools("rr", "train")["logits"]) == len(rest)


def test_a_file_replaced_under_its_name_is_another_encoder(configure, bert):
  config = configure("run", "--modalities=ehr,rr", f"--bert={bert}")
  first = {m: config.key("unimodal", m) for m in ("ehr", "rr")}
  assert config.key("unimodal", "rr") == first["rr"]
  tensors = load_file(bert / "model.safetensors")
  name = next(iter(tensors))
  save_file(tensors | {name: tensors[name] + 1}, bert / "model.safetensors")
  assert config.key("unimodal", "rr") != first["rr"]
  assert config.key("unimodal", "ehr") == first["ehr"]


def test_an_authors_file_gives_the_same_predictions(configure, bert, tmp_path):
  words = ("--modalities=ehr,rr,dn", f"--bert={bert}", "--epochs=2")
  trained = train.train(configure("trained", *words))
  file = tmp_path / "best_checkpoint.pth.tar"
  export.to_authors(trained, file)
  words = (*words, f"--authors={file}", "--epochs=0")
  ours, theirs = trained.predict("test"), run(configure("again", *words))
  # Their files hold the classifiers as stage 3 left them, not stage 1's.
  heads = [name for name in ours if not name.startswith("unimodal/")]
  assert {"late", "high", "low", "rr", "missingness"} <= set(heads)
  assert_equal(*({n: x[n] for n in heads} for x in (ours, theirs)), 1e-5)
  with pytest.raises(ValueError, match="fuser concat.*--fuser=concat"):
    train.train(configure("other", *words, "--fuser=lstm"))


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
    (("--model=joint", "--held_out=0.1"), "learns all at once"),
    (("--model=early", "--fuser=lstm"), "--fuser is MedPatch's"),
    (("--model=unimodal",), "takes one modality"),
    (("--model=late", "--finetune_encoders"), "pass --model=joint"),
    (("--learning_rate=0",), "learning_rate=0: wanted a number above 0"),
    (("--late_pooling=sum", "--as_released=all"), "late_norm is of"),
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
def test_flags_that_do_not_go_together_are_refused(configure, words, said):
  with pytest.raises(ValueError, match=said):
    configure("refused", *words)


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
  "--modalities=rr,dn --finetune_encoders --without=joint --parallel=shard_map",
  "--modalities=ehr,cxr,rr --dtype=bfloat16 --remat --accumulate=4",
  "--model=unimodal --modalities=cxr",
  "--model=medfuse",
  "--model=mmtm --modalities=ehr,cxr --pairs=paired",
  "--model=daft --modalities=ehr,cxr",
  "--model=metra --ehr=transformer --dtype=bfloat16 --remat",
  "--model=healnet --modalities=rr,cxr",
  "--model=healnet_raw",
  "--modalities=ehr,dn --confidence=random --modality_dropout=0.5",
  "--modalities=rr,dn --late_pooling=sum --loss_weights=uniform",
  "--modalities=ehr,cxr --noclassifier_norm --finetune_encoders",
  "--modalities=ehr,dn --missing_train=dn=0.2:0.6 --missing_test=0.5",
  "--modalities=ehr,rr --held_out=0.3 --model=medfuse",
  "--modalities=ehr,rr --train_fraction=0.5 --epochs=ehr=0,fuse=2",
  "--model=drfuse --modalities=ehr,rr --finetune_encoders",
]


def test_baselines_train_and_late_is_the_mean_of_stage_1(configure, tmp_path):
  words = ("--modalities=rr,cxr", f"--share={tmp_path / 'share'}")
  words += ("--noclassifier_norm",)
  late = run(configure("late", *words, "--model=late"))
  alone = [late["unimodal/rr"], late["unimodal/cxr"]]
  both = (alone[0] != 0).any(axis=1) & (alone[1] != 0).any(axis=1)
  np.testing.assert_allclose(
    late["late"][both], np.mean(alone, axis=0)[both], rtol=1e-5, atol=1e-6
  )
  joint = train.train(configure("joint", *words, "--model=joint"))
  early = train.train(configure("early", *words, "--model=early"))
  moved = joint.fuse()["encoders_rr"]["project"]["kernel"]
  fixed = early.encoder("rr")["encoder"]["project"]["kernel"]
  assert np.abs(moved - fixed).max() > 0
  assert set(early.fuse()) == {"classifier"}  # All that learns.
  assert set(early.encoder("rr")["classifier"]) == {"dense"}
  with pytest.raises(ValueError, match="trained with --noclassifier_norm"):
    export.to_authors(early, tmp_path / "best_checkpoint.pth.tar")
  assert not np.allclose(joint.predict("test")["joint"], 0)


@pytest.mark.slow
@pytest.mark.parametrize("words", COMBINATIONS)
def test_every_option_trains_and_predicts(configure, words):
  jax.clear_caches()  # One file's fixture is too late for so many.
  config = configure("run", *words.split())
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
def test_hours_left_of_a_stay_are_learned_and_scored(words, defaults, tmp_path):
  """Ten buckets, many rows a stay: from raw files to a table and a file."""
  root = tmp_path / "records"
  build.build(
    source="synthetic",
    task="length_of_stay",
    data_dir=root,
    subjects=60,
    density=0.02,
    quiet=True,
  )
  values = copy.deepcopy(defaults)
  words += ("--task=length_of_stay", "--hours_per_stay=3")
  values(["train", f"--data_dir={root}", *SMALL, *words])
  stages = train.train(Config.from_flags(values, workdir=tmp_path / "run"))
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
    "--modalities=ehr,cxr,rr --dtype=bfloat16",
  ],
)
def test_an_exported_run_predicts_what_it_did(configure, words, tmp_path):
  """The checkpoints stage by stage, and what is read back of the folder."""
  tolerance = 1e-3 if "bfloat16" in words else 1e-5
  stages = train.train(configure("run", *words.split()))
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
