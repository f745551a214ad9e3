"""What push services say when they refuse: the same refusals in the words of Mozilla, Apple, Windows and Google.

Sources: https://mozilla-services.github.io/autopush-rs/errors.html,
https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers,
https://learn.microsoft.com/windows/apps/design/shell/tiles-and-notifications/push-request-response-headers. The numbers
that Google's service answers are from reports; its texts are ours.
"""

from http import HTTPStatus
from typing import Literal, NamedTuple

import msgspec

from emulators.exchange import Answer

Service = Literal["mozilla", "apple", "wns", "fcm"]


class Refusal(msgspec.Struct, frozen=True):
    """Why a push is refused: a name that all services share, and a text about it."""

    name: str
    detail: str = ""


class _Line(NamedTuple):
    """HTTP status and the service's own code for it."""

    status: int
    code: str = ""


_MOZILLA = {
    "path": _Line(404, "102"),
    "method": _Line(405),
    "unknown": _Line(404, "102"),
    "gone": _Line(410, "106"),
    "ttl_missing": _Line(400, "111"),
    "ttl_invalid": _Line(400, "112"),
    "urgency_invalid": _Line(400),
    "topic_invalid": _Line(400, "113"),
    "vapid_missing": _Line(401, "109"),
    "vapid_invalid": _Line(401, "109"),
    "vapid_mismatch": _Line(401, "109"),
    "encoding_invalid": _Line(400, "110"),
    "too_large": _Line(413, "104"),
    "throttled": _Line(429),
    "internal": _Line(500, "999"),
    "unavailable": _Line(503, "201"),
}
_MORE_ERRNOS = {
    "101": 400,
    "103": 410,
    "105": 410,
    "108": 400,
    "114": 400,
    "202": 503,
    **dict.fromkeys(("900", "901", "902", "903"), 502),
}
_APPLE = {
    "path": _Line(404, "BadPath"),
    "method": _Line(405, "MethodNotAllowed"),
    "unknown": _Line(410, "Unregistered"),
    "gone": _Line(410, "Unregistered"),
    "ttl_missing": _Line(400, "BadTtl"),
    "ttl_invalid": _Line(400, "BadTtl"),
    "urgency_invalid": _Line(400, "BadUrgency"),
    "topic_invalid": _Line(400, "BadWebPushTopic"),
    "vapid_missing": _Line(403, "BadJwtToken"),
    "vapid_invalid": _Line(403, "BadJwtToken"),
    "vapid_mismatch": _Line(400, "VapidPkHashMismatch"),
    "encoding_invalid": _Line(400, "BadWebPushRequest"),
    "too_large": _Line(413, "PayloadTooLarge"),
    "throttled": _Line(429, "TooManyRequests"),
    "internal": _Line(500, "InternalServerError"),
    "unavailable": _Line(503, "ServiceUnavailable"),
}
_WNS = {
    "path": _Line(404),
    "method": _Line(405),
    "unknown": _Line(404),
    "gone": _Line(410),
    "ttl_missing": _Line(400),
    "ttl_invalid": _Line(400),
    "urgency_invalid": _Line(400),
    "topic_invalid": _Line(400),
    "vapid_missing": _Line(401),
    "vapid_invalid": _Line(401),
    "vapid_mismatch": _Line(403),
    "encoding_invalid": _Line(400),
    "too_large": _Line(413),
    "throttled": _Line(406),
    "internal": _Line(500),
    "unavailable": _Line(503),
}
_FCM = _WNS | {"vapid_invalid": _Line(403), "throttled": _Line(429)}
# What Google's service answers in prose, and senders look for in it.
_FCM_TEXTS = {
    "vapid_invalid": "invalid JWT: {}",
    "vapid_mismatch": "{}: the keys do not correspond to the credentials of the subscription",
    "gone": "{}: it is unsubscribed or expired",
}
_TABLES: dict[Service, dict[str, _Line]] = {"mozilla": _MOZILLA, "apple": _APPLE, "wns": _WNS, "fcm": _FCM}
# Mozilla: https://github.com/mozilla-services/autopush-rs; Windows: as reported; the others are ours.
_WAITS = {"mozilla": {503: 120, 429: 60}, "apple": {429: 60}, "wns": {406: 900}, "fcm": {429: 60}}


class Refusals:
    """Answers of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._table = _TABLES[service]

    def answer(
        self, refusal: Refusal, *, status: int | None = None, retry_after: bool = True, given: str = ""
    ) -> Answer:
        """The answer to a refused push; `status` and `given` replace the status and the service's code."""
        line = self._table.get(refusal.name, _Line(status or 500))
        status = status or line.status
        code, text = given or line.code, refusal.detail or refusal.name
        if self._service == "fcm":
            text = _FCM_TEXTS.get(refusal.name, "{}").format(text)
        headers, body = _RENDERERS[self._service](status, code, text)
        wait = _WAITS[self._service].get(status)
        if wait is not None and retry_after:
            headers.append(("retry-after", str(wait)))
        return Answer(status, headers, body, code or refusal.name)

    def named(self, reason: str, status: int | None, retry_after: bool) -> Answer:
        """What a rule asks for by a common name, the service's own code or a status; ValueError for an unknown reason.

        With a status any reason is taken for the service's own code.
        """
        name = self._name(reason, status)
        if name is not None:
            given = reason if reason not in self._table else ""
            return self.answer(Refusal(name), status=status, retry_after=retry_after, given=given)
        known = status or (_MORE_ERRNOS.get(reason) if self._service == "mozilla" else None)
        if known is None:
            raise ValueError(f"status is needed: {self._service} has no error {reason!r}")
        return self.answer(Refusal(reason or f"HTTP_{known}"), status=known, retry_after=retry_after, given=reason)

    def _name(self, reason: str, status: int | None) -> str | None:
        if reason in self._table:
            return reason
        fits = (name for name, line in self._table.items() if reason and line.code == reason)
        same = (name for name, line in self._table.items() if not reason and line.status == status)
        return next(fits, None) or next(same, None)


def _mozilla(status: int, code: str, text: str) -> tuple[list[tuple[str, str]], bytes]:
    body = {
        "code": status,
        "errno": int(code) if code.isdigit() else None,
        "error": _phrase(status),
        "message": text,
        "more_info": "https://mozilla-services.github.io/autopush-rs/errors.html",
    }
    headers = [("content-type", "application/json")]
    if status == HTTPStatus.GONE:
        headers.append(("cache-control", "max-age=86400"))
    return headers, msgspec.json.encode(body)


def _apple(status: int, code: str, text: str) -> tuple[list[tuple[str, str]], bytes]:
    return [("content-type", "application/json")], msgspec.json.encode({"reason": code or f"Http{status}"})


def _wns(status: int, code: str, text: str) -> tuple[list[tuple[str, str]], bytes]:
    state = "channelthrottled" if status == HTTPStatus.NOT_ACCEPTABLE else "dropped"
    return [("x-wns-status", state), ("x-wns-notificationstatus", state), ("x-wns-error-description", text)], b""


def _fcm(status: int, code: str, text: str) -> tuple[list[tuple[str, str]], bytes]:
    return [("content-type", "text/plain; charset=utf-8")], text.encode() + b"\n"


_RENDERERS = {"mozilla": _mozilla, "apple": _apple, "wns": _wns, "fcm": _fcm}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
