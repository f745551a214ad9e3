"""The data directory: one `tocsin serve` at a time, and the generated keys in files for the owner alone."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class DataDirectoryError(Exception):
    """The data directory cannot be used; the text says what to do."""


class InUseError(DataDirectoryError):
    """Another process holds the lock of the data directory."""


class DataDirectory:
    """A directory of this server's own.

    `postgres/` is the embedded database, `emulators/` the emulators' keys, `secret-key`, `api-key` and `demo-vapid-key`
    what was generated, `lock` says who uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.postgres = path / "postgres"
        self.emulators = path / "emulators"
        self._secret_key = path / "secret-key"
        self.api_key_file = path / "api-key"
        self._demo_key = path / "demo-vapid-key"

    def ensure(self) -> None:
        """Make the directory when it is not there, and see that files can be made in it; DataDirectoryError."""
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            (self.path / "lock").touch(mode=0o600)
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {self.path} cannot be written: {error.strerror}. "
                "Set TOCSIN_DATA_DIR to one that can, or change its owner"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; InUseError when another has it. The end of the process frees it."""
        self.ensure()
        with (self.path / "lock").open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InUseError(
                    f"the data directory {self.path} is in use by process {file.read().strip() or '(starting)'}. "
                    "Stop that one, or set TOCSIN_DATA_DIR to another directory"
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    def secret_key(self, *, create: bool) -> str:
        """The generated secret key; made when there is none and `create` says so, '' when there is none otherwise."""
        found = _read(self._secret_key)
        if not found and create:
            self.ensure()
            found = secrets.token_urlsafe(32)
            _write(self._secret_key, found)
        return found

    def api_key(self) -> str:
        """The API key that was generated at the first start, '' when there is none."""
        return _read(self.api_key_file)

    def save_api_key(self, key: str) -> None:
        """Keep the first API key for `tocsin call`."""
        self.ensure()
        _write(self.api_key_file, key)

    def demo_key(self) -> str:
        """The private VAPID key of the Web Push demonstration, '' when there is none."""
        return _read(self._demo_key)

    def save_demo_key(self, key: str) -> None:
        """Keep that key, without which the browsers that subscribed would have to do so again."""
        self.ensure()
        _write(self._demo_key, key)

    def open_files(self) -> list[Path]:
        """The files with keys that others than the owner may read."""
        present = (path for path in (self._secret_key, self.api_key_file, self._demo_key) if path.exists())
        return [path for path in present if path.stat().st_mode & 0o077]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise DataDirectoryError(f"{path} cannot be read: {error.strerror}. Change its owner") from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all, never readable by others, on disk when this returns."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
