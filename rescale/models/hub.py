"""Weight files of the Hugging Face Hub: `hf:owner/name[:file]`, fetched into the Hub's own cache by its own library.

Only a user names one: no record, journal or manifest does.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from rescale.errors import InputError, MachineError, UsageError

PREFIX = "hf:"
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?::([\w./ +()-]+))?")
_SHOWN = 12
"""Files that an error lists at most."""


@dataclass(frozen=True)
class HubFile:
    """A file in the Hub's cache."""

    path: Path
    name: str
    """Name of the repository or, if the file was named, its stem."""
    revision: str = ""
    """First digits of the commit that it is of."""
    licence: str | None = None
    """Licence that the repository states."""


def split(name: str) -> tuple[str, str | None]:
    """Split a name into repository and file. Raises: UsageError for another form, or a file of another kind."""
    match = _NAME.fullmatch(name)
    if not match:
        raise UsageError(
            f"expected a model of the Hub as hf:owner/name or hf:owner/name:file.safetensors, got {name!r}"
        )
    if match[2] and not match[2].endswith(".safetensors"):
        raise UsageError(f"expected a .safetensors file of the Hub, got {match[2]}")
    return match[1], match[2]


@lru_cache(maxsize=64)
def fetch(name: str) -> HubFile:
    """Fetch the file of a name, unless the newest is in the cache; one that is, serves without a connection.

    Raises: UsageError for another form, or where the repository holds several files; InputError where it or the file is
        missing; MachineError without the package, a connection or room.
    """
    repository, file = split(name)
    hub = _library(name)
    with _sentences(hub, name):
        licence = None
        if file is None:
            try:
                facts = hub.model_info(repository)
                file = _only(name, [sibling.rfilename for sibling in facts.siblings or []])
                licence = cast("str | None", (facts.card_data or {}).get("license"))
            except hub.errors.HfHubHTTPError:
                raise
            except _unreached(hub):
                return cached(name)
        path = Path(hub.hf_hub_download(repository, file, library_name="rescale"))
    return _described(name, path, file, licence)


def cached(name: str) -> HubFile:
    """Return the file of a name from the cache, and never fetch it. Raises: as `fetch`."""
    repository, file = split(name)
    hub = _library(name)
    with _sentences(hub, name):
        if file is None:
            folder = Path(hub.snapshot_download(repository, local_files_only=True, allow_patterns="*.safetensors"))
            file = _only(name, [path.relative_to(folder).as_posix() for path in folder.rglob("*.safetensors")])
        path = Path(hub.hf_hub_download(repository, file, local_files_only=True))
    return _described(name, path, file, None)


def _described(name: str, path: Path, file: str, licence: str | None) -> HubFile:
    repository, named = split(name)
    revision = path.as_posix().removesuffix(file).rstrip("/").rpartition("/")[2][:12]
    stem = Path(named).stem if named else repository.rpartition("/")[2]
    return HubFile(path, stem, revision, str(licence)[:200] if licence else None)


def _only(name: str, files: list[str]) -> str:
    """Return the only weight file. Raises: InputError where there is none; UsageError where there are several."""
    weights = sorted(file for file in files if file.endswith(".safetensors"))
    if not weights:
        raise InputError(f"{name}: expected a repository with a .safetensors file, found none")
    if len(weights) > 1:
        listed = ", ".join(weights[:_SHOWN]) + (", ..." if len(weights) > _SHOWN else "")
        raise UsageError(f"{name} holds several weight files ({listed}); name one: {name}:{weights[0]}")
    return weights[0]


def _library(name: str) -> ModuleType:
    try:
        import huggingface_hub.errors
    except ImportError as error:
        raise MachineError(f"{name} needs huggingface_hub: pip install 'rescale[hub]'") from error
    return huggingface_hub


def _unreached(hub: ModuleType) -> tuple[type[Exception], ...]:
    """Errors of a connection that is not there, or not wanted; an answer of the Hub is none."""
    errors = hub.errors
    http = [kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError"]  # of httpx or requests
    return (errors.OfflineModeIsEnabled, ConnectionError, TimeoutError, *http)


@contextmanager
def _sentences(hub: ModuleType, name: str) -> Iterator[None]:
    """Turn the library's errors, of many lines, into one sentence of ours."""
    errors, of = hub.errors, name.removeprefix(PREFIX)
    says: list[tuple[Any, Callable[[Any], Exception]]] = [
        (errors.GatedRepoError, lambda _: InputError(f"{name}: its page on the Hub asks to accept its terms first")),
        (errors.LocalEntryNotFoundError, lambda _: MachineError(
            f"{name} is not in the cache, and the Hub cannot be reached")),
        (errors.RepositoryNotFoundError, lambda _: InputError(f"the Hub has no model {of}, or a private one")),
        (errors.EntryNotFoundError, lambda _: InputError(f"the Hub has no such file: {of}")),
        (errors.HFValidationError, lambda _: UsageError(f"expected owner/name as the Hub spells them, got {of!r}")),
        (_unreached(hub), lambda _: MachineError(f"{name}: the Hub cannot be reached")),
        (OSError, lambda error: MachineError(f"{name} cannot be fetched: {error.strerror or 'no room or no right'}")),
    ]  # fmt: skip
    try:
        yield
    except Exception as error:
        for kind, made in says:
            if isinstance(error, kind):
                raise made(error) from error
        raise
