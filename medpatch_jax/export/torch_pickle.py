"""Reads what torch.save pickled as data, without an unpickler.

The standard library's pickletools cuts the stream into opcodes; a machine of
our own runs them. It looks up no class and calls nothing but the four
constructors of tensors and dicts that it knows: tensors become views of their
storages, containers, numbers and strings are themselves, and an object of any
other class becomes `Ignored`. A file decides neither how long that takes nor
how much memory: the limits below hold, and the rest is bounded by its size.
"""

import pickletools
from collections.abc import Callable

import numpy as np

from medpatch_jax.export import torch_values

# A tensor takes about 30 opcodes; 1,500 of them, as in the largest checkpoint
# of the authors' code, 50,000.
OPCODES = 1_000_000
# Containers inside each other, and values counted as often as they are
# reached: one list that holds another twice, 40 times over, has few opcodes
# and more values than can ever be visited.
DEPTH, VALUES = 100, 2_000_000
# Bytes of tensors beside `SHARED` times those of their storages: the authors'
# files hold an encoder three times, under three names.
VIEWED, SHARED = 1 << 30, 16

_MARK = object()
# Opcodes that push their argument, as pickletools decoded it.
_PUSHED = frozenset(
  "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE"
  " SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8"
  " BYTEARRAY8".split()
)
_MAKES = {
  "NONE": lambda: None,
  "NEWTRUE": lambda: True,
  "NEWFALSE": lambda: False,
  "EMPTY_LIST": list,
  "EMPTY_TUPLE": tuple,
  "EMPTY_DICT": dict,
  "EMPTY_SET": torch_values.Ignored,
  "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file, storage: Callable[[np.dtype, str, int], np.ndarray]):
  """Reads one pickle; the file then stands behind it.

  Args:
    file: with read, readline and tell; must not give more than it holds.
    storage: (dtype, key, count of numbers) -> its numbers, one axis.

  Raises:
    ValueError: not what torch.save writes, or beyond a limit.
  """
  machine = _Machine(storage)
  for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
    if count >= OPCODES:
      raise ValueError(f"a pickle of more than {OPCODES:,} opcodes")
    machine.run(opcode.name, argument)
  value = machine.pop()
  machine.check()
  _bound(value)
  return value


class _Machine:
  """A pickle's stack and memo, and what its opcodes do to them."""

  def __init__(self, storage):
    self._storage, self._stack, self._memo = storage, [], {}
    self._viewed, self._held = 0, {}

  def run(self, name: str, argument) -> None:
    push = self._stack.append
    if name in _PUSHED:
      push(argument)
    elif name in _MAKES:
      push(_MAKES[name]())
    elif name in _TUPLES:
      push(tuple(self._take(_TUPLES[name])))
    else:
      method = getattr(self, f"_{name.lower()}", None)
      if method is None:
        raise ValueError(f"opcode {name}, which torch.save does not write")
      method(argument)

  def check(self) -> None:
    """Refuses tensors that nobody who reads each would be done with."""
    if self._viewed > VIEWED + SHARED * sum(self._held.values()):
      raise ValueError("tensors of one storage again and again")

  def pop(self):
    if not self._stack or self._stack[-1] is _MARK:
      raise ValueError("a pickle that takes from an empty stack")
    return self._stack.pop()

  def _take(self, count: int) -> list:
    return [self.pop() for _ in range(count)][::-1]

  def _marked(self) -> list:
    """What lies above the last mark, which goes, too."""
    values = []
    while (value := self._stack.pop()) is not _MARK:
      values.append(value)
    return values[::-1]

  # One method an opcode, of its name.

  def _proto(self, _):
    pass

  _frame = _stop = _proto

  def _string(self, text):
    """Of Python 2, whose bytes pickletools takes for Latin-1."""
    try:
      text = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
      pass
    self._stack.append(text)

  _binstring = _short_binstring = _string

  def _pop(self, _):
    if self._stack.pop() is _MARK:
      raise ValueError("a pickle that takes away a mark")

  def _pop_mark(self, _):
    self._marked()

  def _dup(self, _):
    value = self.pop()
    self._stack += [value, value]

  def _tuple(self, _):
    self._stack.append(tuple(self._marked()))

  def _list(self, _):
    self._stack.append(self._marked())

  def _dict(self, _):
    items = self._marked()
    self._stack.append({})
    self._set(items)

  def _frozenset(self, _):
    self._marked()
    self._stack.append(torch_values.Ignored())

  _inst = _obj = _frozenset

  def _put(self, index):
    if not self._stack or self._stack[-1] is _MARK:
      raise ValueError("a pickle that keeps nothing")
    self._memo[index] = self._stack[-1]

  _binput = _long_binput = _put

  def _memoize(self, _):
    self._put(len(self._memo))

  def _get(self, index):
    self._stack.append(self._memo[index])

  _binget = _long_binget = _get

  def _append(self, _):
    self._extend([self.pop()])

  def _appends(self, _):
    self._extend(self._marked())

  def _setitem(self, _):
    self._set(self._take(2))

  def _setitems(self, _):
    self._set(self._marked())

  def _additems(self, _):
    self._marked()
    self._top(torch_values.Ignored)

  def _global(self, name):
    known = name in torch_values.GLOBALS
    self._stack.append(
      torch_values.GLOBALS[name] if known else torch_values.Ignored()
    )

  def _stack_global(self, _):
    module, name = self._take(2)
    if not (isinstance(module, str) and isinstance(name, str)):
      raise ValueError("a class whose name is no text")
    self._global(f"{module} {name}")

  def _reduce(self, _):
    function, arguments = self._take(2)
    if not isinstance(arguments, tuple):
      raise ValueError("a call without arguments")
    value = torch_values.call(function, arguments)
    if function is torch_values.TENSOR:
      self._viewed += value.nbytes
    self._stack.append(value)

  def _newobj(self, _):
    self._take(2)
    self._stack.append(torch_values.Ignored())

  def _newobj_ex(self, _):
    self._take(3)
    self._stack.append(torch_values.Ignored())

  def _build(self, _):
    """A state is dropped: of an ignored object, or of a dict's versions."""
    self.pop()
    self._top((dict, torch_values.Ignored))

  def _binpersid(self, _):
    pid = self.pop()
    if not (isinstance(pid, tuple) and pid and isinstance(pid[0], str)):
      raise ValueError("a persistent id of no storage")
    if pid[0] == "module":  # Its class and its source, before torch 1.6.
      self._stack.append(torch_values.Ignored())
    else:
      dtype, key, count = torch_values.entry(pid)
      self._held[key] = dtype.itemsize * count
      self._stack.append(self._storage(dtype, key, count))

  def _top(self, kinds):
    value = self._stack[-1] if self._stack else _MARK
    if not isinstance(value, kinds):
      raise ValueError(f"a {type(value).__name__} that is changed as another")
    return value

  def _extend(self, values) -> None:
    top = self._top((list, torch_values.Ignored))
    if isinstance(top, list):
      top.extend(values)

  def _set(self, items) -> None:
    top = self._top((dict, torch_values.Ignored))
    if len(items) % 2:
      raise ValueError("a key without a value")
    if isinstance(top, dict):
      for key, value in zip(items[::2], items[1::2]):
        top[torch_values.checked(key)] = value


def _bound(value) -> None:
  """Refuses what somebody who visits every value would never be done with."""
  levels, visited = [value], 0
  for _ in range(DEPTH):
    inner = []
    for each in levels:
      if isinstance(each, dict):
        inner.extend(each.values())
      elif isinstance(each, (list, tuple)):
        inner.extend(each)
      if visited + len(inner) > VALUES:
        raise ValueError(f"more than {VALUES:,} values, some of them shared")
    visited += len(inner)
    if not inner:
      return
    levels = inner
  raise ValueError(f"containers more than {DEPTH} deep in each other")
