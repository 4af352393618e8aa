"""Request guard in front of Gradio: limits on size, routes and file names; errors become sentences.

Gradio opens any address or file that a request names before our own code sees it, and has routes that no user of
this page needs. So each request is checked first, and only what the page itself sends is passed on.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rescale.errors import RefusedError, RescaleError, UsageError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_JSON = 64 * 2**10
"""Maximum bytes of a JSON request; images are uploaded, never written into it."""
_ROUTES = re.compile(
    r"/|/(config|theme\.css|manifest\.json|favicon\.ico|robots\.txt|static/.*|assets/.*|svelte/.*)/?"
    r"|/gradio_api/(queue/(join|data)|run/predict|upload|upload_progress|startup-events|cancel|reset|app_id|theme\.css"
    r"|heartbeat/\w+|file=.*)/?"
)
_BEGINS = re.compile(r"/gradio_api/(queue/join|run/predict)/?")
"""Routes that begin a job, with the queue or without."""
_HEADERS = {
    b"content-security-policy": b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Security headers: the browser fetches nothing from elsewhere, and sends no referrer."""
_log = logging.getLogger(__name__)


class Join(BaseModel):
    """Request that begins a job; further fields are Gradio's own business."""

    model_config = ConfigDict(strict=True, extra="allow")

    fn_index: int = Field(ge=0)
    data: list[Any] = Field(max_length=32)
    session_hash: str = Field(pattern=r"^\w{1,64}$")
    batched: Literal[False] | None = None


class Guard:
    """ASGI middleware around Gradio's application.

    Args:
        app: Gradio's application.
        uploads: the folder of all files that a request may name.
        inputs: gives a job's inputs by its number: for each value the data model that Gradio parses it into, or None.
        max_bytes: limit of an upload.
    """

    def __init__(
        self, app: App, uploads: Path, inputs: Callable[[int], list[type[BaseModel] | None] | None], max_bytes: int
    ) -> None:
        self.app, self.uploads, self.inputs, self.max_bytes = app, uploads.resolve(), inputs, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a sentence."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            _, names_file, file = scope["path"].partition("/gradio_api/file=")
            if not _ROUTES.fullmatch(scope["path"]) or (names_file and not self._is_upload(file)):
                raise _NowhereError("there is no such thing here")
            is_upload = scope["path"].rstrip("/").endswith("/upload")
            checked = await self._checked(scope, receive, self.max_bytes if is_upload else MAX_JSON)
            await self.app(scope, checked, answer)
        except RescaleError as error:
            await answer.say(str(error), 413 if isinstance(error, RefusedError) else getattr(error, "status", 422))
        except Exception as error:
            _log.warning("%s: %s", type(error).__name__, str(error).split("\n")[0])
            await answer.say("this request makes no sense here", 500)

    async def _checked(self, scope: Scope, receive: Receive, most: int) -> Receive:
        """Count the bytes of a request against its limit; read and check requests that begin a job."""
        refusal = RefusedError(f"more than the {most:,} bytes that are taken here")
        if _length(scope) > most:
            raise refusal
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise refusal
            return message

        return await self._joined(counted) if _BEGINS.fullmatch(scope["path"]) else counted

    async def _joined(self, receive: Receive) -> Receive:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise UsageError("the request ended early")
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.check(body)
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Message:
            return next(messages, None) or await receive()

        return again

    def check(self, body: bytes) -> None:
        """Check a request that begins a job. Raises: UsageError for what the page would not have sent."""
        try:
            join = Join.model_validate(json.loads(body))
        except (ValidationError, ValueError, RecursionError):
            raise UsageError("expected a job of this page, got something else") from None
        kinds = self.inputs(join.fn_index)
        if kinds is None or len(kinds) != len(join.data):
            raise UsageError(f"expected a job of this page, got number {join.fn_index} with {len(join.data)} values")
        for kind, value in zip(kinds, join.data, strict=True):
            self._check_value(kind, value)

    def _check_value(self, kind: type[BaseModel] | None, value: Any) -> None:
        self._check_files(value, depth=0)
        try:
            if kind is not None and value is not None:
                kind.model_validate(value)
        except (ValidationError, TypeError, ValueError):
            raise UsageError("expected an uploaded file, got something else") from None

    def _check_files(self, value: Any, depth: int) -> None:
        """Check that all that looks like a file was uploaded here, and is no URL."""
        if depth > 8:
            raise UsageError("expected a job of this page, got something too deep")
        if isinstance(value, dict):
            if "path" in value and not self._is_upload(value["path"]):
                raise UsageError("expected a file that was uploaded here")
            if str(value.get("url") or "/").startswith("data:"):
                raise UsageError("expected an uploaded file, not one written into the address")
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._check_files(inner, depth + 1)

    def _is_upload(self, path: Any) -> bool:
        try:
            place = Path(path).resolve()
            return place.is_relative_to(self.uploads) and place.is_file()
        except (TypeError, ValueError, OSError):
            return False


class _NowhereError(UsageError):
    """Error for a route that this page does not have."""

    status = 404


class _Answer:
    """Response wrapper: adds our headers, or sends one sentence if no response was started."""

    def __init__(self, send: Send) -> None:
        self._send, self.has_begun = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            kept = [(key, value) for key, value in message.get("headers", []) if key.lower() not in _HEADERS]
            message = {**message, "headers": [*kept, *_HEADERS.items()]}
        await self._send(message)

    async def say(self, sentence: str, status: int) -> None:
        if self.has_begun:
            return
        body = json.dumps({"error": sentence, "detail": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _length(scope: Scope) -> int:
    told = dict(scope["headers"]).get(b"content-length", b"0")
    return int(told) if told.isdigit() else 0
