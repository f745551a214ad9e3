"""Where a server is found."""


def url_of(host: str, port: int) -> str:
    """The URL for a client on this machine of a server that listens there."""
    near = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{near}:{port}"
