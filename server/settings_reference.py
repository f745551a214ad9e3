"""Writes the table of settings into README.md: `python -m server.settings_reference [--check]`."""

import sys
from pathlib import Path

from server.settings import DECLARED

_BEGIN = "<!-- settings:begin -->"
_END = "<!-- settings:end -->"


def table() -> str:
    """The settings as a Markdown table."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{each.variable}` | {each.default} | {each.description} |" for each in DECLARED]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """The text with the table between its markers; ValueError when it has none."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the lines {_BEGIN} and {_END} are missing")
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


def main(arguments: list[str]) -> int:
    """Write the table, or with `--check` say whether it is up to date; the exit code."""
    path = Path("README.md")
    try:
        old = path.read_text(encoding="utf-8")
        new = with_table(old)
    except (FileNotFoundError, ValueError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1
    if "--check" in arguments and new != old:
        sys.stderr.write(f"{path}: the table of settings is out of date, run `make docs`\n")
        return 1
    if new != old:
        path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
