from methods.errors import ApiError
from server.readiness import NotReadyError, Readiness


async def _fine() -> str:
    return "18.1"


async def _pending() -> None:
    raise NotReadyError("run `tocsin migrate`")


async def _broken() -> None:
    raise ApiError("password=secret")


async def test_each_check_is_told_by_name() -> None:
    assert await Readiness({"a": _fine, "b": _pending}).ask() == {"a": "ok", "b": "run `tocsin migrate`"}


async def test_an_unknown_failure_is_told_by_its_type_alone() -> None:
    assert await Readiness({"a": _broken}).ask() == {"a": "ApiError"}
