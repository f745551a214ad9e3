"""The data directory: one holder at a time, keys for the owner alone."""

import stat
from pathlib import Path

import pytest

from server.data_directory import DataDirectory, DataDirectoryError, InUseError


def test_the_secret_key_is_made_once_and_kept(tmp_path: Path) -> None:
    key = DataDirectory(tmp_path).secret_key(create=True)
    assert len(key) >= 32
    assert DataDirectory(tmp_path).secret_key(create=True) == key


def test_no_secret_key_is_made_unless_asked_for(tmp_path: Path) -> None:
    assert DataDirectory(tmp_path).secret_key(create=False) == ""
    assert list(tmp_path.iterdir()) == []


def test_keys_are_written_for_the_owner_alone(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.secret_key(create=True)
    data.save_api_key("tk_x")
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret-key", "api-key")} == {0o600}


def test_an_api_key_that_was_saved_is_found(tmp_path: Path) -> None:
    DataDirectory(tmp_path / "new").save_api_key("tk_x")
    assert DataDirectory(tmp_path / "new").api_key() == "tk_x"


def test_a_write_that_was_cut_off_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "api-key.new").write_text("tk_ha")
    DataDirectory(tmp_path).save_api_key("tk_x")
    assert DataDirectory(tmp_path).api_key() == "tk_x"


def test_files_that_others_may_read_are_named(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path)
    data.save_api_key("tk_x")
    data.api_key_file.chmod(0o640)
    assert data.open_files() == [data.api_key_file]


def test_a_directory_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with (
        DataDirectory(tmp_path).locked(),
        pytest.raises(InUseError, match="in use by process"),
        DataDirectory(tmp_path).locked(),
    ):
        pass


def test_a_directory_that_was_let_go_can_be_held_again(tmp_path: Path) -> None:
    with DataDirectory(tmp_path).locked():
        pass
    with DataDirectory(tmp_path).locked():
        pass


def test_a_place_that_cannot_be_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match="TOCSIN_DATA_DIR"):
        DataDirectory(tmp_path / "file" / "data").ensure()
