"""Every error the API answers with: one class a code, the docstring's first line is its fixed message."""

from typing import ClassVar


class ApiError(Exception):
    """internal server error"""  # noqa: D400 - the message on the wire, letter for letter

    code: ClassVar[int] = 100
    http_status: ClassVar[int] = 500

    def __init__(self, detail: str = "", *, path: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path
        self.retry_after_seconds = retry_after_seconds

    @property
    def message(self) -> str:
        """The fixed text of this code; clients compare it."""
        return (type(self).__doc__ or "").strip()


class NotFoundError(ApiError):
    """not found"""  # noqa: D400

    code = 104
    http_status = 404


class BadRequestError(ApiError):
    """bad request"""  # noqa: D400

    code = 107
    http_status = 400


class NotAvailableError(ApiError):
    """not available"""  # noqa: D400

    code = 108
    http_status = 400


class TooManyRequestsError(ApiError):
    """too many requests"""  # noqa: D400

    code = 111
    http_status = 429


class ForbiddenError(ApiError):
    """forbidden"""  # noqa: D400

    code = 112
    http_status = 403


class ConflictError(ApiError):
    """conflict"""  # noqa: D400

    code = 113
    http_status = 409


CATALOGUE: tuple[type[ApiError], ...] = (
    ApiError,
    NotFoundError,
    BadRequestError,
    NotAvailableError,
    TooManyRequestsError,
    ForbiddenError,
    ConflictError,
)
