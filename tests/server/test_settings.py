"""Settings: what the environment says, and how mistakes in it are told."""

from pathlib import Path

import pytest

from server import settings
from server.settings import DECLARED, Settings, SettingsError
from server.settings_reference import table, with_table
from server.variables import unknown


def test_an_empty_environment_gives_the_defaults() -> None:
    assert settings.read({}) == Settings()


def test_variables_are_converted_to_their_types() -> None:
    found = settings.read({"TOCSIN_PORT": "9000", "TOCSIN_POLL_SECONDS": "0.5", "TOCSIN_WORKERS": "3"})
    assert (found.port, found.poll_seconds, found.worker_count) == (9000, 0.5, 3)


def test_an_empty_variable_is_an_absent_one() -> None:
    assert settings.read({"TOCSIN_PORT": ""}).port == 8000


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("k" * 40 + "\n")
    assert settings.read({"TOCSIN_SECRET_KEY_FILE": str(file)}).secret_key == "k" * 40


def test_a_value_and_a_file_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="TOCSIN_API_KEY and TOCSIN_API_KEY_FILE are both set"):
        settings.read({"TOCSIN_API_KEY": "x" * 20, "TOCSIN_API_KEY_FILE": str(tmp_path / "key")})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TOCSIN_API_KEY: .*No such file.*nowhere"):
        settings.read({"TOCSIN_API_KEY_FILE": str(tmp_path / "nowhere")})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TOCSIN_PORT", "eight thousand"),
        ("TOCSIN_PORT", "70000"),
        ("TOCSIN_LOG_LEVEL", "loud"),
        ("TOCSIN_WORKERS", "-1"),
        ("TOCSIN_WORKERS", "1.5"),
        ("TOCSIN_SECRET_KEY", "short"),
    ],
)
def test_a_value_out_of_place_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        settings.read({variable: value})


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        settings.read({"TOCSIN_PORT": "x", "TOCSIN_WORKERS": "y"})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["TOCSIN_PORT", "TOCSIN_WORKERS"]


def test_a_refused_secret_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        settings.read({"TOCSIN_SECRET_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_an_unknown_variable_is_named_with_its_nearest_relative() -> None:
    assert unknown({"TOCSIN_WORKER": "2", "PATH": "/bin"}) == [
        "TOCSIN_WORKER is not a setting; did you mean TOCSIN_WORKERS?"
    ]


def test_known_variables_and_their_file_forms_are_not_warned_of() -> None:
    assert unknown({"TOCSIN_PORT": "1", "TOCSIN_API_KEY_FILE": "f", "TOCSIN_CREDENTIALS_FILE": "f"}) == []


def test_variables_of_credentials_are_known_and_slips_in_them_are_not() -> None:
    given = ("TOCSIN_APNS_KEY_FILE", "TOCSIN_WEBPUSH_SUBJECT", "TOCSIN_HMS_APP_SECRET_FILE", "TOCSIN_WEBHOOK_BATCHED")
    assert unknown(dict.fromkeys((*given, "TOCSIN_WEBPUSH_ORIGINS", "TOCSIN_FCM_QUOTA_PER_MINUTE"), "x")) == []
    assert unknown({"TOCSIN_WEBPUSH_PRIVAT_KEY": "x"}) == [
        "TOCSIN_WEBPUSH_PRIVAT_KEY is not a setting; did you mean TOCSIN_WEBPUSH_PRIVATE_KEY?"
    ]


def test_an_origin_that_is_none_is_told() -> None:
    with pytest.raises(SettingsError, match=r"TOCSIN_WEBPUSH_ORIGINS: http://push.local is no origin"):
        settings.read({"TOCSIN_WEBPUSH_ORIGINS": "push.example.com, http://push.local"})


def test_the_representation_shows_no_secret() -> None:
    shown = repr(Settings(api_key="a-secret-of-ours", secret_key="another-one", database_url="postgresql://u:pw@h/d"))
    assert "secret" not in shown
    assert "pw" not in shown
    assert "port=8000" in shown


def test_every_setting_is_described_in_the_table() -> None:
    assert all(each.description.endswith(".") for each in DECLARED)
    assert all(f"| `{each.variable}` |" in table() for each in DECLARED)


def test_the_table_replaces_what_is_between_its_markers() -> None:
    text = "before\n<!-- settings:begin -->\nold\n<!-- settings:end -->\nafter\n"
    assert with_table(text) == f"before\n<!-- settings:begin -->\n{table()}\n<!-- settings:end -->\nafter\n"
    assert with_table(with_table(text)) == with_table(text)


def test_a_text_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        with_table("# A page without them")
