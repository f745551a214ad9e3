"""The command line in this process, and a place for databases."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from server.cli import main

Told = tuple[int, str, str]
Tocsin = Callable[..., Told]


@pytest.fixture
def tocsin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Tocsin]:
    """Run a command with these settings: its exit code, standard output and standard error."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*words: str, **settings: str) -> Told:
        monkeypatch.setenv("TOCSIN_DATA_DIR", str(tmp_path / "data"))
        for name, value in settings.items():
            monkeypatch.setenv(f"TOCSIN_{name.upper()}", value)
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def ground() -> Iterator[Path]:
    """A directory for an embedded PostgreSQL, which under root runs as another account.

    Not in pytest's own directory: each pytest that starts on this machine closes that to other accounts again.
    """
    with TemporaryDirectory(prefix="tocsin-tests-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
