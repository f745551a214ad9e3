"""`make browser`: a headless Chromium subscribes at the page of `tocsin serve --demo` and gets pushes.

First without a push service, then with a stand-in for the one that Chromium is built for, at which it subscribes for
real, and whose messages it decrypts itself. Needs /usr/bin/chromium, and no network.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.browser.chromium import PROGRAM
from tests.browser.scenes import blocked, site, with_a_push_service, without_a_push_service


async def _play(pictures: Path | None) -> None:
    first, second = (pictures and pictures / name for name in ("without-service.png", "with-service.png"))
    with TemporaryDirectory(prefix="tocsin-browser-", ignore_cleanup_errors=True) as folder:
        async with site(Path(folder)) as there:
            await blocked(there)
            _say("blocked notifications: the page says what to do")
            await without_a_push_service(there, first)
            _say("no push service: the page says so; what the tools deliver is shown, JSON and not")
    with TemporaryDirectory(prefix="tocsin-browser-", ignore_cleanup_errors=True) as folder:
        for line in await with_a_push_service(Path(folder), second):
            _say(line)


def _say(line: str) -> None:
    sys.stdout.write(f"ok: {line}\n")
    sys.stdout.flush()


def main() -> int:
    """Play all scenes; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write pictures of the page there")
    options = parser.parse_args()
    if not Path(PROGRAM).exists():
        sys.stderr.write(f"{PROGRAM} is not installed: apt-get install chromium\n")
        return 2
    asyncio.run(_play(options.pictures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
