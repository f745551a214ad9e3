from pathlib import Path

import pytest

from methods.all import TABLE
from server import reference


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    return tmp_path


def test_the_reference_names_every_method() -> None:
    text = reference.reference(TABLE)
    assert [name for name in TABLE if f"### `{name}`" not in text] == []


def test_what_was_written_is_up_to_date(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "README.md").write_text("a\n<!-- methods:begin --><!-- methods:end -->\nz\n")
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    text = (root / "README.md").read_text()
    assert text.startswith("a\n<!-- methods:begin -->\n| method | |\n")
    assert text.endswith("\n<!-- methods:end -->\nz\n")


def test_a_check_finds_what_is_out_of_date_and_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "README.md").write_text("<!-- methods:begin --><!-- methods:end -->\n")
    assert reference.main(["--check"]) == 1
    assert "README.md is out of date" in capsys.readouterr().err
    assert (root / "README.md").read_text() == "<!-- methods:begin --><!-- methods:end -->\n"
    assert not (root / "docs").exists()
