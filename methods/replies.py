"""What a call comes to, in whichever form it arrived: the bytes of a result, or an error object."""

import msgspec

from methods.errors import ApiError


class ErrorData(msgspec.Struct, omit_defaults=True, frozen=True):
    """What to do about an error: text for people, the member it is about, and when to try again (seconds)."""

    detail: str = ""
    path: str = ""
    retry_after: float = 0


class ErrorObject(msgspec.Struct, omit_defaults=True, frozen=True):
    """An error on the wire; `code` and `message` are one of the catalogue of methods/errors.py."""

    code: int
    message: str
    data: ErrorData | None = None


Reply = bytes | ErrorObject  # bytes: the result, encoded


def error_object(error: ApiError) -> ErrorObject:
    """Turn an exception of the catalogue into what the wire says of it."""
    data = ErrorData(error.detail, error.path, error.retry_after_seconds or 0)
    return ErrorObject(error.code, error.message, data if data != _NO_DATA else None)


_NO_DATA = ErrorData()
