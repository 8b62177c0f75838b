"""Compiled programs that processes have in common."""

import errno
import re

import jax
import jax.numpy as jnp
import pytest

from experiments import flags
from medpatch_jax import compiled

HIT = "/jax/compilation_cache/cache_hits"


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The folder that the variable names; any program is worth keeping."""
  path = tmp_path / "programs"
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(path))
  least = "jax_persistent_cache_min_compile_time_secs"
  monkeypatch.setitem(compiled.SETTINGS, least, 0.0)
  return path


@pytest.fixture
def computed():
  """() -> (a number, whether its program was read instead of compiled)."""
  events = []

  def listen(name, **_):
    events.append(name)

  def number():
    events.clear()
    jax.clear_caches()
    found = jax.jit(lambda x: jnp.sin(x) ** 2 + 41)(jax.device_put(3.0))
    return float(found), HIT in events

  jax.monitoring.register_event_listener(listen)
  yield number
  jax.monitoring.unregister_event_listener(listen)


def names(folder):
  return sorted(p.name for p in folder.iterdir() if p.is_file())


def test_a_program_is_compiled_once_and_handed_in_whole(folder, computed):
  with compiled.kept() as exchange:
    first, read = computed()
    assert not read
    assert not names(folder)  # Nothing that is still being written.
    exchange()
    assert all(re.search(r"-cache\.[0-9a-f]{8}$", n) for n in names(folder))
  made = names(folder)
  assert made and folder.stat().st_mode & 0o777 == 0o700
  assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
  with compiled.kept():
    assert computed() == (first, True)
  assert made == names(folder)


def test_programs_of_a_command_that_failed_are_kept(folder, computed):
  with pytest.raises(KeyboardInterrupt), compiled.kept():
    computed()
    raise KeyboardInterrupt
  with compiled.kept():
    assert computed()[1]


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied"])
def test_a_damaged_program_is_told_and_compiled_anew(
  folder, computed, caplog, how
):
  with compiled.kept():
    first, _ = computed()
  made = names(folder)
  for path in folder.iterdir():
    content = bytearray(path.read_bytes())
    if how == "flipped":
      content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"cut": 99, "emptied": 0}.get(how)])
  with compiled.kept():
    assert computed() == (first, False)
  assert len(names(folder)) == len(made)
  assert sum("is damaged" in m for m in caplog.messages) == len(made)
  with compiled.kept():
    assert computed() == (first, True)


def test_a_full_disk_ends_no_command(folder, computed, caplog, monkeypatch):
  def full(source, target):
    raise OSError(errno.ENOSPC, "No space left on device", str(target))

  monkeypatch.setattr("shutil.copyfile", full)
  with compiled.kept():
    computed()
  assert "not all kept" in caplog.text and str(folder) in caplog.text
  assert not list(folder.iterdir())


def test_commands_refuse_a_folder_that_others_may_write_to(
  folder, monkeypatch, capsys
):
  folder.mkdir()
  folder.chmod(0o770)
  monkeypatch.setattr("absl.app.run", lambda main, **_: main(["command"]))
  with pytest.raises(SystemExit) as ended:
    flags.run(lambda argv: pytest.fail("it ran"))
  assert ended.value.code == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert str(folder) in line and "chmod 700" in line
