"""Object stores: the one door to images at s3://bucket/key and gs://bucket/key.

Credentials and endpoints come from where each store's own tools look for them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL,
~/.aws, GOOGLE_APPLICATION_CREDENTIALS, ...). A store's library is imported only when one of its URLs is met.
"""

import base64
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from rescale.errors import InputError, MachineError, RefusedError, RescaleError, UsageError

SCHEMES = {"s3": "s3fs", "gs": "gcsfs"}
"""Allowed schemes, and the library for each: no http, and no chain of several (`a::b`)."""
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)(::|://)")
_BACKENDS = {"botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "requests", "fsspec"}


@dataclass(frozen=True, order=True)
class Url:
    """URL of an object, or with a trailing slash of all keys with that prefix; has the `Path` methods used here."""

    text: str

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise UsageError(f"expected a file or one of {', '.join(f'{s}://' for s in SCHEMES)}, got {self.text!r}")
        if not self.bucket:
            raise UsageError(f"expected {self.scheme}://BUCKET/KEY, got {self.text!r}")

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, name: str) -> "Url":
        return Url(f"{self.text.removesuffix('/')}/{name}")

    @property
    def scheme(self) -> str:
        found = _SCHEME.match(self.text)
        return found[1].lower() if found and found[2] == "://" else ""

    @property
    def path(self) -> str:
        """Bucket and key, as bucket/key."""
        return self.text[len(self.scheme) + 3 :]

    @property
    def bucket(self) -> str:
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Url":
        return Url(self.text.rstrip("/").removesuffix(self.name))

    def resolve(self) -> "Url":
        """Return itself: a store has no links."""
        return self

    def is_dir(self) -> bool:
        """Tell whether it is a prefix, which needs no folder to be made; but its bucket must exist.

        Raises: MachineError where there is no such bucket.
        """
        return (self.text.endswith("/") or "/" not in self.path) and _stands(self.scheme, self.bucket)

    def exists(self) -> bool:
        """Tell whether the object exists; False where access is denied, since writing will tell."""
        try:
            return bool(_store(self.scheme).info(self.path)["type"] == "file")
        except (FileNotFoundError, PermissionError):
            return False
        except Exception as error:
            raise _fault(error, "look for", self) from error


Place = Path | Url


def place(text: "str | Place") -> Place:
    """Parse a command-line argument: a URL of a store, or else a file. Raises: UsageError for other URLs."""
    if isinstance(text, str) and is_remote(text):
        return Url(text)
    return text if isinstance(text, Url) else Path(text)


def is_remote(text: str) -> bool:
    """Tell whether a text is a URL, of whatever scheme; an existing file is itself, whatever its name."""
    return _SCHEME.match(text) is not None and not Path(text).exists()


def find(url: Url, suffixes: Collection[str]) -> list[Url]:
    """List the objects under a prefix with one of these suffixes, or that match a glob (* ? [] **); sorted.

    A name that ends in one of the suffixes is taken as one object, without a listing.

    Raises: InputError where there is no such bucket; MachineError where the store refuses.
    """
    if url.suffix.lower() in suffixes and not re.search(r"[*?\[]", url.text):
        return [url]
    store = _store(url.scheme)
    try:
        found = store.find(url.path.rstrip("/"))
        if not found and re.search(r"[*?\[]", url.path):
            matches = store.glob(url.path, detail=True).items()
            return sorted(Url(f"{url.scheme}://{path}") for path, facts in matches if facts["type"] == "file")
    except Exception as error:
        raise _fault(error, "list", url) from error
    return sorted(Url(f"{url.scheme}://{path}") for path in found if PurePosixPath(path).suffix.lower() in suffixes)


def read_bytes(url: Url, *, max_bytes: int) -> bytes:
    """Read all of an object, in one request, so that it is of one version.

    Raises: InputError where there is none; RefusedError where it is too large; MachineError where the store
        refuses or cannot be reached.
    """
    store = _store(url.scheme)
    try:
        size = store.info(url.path)["size"]
        if size > max_bytes:
            raise RefusedError(f"{url}: {size:,} bytes, more than the {max_bytes:,} that are read here")
        data: bytes = store.cat_file(url.path, start=0, end=size) if size else b""
    except RescaleError:
        raise
    except Exception as error:
        raise _fault(error, "read", url) from error
    if len(data) != size:
        raise InputError(f"cannot read {url}: expected {size:,} bytes, got {len(data):,}")
    return data


def publish(url: Url, data: bytes, *, overwrite: bool = False) -> None:
    """Write an object in one request: it appears complete, or not at all.

    The store checks the bytes against a digest that is sent with them (S3), or answers with one (Google). Without
    `overwrite` the store itself refuses an existing key (`If-None-Match: *`, `ifGenerationMatch=0`), unless it
    already holds these very bytes: the answer to an earlier attempt may have been lost. A store that takes S3's
    requests but ignores that header replaces what somebody else has put there since `exists` was asked.

    Raises: RefusedError where the object exists; MachineError where the store refuses or cannot be reached.
    """
    how: dict[str, Any] = {"mode": "overwrite" if overwrite else "create", "chunksize": len(data) + 1}
    if url.scheme == "s3":
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        how |= {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}
    else:
        how |= {"consistency": "md5"}
    try:
        _store(url.scheme).pipe_file(url.path, data, **how)
    except Exception as error:
        fault = _fault(error, "write", url)
        is_ours = None if overwrite else _holds(url, data)
        if is_ours is None:
            raise fault from error
        if not is_ours:
            raise RefusedError(f"{url} exists", hint="pass overwrite=True to replace it") from error


def _holds(url: Url, data: bytes) -> bool | None:
    """Tell whether an object holds exactly these bytes; None if there is none, or it cannot be known."""
    try:
        return read_bytes(url, max_bytes=len(data)) == data
    except RefusedError:  # it is larger
        return False
    except RescaleError:
        return None


@lru_cache
def _stands(scheme: str, bucket: str) -> bool:
    try:
        _store(scheme).info(bucket)
    except FileNotFoundError as error:
        raise MachineError(f"{scheme}://{bucket}: there is no such bucket; make it first") from error
    except PermissionError:  # of the bucket; its objects may be allowed
        return True
    except Exception as error:
        raise _fault(error, "look for", Url(f"{scheme}://{bucket}")) from error
    return True


def _store(scheme: str) -> Any:
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise MachineError(f"{scheme}:// needs {SCHEMES[scheme]}: pip install 'rescale[cloud]'") from error


def _fault(error: Exception, verb: str, url: Url) -> RescaleError:
    """Convert a store's error to one sentence. Raises: the error itself, where it is a mistake of ours."""
    if isinstance(error, FileNotFoundError) and verb == "write":
        return MachineError(f"cannot write {url}: there is no such bucket")
    if isinstance(error, FileNotFoundError):
        return InputError(f"cannot {verb} {url}: there is no such object or bucket")
    if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _BACKENDS:
        raise error
    said = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0] or type(error).__name__
    return MachineError(f"cannot {verb} {url}: {said.rstrip('.')}")
