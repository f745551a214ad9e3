"""Two hosts share a small broadcast: in network namespaces where these are permitted, else on loopback addresses."""

import tempfile
from pathlib import Path

from tests.hosts.checks import Check
from tests.hosts.report import text_of, write
from tests.hosts.run import Order, run

_SMALL = Order(scenarios=["share"], hosts=2, topics={"all": 2000})


async def test_two_hosts_share_a_broadcast_and_send_nothing_twice(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="tocsin-hosts-") as folder:  # PostgreSQL runs as another user
        kind, sections = await run(_SMALL, Path(folder), lambda section: None)
    assert [check for section in sections for check in section.checks if not check.ok] == []
    report = tmp_path / "hosts.md"
    report.write_text("# Many hosts\n\n<!-- figures -->\nwritten earlier\n<!-- end of figures -->\n\nThe end.\n")
    write(report, kind, _SMALL, sections)
    assert kind in report.read_text()
    assert "written earlier" not in report.read_text()
    assert report.read_text().endswith("The end.\n")
    assert Check("recipients with two", "0", ok=True) in sections[0].checks
    assert text_of(sections[0]).startswith("All hosts take work")
