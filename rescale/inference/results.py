"""Results for one image file: its bytes and what is to be told of them, and how they reach the disk."""

import hashlib
from dataclasses import dataclass

from rescale.errors import RefusedError
from rescale.inference.options import RescaleOptions
from rescale.inference.verify import Verification
from rescale.io import storage
from rescale.io.object_store import Place, Url


@dataclass(frozen=True)
class FileResult:
    """The result for one file."""

    source: Place
    target: Place
    model: str
    size: tuple[int, int]
    """Height and width of the result."""
    notes: tuple[str, ...] = ()
    """Notes on what could not be kept, and on objections that `force` overruled."""
    weights: str = ""
    """First 16 digits of the SHA-256 digest of the model's weights."""
    source_sha256: str = ""
    target_sha256: str = ""
    verified: Verification | None = None
    """Of an LR file: how close what it restores is to the original, if it was verified."""


@dataclass(frozen=True)
class EncodedResult:
    """The encoded bytes of a result, with the facts that become its `FileResult`."""

    data: bytes
    model: str
    size: tuple[int, int]
    notes: tuple[str, ...]
    weights: str
    verified: Verification | None = None

    def publish(self, source: Place, target: Place, data: bytes, options: RescaleOptions) -> FileResult:
        """Write the bytes to `target` and return the result; `data` is the source they were made from."""
        _publish(target, self.data, overwrite=options.overwrite, resume=options.resume)
        digests = _sha256(data), _sha256(self.data)
        return FileResult(source, target, self.model, self.size, self.notes, self.weights, *digests, self.verified)


def _publish(target: Place, data: bytes, *, overwrite: bool, resume: bool) -> None:
    """Write a file. Raises: RefusedError where it exists and is neither to be replaced nor equal to `data`."""
    try:
        storage.publish(target, data, overwrite=overwrite)
    except RefusedError as error:
        if not resume:
            raise
        if isinstance(target, Url) or not target.is_file() or storage.sha256(target) != _sha256(data):
            raise RefusedError(
                f"{target} exists and is not what would be made now", hint="pass overwrite=True to replace it"
            ) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
