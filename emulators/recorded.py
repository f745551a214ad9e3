"""Requests as the journal remembers them, and as people read them."""

from collections.abc import Collection

import msgspec

from emulators.exchange import Request


class RecordedRequest(msgspec.Struct, kw_only=True):
    """One request decoded for people. `status` 0 means the client was not answered; `outcome` then names the fault.

    `tokens` are all recipients where a request has several (HMS), `refused` those of them that were not accepted.
    `payload` is decrypted (Web Push), or None, and `error` says why that was not possible. `body_length` is what was
    sent, in bytes.
    """

    received_at: float
    connection_id: int
    stream_id: int
    http_version: str
    kind: str
    method: str
    path: str
    headers: dict[str, str]
    token: str
    tokens: tuple[str, ...]
    refused: list[str]
    message_id: str
    payload: object
    error: str
    body_length: int
    status: int
    reason: str
    accepted: bool
    outcome: str


class Entry(msgspec.Struct, gc=False):
    """A request and what became of it; `refused` are the recipients that were not accepted though the request was."""

    request: Request
    status: int
    reason: str
    accepted: bool
    outcome: str
    refused: Collection[str] = ()

    def concerns(self, token: str) -> bool:
        """Whether the request was for this token, among others perhaps."""
        return self.request.token == token or token in self.request.recipients

    def recorded(self) -> RecordedRequest:
        """The request for people; its authorization header is shortened."""
        request = self.request
        headers = dict(request.headers)
        if "authorization" in headers:
            headers["authorization"] = headers["authorization"][:16] + "…"
        return RecordedRequest(
            received_at=request.received_at,
            connection_id=request.connection_id,
            stream_id=request.stream_id,
            http_version=request.http_version,
            kind=request.kind,
            method=request.method,
            path=request.path,
            headers=headers,
            token=request.token,
            tokens=request.recipients,
            refused=sorted(self.refused),
            message_id=request.message_id,
            payload=decoded(request.body),
            error=request.error,
            body_length=request.body_length,
            status=self.status,
            reason=self.reason,
            accepted=self.accepted,
            outcome=self.outcome,
        )


def decoded(body: bytes) -> object:
    """The body as JSON, or as text when it is none; None when it is empty."""
    if not body:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")
