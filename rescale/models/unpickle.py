"""Read the tensors of a PyTorch checkpoint without running it: a pickle is a program, and is never executed here.

The opcodes are walked with the standard library's disassembler. Names of classes and functions stay text; what a
dictionary of tensors needs is understood, and everything else is refused by its name.
Ours by decision: `torch.load(weights_only=True)` does run it, if with a list of allowed names, and has been made to run
more than these (CVE-2025-32434).
"""

import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rescale.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
}
_DAMAGE = (
    ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError, EOFError,
    zipfile.BadZipFile,
)  # fmt: skip
_TENSOR, _PARAMETER, _ORDERED = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
)

_LITERALS = {
    "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINFLOAT",
    "BININT", "BININT1", "BININT2", "LONG1",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {
    "NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {},
}  # fmt: skip


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle asks for; only ever compared."""

    text: Any


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype


@dataclass(frozen=True)
class _View:
    """A tensor whose numbers are still in the file."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


_NESTS = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
"""Keys under which training programs keep a network's tensors among other things; the first that is there is taken."""


def parse(data: bytes, name: str, *, nested: bool = False) -> dict[str, Tensor]:
    """Return the tensors of a `.pth` file by name; of the zipped format and of the older one.

    Args:
        data: the file's bytes.
        name: name of the file, for error messages.
        nested: take the tensors out of a training program's checkpoint, which holds numbers and text as well.
    Raises: InputError where it is no such file, is damaged, or holds more than a dictionary of tensors.
    """
    try:
        content, storage = _zipped(data) if data[:2] == b"PK" else _legacy(data)
        views = _views(_network(content) if nested else content)
        if sum(math.prod(view.size) * view.storage.dtype.itemsize for view in views.values()) > 2 * len(data):
            raise ValueError("tensors that share so much would not fit into memory")
        flat = {view.storage: _flat(view.storage, storage(view.storage)) for view in views.values()}
        return {key: _tensor(view, flat[view.storage]) for key, view in views.items()}
    except _UnknownError as error:
        raise InputError(f"{name}: expected a dictionary of tensors, got {error}") from error
    except _DAMAGE as error:
        raise InputError(f"{name}: expected a checkpoint of PyTorch, got something else or a damaged one") from error


class _UnknownError(Exception):
    """A pickled object other than a tensor."""


Fetch = Callable[[_Storage], bytes]


def _zipped(data: bytes) -> tuple[Any, Fetch]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise ValueError("compressed")  # PyTorch never does; so no file is larger than it looks
    (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    root = pickled.removesuffix("data.pkl")
    if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
        raise _UnknownError("numbers of another byte order")
    return _walk(io.BytesIO(archive.read(pickled)), []), lambda s: archive.read(f"{root}data/{s.key}")


def _legacy(data: bytes) -> tuple[Any, Fetch]:
    """Read five pickles in a row: magic number, version, system, content, keys; then each storage behind its length."""
    stream = io.BytesIO(data)
    named: list[_Storage] = []
    magic, _version, system, content, keys = (_walk(stream, named) for _ in range(5))
    if magic != _MAGIC or not system["little_endian"]:
        raise ValueError("not the magic number")
    widths = {storage.key: storage.dtype.itemsize for storage in named}
    found: dict[str, bytes] = {}
    for key in keys:
        length = int.from_bytes(stream.read(8), "little")
        found[key] = stream.read(length * widths[key])
    return content, lambda s: found[s.key]


def _network(content: Any) -> Any:
    """Return what a checkpoint holds of a network: twice at most, it lies one level below."""
    for _ in range(2):
        inner = [content[key] for key in _NESTS if isinstance(content, dict) and isinstance(content.get(key), dict)]
        if not inner and isinstance(content, dict) and len(content) == 1:
            inner = [value for value in content.values() if isinstance(value, dict)]
        content = inner[0] if inner else content
    return content


def _views(content: object) -> dict[str, _View]:
    if not isinstance(content, dict):
        raise _UnknownError(f"{type(content).__name__}")
    for name, view in content.items():
        if not isinstance(name, str) or not isinstance(view, _View):
            raise _UnknownError(f"{type(view).__name__.strip('_')} under {str(name)[:80]!r}")
    return content


def _flat(storage: _Storage, data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=storage.dtype)


def _tensor(view: _View, flat: Tensor) -> Tensor:
    last = view.offset + sum((n - 1) * s for n, s in zip(view.size, view.stride, strict=True))
    if min((view.offset, *view.size, *view.stride)) < 0 or last >= len(flat) or math.prod(view.size) > len(flat):
        raise ValueError("a tensor beyond its storage")
    if not math.prod(view.size):
        raise _UnknownError("an empty tensor")
    return flat.as_strided(view.size, view.stride, view.offset).clone()


def _walk(stream: io.BytesIO, named: list[_Storage]) -> Any:
    """Return the object that one pickle encodes, with names left as text; storages that it names join `named`."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case name if name in _LITERALS:
                stack.append(argument)
            case name if name in _CONSTANTS:
                stack.append(copy(_CONSTANTS[name]))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "GLOBAL":
                stack.append(_Name(argument))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
                named += [stack[-1]]
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = since_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][_key(key)] = value
            case "SETITEMS":
                pairs = since_mark()
                stack[-1].update(zip(map(_key, pairs[::2]), pairs[1::2], strict=True))
            case "BUILD":
                stack.pop()  # the versions of layers that a state dictionary carries along
                if not isinstance(stack[-1], dict):
                    raise _UnknownError("an object with a state of its own")
            case name:
                raise _UnknownError(f"the opcode {name}")
    raise ValueError("no end")


def _storage(words: Any) -> _Storage:
    kind, name, key, *_ = words
    if _text(kind) != "storage" or name.text not in _DTYPES:
        raise _UnknownError(f"a storage of {name.text[:80]}")
    return _Storage(_text(key), _DTYPES[name.text])


def _key(key: Any) -> str | int:
    """Require text or a number: nested tuples could be so deep or so many that hashing them never ends."""
    return key if type(key) is int else _text(key)


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise _UnknownError(f"a key of type {type(key).__name__.strip('_')}")
    return key


def _call(name: _Name, arguments: tuple[Any, ...]) -> Any:
    if name.text == _ORDERED and not arguments:
        return {}
    if name.text == _TENSOR:
        storage, offset, size, stride, *_ = arguments
        return _View(storage, offset, size, stride)
    if name.text == _PARAMETER:
        return arguments[0]
    raise _UnknownError(f"a call of {name.text[:80].replace(' ', '.')}")
