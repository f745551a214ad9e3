"""Fixtures for the tests of methods."""

from collections.abc import Callable

import pytest

from methods.context import Context
from tests.methods.device_calls import Call, caller


@pytest.fixture
def call(context: Callable[..., Context]) -> Call:
    """What calls a method of devices or topics by its name."""
    return caller(context)
