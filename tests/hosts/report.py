"""What a run says: as text, and as docs/hosts.md."""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from tests.hosts.checks import Section
from tests.hosts.run import Order

_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"


def text_of(section: Section) -> str:
    """A section as lines for a terminal."""
    lines = [section.title]
    lines += [f"  {'ok  ' if each.ok else 'FAIL'} {each.name}: {each.measured}" for each in section.checks]
    return "\n".join(lines)


def write(file: Path, kind: str, order: Order, sections: Sequence[Section]) -> None:
    """Put the figures between the marks of the file; its other text stays."""
    text = file.read_text() if file.exists() else f"# Many hosts\n\n{_BEGIN}\n{_END}\n"
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    file.write_text(f"{before}{_BEGIN}\n{_figures(kind, order, sections)}{_END}{after}")


def _figures(kind: str, order: Order, sections: Sequence[Section]) -> str:
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    facts = f"{day}: {order.hosts} hosts, {kind}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f}"
    engine = "another queue" if order.settings.get("TOCSIN_QUEUE_URL") else "PostgreSQL's queue"
    lines = [f"\n{facts}, {engine}.\n"]
    for section in sections:
        lines += [f"\n### {section.title}\n", "| what | measured | holds |", "|---|---|---|"]
        lines += [f"| {each.name} | {each.measured} | {'yes' if each.ok else '**no**'} |" for each in section.checks]
    return "\n".join(lines) + "\n\n"
