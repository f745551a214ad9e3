"""The emulators as programs: `tocsin emulate apns|fcm|webpush|hms`. The only module of this room that prints."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import msgspec

from emulators.apns import ApnsEmulator
from emulators.emulator import Emulator, Place
from emulators.faults import Rule
from emulators.fcm import MAX_AGE_SECONDS, PROJECT_ID, FcmEmulator
from emulators.hms import APP_ID, HmsEmulator
from emulators.webpush import WebpushEmulator
from emulators.webpush_errors import Service

APNS_PORTS = (2197, 2198)
FCM_PORTS = (8443, 8444)
WEBPUSH_PORTS = (8445, 8446)
HMS_PORTS = (8447, 8448)
_ACCOUNT_FILE = "fcm-service-account.json"
_APP_SECRET_FILE = "hms-app-secret.txt"
_SECRETS = {"key_p8", "service_account", "ca_pem", "private_key", "app_secret"}
_EPILOG = "The addresses and credentials are printed as one line of JSON. The program ends with SIGINT or SIGTERM."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the parser a subcommand and its options for each emulator; the choice ends up in `kind`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    _add_apns(kinds.add_parser("apns", help="the HTTP/2 provider API of Apple Push", epilog=_EPILOG))
    _add_fcm(kinds.add_parser("fcm", help="Firebase Cloud Messaging HTTP v1, with OAuth", epilog=_EPILOG))
    _add_webpush(kinds.add_parser("webpush", help="a push service of a browser's maker (RFC 8030)", epilog=_EPILOG))
    _add_hms(kinds.add_parser("hms", help="HMS Push Kit of Huawei, with OAuth", epilog=_EPILOG))


async def run(kind: str, options: argparse.Namespace) -> None:
    """Run one emulator until SIGINT or SIGTERM; its description goes to standard output as a line of JSON.

    ValueError for a faults file that is not understood, OSError when a port is taken.
    """
    emulator = _BUILDERS[kind](options)
    if options.faults is not None:
        content = await asyncio.to_thread(Path(options.faults).read_bytes)
        emulator.apply_faults(msgspec.json.decode(content, type=list[Rule]))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with emulator:
            description = await asyncio.to_thread(_describe, emulator)
            sys.stdout.write(msgspec.json.encode(description).decode() + "\n")
            sys.stdout.flush()
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from a command line of its own; the exit status."""
    parser = argparse.ArgumentParser(prog="emulators", description="Push services on loopback, for tests.")
    add_arguments(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(run(options.kind, options))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    return 0


def _add_common(parser: argparse.ArgumentParser, port: int, control_port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address for push clients (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="TLS port, 0 for a free one (default: %(default)s)")
    parser.add_argument(
        "--control-port", type=int, default=control_port, help="control port on 127.0.0.1 (default: %(default)s)"
    )
    parser.add_argument("--data-dir", type=Path, help="keep authority and keys here; without it they are new each time")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="JSON list of fault rules in force from the start")
    parser.add_argument("--ring-size", type=int, default=10_000, help="requests remembered (default: %(default)s)")
    parser.add_argument(
        "--arrivals-limit", type=int, default=200_000, help="tokens and messages counted (default: %(default)s)"
    )
    parser.add_argument(
        "--window-update-delay", type=float, default=0.0, metavar="SECONDS", help="hold WINDOW_UPDATE frames back"
    )


def _add_apns(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, *APNS_PORTS)
    parser.add_argument("--environment", choices=("production", "sandbox"), default="production")
    parser.add_argument(
        "--initial-streams", type=int, default=1, help="streams before the first valid provider token (default: 1)"
    )
    parser.add_argument("--max-streams", type=int, default=1000, help="streams after it (default: %(default)s)")
    parser.add_argument("--topic", action="append", metavar="BUNDLE", help="allow only this bundle id; may be repeated")
    parser.add_argument(
        "--known-keys-only", action="store_true", help="refuse provider tokens of any key but the printed one"
    )
    parser.add_argument(
        "--known-tokens-only", action="store_true", help="refuse device tokens that POST /tokens did not name"
    )
    parser.add_argument(
        "--token-time-scale", type=float, default=1.0, help="shorten the provider token's hour (0.01 makes it 36 s)"
    )


def _add_fcm(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, *FCM_PORTS)
    parser.add_argument(
        "--project", action="append", metavar="ID", help=f"project that exists; may be repeated (default: {PROJECT_ID})"
    )
    parser.add_argument("--max-streams", type=int, default=100, help="streams of a connection (default: %(default)s)")
    parser.add_argument("--rate-per-minute", type=int, metavar="N", help="send quota of a project (default: none)")
    parser.add_argument(
        "--token-lifetime", type=float, default=3600.0, metavar="SECONDS", help="of access tokens (default: 3600)"
    )
    parser.add_argument("--accept-any-token", action="store_true", help="take every bearer token")
    parser.add_argument(
        "--max-age", type=float, default=MAX_AGE_SECONDS, metavar="SECONDS", help="of a connection (default: 3600)"
    )


def _add_webpush(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, *WEBPUSH_PORTS)
    parser.add_argument(
        "--service", choices=get_args(Service), default="mozilla", help="whose answers to give (default: %(default)s)"
    )
    parser.add_argument("--name", default="localhost", help="host name in subscriptions (default: %(default)s)")
    parser.add_argument("--max-streams", type=int, default=100, help="streams of a connection (default: %(default)s)")


def _add_hms(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, *HMS_PORTS)
    parser.add_argument(
        "--app-id", action="append", metavar="ID", help=f"app that exists; may be repeated (default: {APP_ID})"
    )
    parser.add_argument("--max-streams", type=int, default=100, help="streams of a connection (default: %(default)s)")
    parser.add_argument("--rate-per-minute", type=int, metavar="N", help="recipients of an app (default: no limit)")
    parser.add_argument(
        "--token-lifetime", type=float, default=3600.0, metavar="SECONDS", help="of access tokens (default: 3600)"
    )
    parser.add_argument("--accept-any-token", action="store_true", help="take every bearer token")
    parser.add_argument("--no-high-priority", action="store_true", help="refuse messages of urgency HIGH")


def _place(options: argparse.Namespace) -> Place:
    return Place(
        host=options.host,
        port=options.port,
        control_port=options.control_port,
        data_dir=options.data_dir,
        ring_size=options.ring_size,
        arrivals_limit=options.arrivals_limit,
    )


def _apns(options: argparse.Namespace) -> Emulator:
    return ApnsEmulator(
        environment=options.environment,
        initial_streams=options.initial_streams,
        max_streams_after_first=options.max_streams,
        topics=options.topic,
        require_known_keys=options.known_keys_only,
        known_tokens_only=options.known_tokens_only,
        token_time_scale=options.token_time_scale,
        window_update_delay=options.window_update_delay,
        **_place(options),
    )


def _fcm(options: argparse.Namespace) -> Emulator:
    return FcmEmulator(
        projects=options.project or (PROJECT_ID,),
        max_streams=options.max_streams,
        rate_per_minute=options.rate_per_minute,
        token_lifetime=options.token_lifetime,
        accept_any_token=options.accept_any_token,
        max_age=options.max_age,
        window_update_delay=options.window_update_delay,
        **_place(options),
    )


def _webpush(options: argparse.Namespace) -> Emulator:
    return WebpushEmulator(
        service=options.service,
        name=options.name,
        max_streams=options.max_streams,
        window_update_delay=options.window_update_delay,
        **_place(options),
    )


def _hms(options: argparse.Namespace) -> Emulator:
    return HmsEmulator(
        app_ids=options.app_id or (APP_ID,),
        max_streams=options.max_streams,
        rate_per_minute=options.rate_per_minute,
        token_lifetime=options.token_lifetime,
        accept_any_token=options.accept_any_token,
        high_priority=not options.no_high_priority,
        window_update_delay=options.window_update_delay,
        **_place(options),
    )


_BUILDERS: dict[str, Callable[[argparse.Namespace], Emulator]] = {
    "apns": _apns,
    "fcm": _fcm,
    "webpush": _webpush,
    "hms": _hms,
}


def _describe(emulator: Emulator) -> dict[str, object]:
    """The emulator's description; with a data folder the keys are named by their files instead of shown."""
    description = emulator.describe()
    if emulator.data_dir is None:
        return description
    shown = {name: value for name, value in description.items() if name not in _SECRETS}
    if isinstance(emulator, FcmEmulator):
        path = emulator.data_dir / _ACCOUNT_FILE
        _write_private(path, msgspec.json.format(msgspec.json.encode(emulator.service_account())))
        return {**shown, "service_account_path": str(path)}
    if isinstance(emulator, HmsEmulator):
        path = emulator.data_dir / _APP_SECRET_FILE
        _write_private(path, emulator.app_secret().encode())
        return {**shown, "app_secret_path": str(path)}
    if isinstance(emulator, ApnsEmulator | WebpushEmulator):
        return {**shown, "key_path": str(emulator.key_path)}
    return shown


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
