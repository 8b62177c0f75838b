"""Runs in one process: what is shared, what stage 3 trains, authors' files."""

import itertools
import json
import string

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from experiments import export, train
from experiments.training import fusion
from experiments.training.run import Run
from experiments.training.stages import Stages
from medpatch_jax.encode.notes import Bert
from medpatch_jax.export import names
from medpatch_jax.input.tokenise import SPECIALS

# Of notes, too, a batch has one shape: fewer programs.
ONE = "--max_note_windows=1"


def run(config) -> dict[str, np.ndarray]:
  return train.train(config).predict("test")


def assert_equal(ours, theirs, tolerance):
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_allclose(
      ours[name], theirs[name], rtol=tolerance, atol=tolerance, err_msg=name
    )


def test_shared_stages_are_read_back_and_change_nothing(small, tmp_path):
  words = ("--modalities=cxr", f"--share={tmp_path / 'share'}")
  alone = run(small("alone", "--modalities=cxr"))
  assert_equal(run(small("first", *words)), alone, 0)
  made = sorted(p.name for p in (tmp_path / "share").glob("*/*"))
  # Another run of the same encoders makes nothing anew.
  run(small("second", *words, "--without=missingness"))
  assert made == sorted(p.name for p in (tmp_path / "share").glob("*/*"))
  # A run of other ones does.
  run(small("third", *words, "--threshold=0.6"))
  new = {p.name for p in (tmp_path / "share").glob("*/*")} - set(made)
  assert new and all(
    p.name in made for p in (tmp_path / "share").glob("unimodal/*")
  )


def test_without_room_for_pools_the_numbers_are_the_same(small):
  words = ("--modalities=ehr",)
  kept = train.train(small("kept", *words))
  anew = train.train(small("anew", *words, "--cache_gb=0"))
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
def test_a_baseline_from_kept_encodings_is_the_one_from_input(small, words):
  kept = train.train(small("kept", *words))
  anew = train.train(small("anew", *words, "--cache_gb=0"))
  kind = "summaries" if "rr" in words[1] else "tokens"
  assert kept.cached and (kept.workdir / kind).exists()
  assert not (anew.workdir / kind).exists()
  assert not any("encoders" in name for name in kept.fuse())
  assert_equal(anew.predict("test"), kept.predict("test"), 1e-5)


def test_fine_tuning_starts_at_the_frozen_model_and_moves_a_copy(
  small, monkeypatch
):
  # Every epoch is better than the one before: the start is not kept.
  scores = itertools.count()
  monkeypatch.setattr(
    Stages, "_auroc", lambda *_: lambda loss, out: (float(next(scores)), {})
  )
  stages = train.train(
    small("moved", "--modalities=rr,dn", "--finetune_encoders", ONE)
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
  small, bert, tmp_path, caplog
):
  caplog.set_level("INFO", "medpatch_jax")
  words = ("--modalities=rr", f"--bert={bert}", "--epochs=2", ONE)
  # Stacked weights of so few stays move by 2e-5 with the rounding before them.
  words += ("--late_pooling=mean",)
  share = f"--share={tmp_path / 'share'}"
  kept = train.train(small("kept", *words, share))
  anew = train.train(small("anew", *words, "--cache_gb=0"))
  assert "hidden/rr" in kept.on_disk and not anew.on_disk
  assert_equal(anew.predict("test"), kept.predict("test"), 1e-5)
  # What is dropped of the notes is said of each split once, kept or not.
  said = [line for line in caplog.messages if "dropped" in line]
  assert len(said) == 2 * len(set(said)) == 6
  made = sorted((tmp_path / "share" / "hidden").glob("*/key.json"))
  assert len(made) == 3  # Train, validation, test.
  assert not (anew.workdir / "hidden").exists()
  # Another seed has other heads on the same hidden states.
  other = train.train(small("other", *words, share, "--seed=1"))
  assert made == sorted((tmp_path / "share" / "hidden").glob("*/key.json"))
  assert not np.allclose(
    other.predict("test")["late"], kept.predict("test")["late"]
  )


def test_stage_3_learns_from_patients_held_out_of_the_encoders(small):
  words = ("--modalities=ehr,rr", "--train_fraction=0.9")
  plain = Run(small("plain", *words))
  held = Run(small("held", *words, "--held_out=0.3"))
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
  config = small("run", "--modalities=rr", "--held_out=0.3", ONE)
  stages = Stages(Run(config))
  seen, rest = (
    stages.run.rows("train", of=of) for of in ("encoders", "fusion")
  )
  np.testing.assert_array_equal(stages.input("train", "rr", True).rows, seen)
  learned = stages.fusion().loader("train", learn=True)
  np.testing.assert_array_equal(learned.rows, rest)
  assert len(stages.pools("rr", "train")["logits"]) == len(rest)


def test_a_file_replaced_under_its_name_is_another_encoder(small, bert):
  config = small("run", "--modalities=ehr,rr", f"--bert={bert}")
  first = {m: config.key("unimodal", m) for m in ("ehr", "rr")}
  assert config.key("unimodal", "rr") == first["rr"]
  tensors = load_file(bert / "model.safetensors")
  name = next(iter(tensors))
  save_file(tensors | {name: tensors[name] + 1}, bert / "model.safetensors")
  assert config.key("unimodal", "rr") != first["rr"]
  assert config.key("unimodal", "ehr") == first["ehr"]


def test_an_authors_file_gives_the_same_predictions(small, bert, tmp_path):
  words = ("--modalities=ehr,rr,dn", f"--bert={bert}", "--epochs=2", ONE)
  words += ("--late_pooling=mean",)  # As in their code.
  trained = train.train(small("trained", *words))
  file = tmp_path / "best_checkpoint.pth.tar"
  export.to_authors(trained, file)
  words = (*words, f"--authors={file}", "--epochs=0")
  ours, theirs = trained.predict("test"), run(small("again", *words))
  # Their files hold the classifiers as stage 3 left them, not stage 1's.
  heads = [name for name in ours if not name.startswith("unimodal/")]
  assert {"late", "high", "low", "rr", "missingness"} <= set(heads)
  assert_equal(*({n: x[n] for n in heads} for x in (ours, theirs)), 1e-5)
  with pytest.raises(ValueError, match="fuser concat.*--fuser=concat"):
    train.train(small("other", *words, "--fuser=lstm"))


def test_baselines_train_and_late_is_the_mean_of_stage_1(small, tmp_path):
  words = ("--modalities=rr,cxr", f"--share={tmp_path / 'share'}")
  words += ("--noclassifier_norm", ONE)
  late = run(small("late", *words, "--model=late"))
  alone = [late["unimodal/rr"], late["unimodal/cxr"]]
  both = (alone[0] != 0).any(axis=1) & (alone[1] != 0).any(axis=1)
  np.testing.assert_allclose(
    late["late"][both], np.mean(alone, axis=0)[both], rtol=1e-5, atol=1e-6
  )
  joint = train.train(small("joint", *words, "--model=joint"))
  early = train.train(small("early", *words, "--model=early"))
  moved = joint.fuse()["encoders_rr"]["project"]["kernel"]
  fixed = early.encoder("rr")["encoder"]["project"]["kernel"]
  assert np.abs(moved - fixed).max() > 0
  assert set(early.fuse()) == {"classifier"}  # All that learns.
  assert set(early.encoder("rr")["classifier"]) == {"dense"}
  with pytest.raises(ValueError, match="trained with --noclassifier_norm"):
    export.to_authors(early, tmp_path / "best_checkpoint.pth.tar")
  assert not np.allclose(joint.predict("test")["joint"], 0)
