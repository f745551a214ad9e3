"""What the engine asks of a push service's client."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from delivery.batches import Batch, Results


class Defaults(msgspec.Struct, frozen=True):
    """What a credential says about every payload that is built for it.

    include_notification: FCM; false makes data messages, which the app shows itself
    content_available: Apple; every push wakes the app as well
    mutable_content: Apple; every alert passes the app's service extension
    """

    include_notification: bool = True
    content_available: bool = False
    mutable_content: bool = False


class PayloadError(Exception):
    """A payload that this provider can never take; the text says what to change and holds no payload text."""

    def __init__(self, detail: str, path: str = "", *, too_large: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path
        self.too_large = too_large


class Message(Protocol):
    """A push rendered once for one credential: everything of it that does not differ between recipients."""


class Attempt(Protocol):
    """A batch on its way."""

    def cancel(self) -> None:
        """Do not send what is not sent yet: those recipients are reported RELEASED; the others run on."""


class Provider(Protocol):
    """One credential's way to its push service; made anew when the credential changes. Use with `async with`.

    The provider owns connections and authorisation, follows its reaction table, retries by itself only what is known
    not to have been processed and one renewal of its authorisation, and reports each recipient exactly once.
    """

    defaults: Defaults
    """What the credential says about every payload that is built from neutral fields."""

    async def __aenter__(self) -> "Provider": ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def prepare(self, notification: msgspec.Raw, batch: Batch) -> Any:
        """Render a push's payload for this credential; raises PayloadError.

        `notification` is this provider's member of the request (the value of `notification.apns`, `.fcm`, …) as it
        came. The engine keeps the result per push, environment and target and gives it back with `submit`.
        """

    def submit(self, batch: Batch, message: Any, results: Results, each: Sequence[Any] | None = None) -> Attempt:
        """Send a batch; answers come through `results`. Returns at once; call it inside the event loop.

        `each` are the messages of the recipients where they differ; `message` is one of them. They differ in their
        bodies only: what is the same for the whole batch, as headers, is taken from `message`.
        """

    def room(self, environment: str) -> int:
        """How many more recipients it could take now without queueing them long; bounds what is claimed."""

    async def check(self) -> Mapping[str, str]:
        """Try the credential as far as the service allows without a message to anybody: a verdict for each step.

        A verdict that begins with `ok` is good; any other says what was refused and ends the check.
        """

    async def close(self, grace_seconds: float) -> None:
        """Stop: unsent recipients are reported RELEASED at once, those in flight get `grace_seconds` to answer."""
