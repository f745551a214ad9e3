"""Calls into the providers' callbacks: a bug there is logged and harms neither the connection nor other requests."""

import logging

from .errors import Failure
from .group import Answer, Group

logger = logging.getLogger(__name__)


def log_bug(group: Group, error: Exception) -> None:
    """Log an exception of a callback as a provider's bug."""
    logger.error("callback of a group failed", extra={"group": type(group).__name__}, exc_info=error)


def report_failure(group: Group, index: int, failure: Failure) -> None:
    """Tell the group that a request got no answer."""
    try:
        group.on_failure(index, failure)
    except Exception as error:
        log_bug(group, error)


def report_answer(group: Group, index: int, answer: Answer) -> None:
    """Tell the group of a complete answer."""
    try:
        group.on_answer(index, answer)
    except Exception as error:
        log_bug(group, error)


def report_ok(group: Group, index: int, body: bytes) -> None:
    """Tell the group of a 200."""
    try:
        group.on_ok(index, body)
    except Exception as error:
        log_bug(group, error)
