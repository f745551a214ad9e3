"""FCM's errors as JSON, and the table of them.

Sources: https://firebase.google.com/docs/cloud-messaging/error-codes and https://cloud.google.com/apis/design/errors
"""

from collections.abc import Sequence

import msgspec

from emulators.exchange import Answer

JSON = ("content-type", "application/json; charset=UTF-8")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"


class FieldViolation(msgspec.Struct, frozen=True):
    """One thing wrong with one field of a request."""

    field: str
    description: str


class FcmError(msgspec.Struct, frozen=True):
    """A line of the error table. `code` empty: the error carries no FcmError detail."""

    http: int
    status: str
    code: str
    message: str


ERRORS = {
    "INVALID_ARGUMENT": FcmError(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "UNAUTHENTICATED": FcmError(
        401, "UNAUTHENTICATED", "", "Request had invalid authentication credentials. Expected OAuth 2 access token."
    ),
    "THIRD_PARTY_AUTH_ERROR": FcmError(
        401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR", "Auth error from APNS or Web Push Service"
    ),
    "PERMISSION_DENIED": FcmError(
        403, "PERMISSION_DENIED", "", "Permission 'cloudmessaging.messages.create' denied on resource."
    ),
    "SENDER_ID_MISMATCH": FcmError(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", "SenderId mismatch"),
    "NOT_FOUND": FcmError(404, "NOT_FOUND", "", "Requested entity was not found."),
    "UNREGISTERED": FcmError(404, "NOT_FOUND", "UNREGISTERED", "Requested entity was not found."),
    "METHOD_NOT_ALLOWED": FcmError(405, "UNIMPLEMENTED", "", "The request method is not supported here."),
    "ALREADY_EXISTS": FcmError(409, "ALREADY_EXISTS", "", "Requested entity already exists"),
    "QUOTA_EXCEEDED": FcmError(
        429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", "Quota exceeded for quota metric 'Send requests'."
    ),
    "INTERNAL": FcmError(500, "INTERNAL", "INTERNAL", "Internal error encountered."),
    "UNAVAILABLE": FcmError(503, "UNAVAILABLE", "UNAVAILABLE", "The service is currently unavailable."),
}
"""Every error by the name a fault rule or a token state uses for it."""

USUAL_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "ALREADY_EXISTS",
    429: "QUOTA_EXCEEDED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
"""The error a rule means that gives a status alone."""


def fcm_error_detail(code: str) -> dict[str, object]:
    """The detail that carries FCM's own error code."""
    return {"@type": _FCM_ERROR, "errorCode": code}


def error_answer(
    name: str,
    *,
    message: str = "",
    violations: Sequence[FieldViolation] = (),
    bare: bool = False,
    quota: str = "",
    details: Sequence[object] = (),
    status: int | None = None,
    retry_after: int | None = None,
) -> Answer:
    """The error of that name in the shape of Google's APIs.

    `bare` leaves the details out, `quota` names what ran out, `details` are added, `status` replaces the HTTP status. A
    name that is not in the table is taken for an error code of the given status.
    """
    error = ERRORS.get(name) or FcmError(status or 500, name, name, name)
    chosen: list[object] = []
    if error.code and not bare:
        chosen.append(fcm_error_detail(error.code))
    if violations:
        chosen.append({"@type": _BAD_REQUEST, "fieldViolations": violations})
    if quota:
        chosen.append({"@type": _QUOTA_FAILURE, "violations": [{"subject": quota, "description": error.message}]})
    chosen.extend(details)
    http = status or error.http
    content: dict[str, object] = {"code": http, "message": message or error.message, "status": error.status}
    if chosen:
        content["details"] = chosen
    headers = [JSON] if retry_after is None else [JSON, ("retry-after", str(retry_after))]
    return Answer(http, headers, msgspec.json.encode({"error": content}), name)


def invalid(violations: Sequence[FieldViolation]) -> Answer:
    """400 with the violated fields."""
    return error_answer("INVALID_ARGUMENT", message=violations[0].description, violations=violations)


def html_answer(status: int) -> Answer:
    """The page of the front end when nothing behind it answers."""
    body = (
        f"<!DOCTYPE html><html lang=en><title>Error {status} (Server Error)</title>"
        f"<p><b>{status}.</b> <ins>That's an error.</ins><p>Please try again in 30 seconds."
    )
    return Answer(status, [("content-type", "text/html; charset=UTF-8")], body.encode(), f"HTTP_{status}")
