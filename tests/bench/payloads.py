"""What the pushes of the benchmarks say: some 200 bytes for each provider."""

import msgspec

APNS_BODY = msgspec.json.encode({"aps": {"alert": {"title": "News", "body": "x" * 155}}})
FCM_MESSAGE = msgspec.json.encode({"notification": {"title": "News", "body": "x" * 130}})
WEBPUSH_PAYLOAD = msgspec.json.encode({"notification": {"title": "News", "body": "x" * 130}})
HMS_MESSAGE = msgspec.json.encode(
    {
        "notification": {"title": "News", "body": "x" * 130},
        "android": {"notification": {"click_action": {"type": 3}}, "ttl": "3600s"},
    }
)
TTL_SECONDS = 3600
LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "ja")
CONTENTS: dict[str, dict[str, object]] = {
    "payloads": {},
    "neutral": {"notification": {"title": "News", "body": "x" * 130, "collapse_key": "news"}},
    "ten languages": {
        "notification": {"title": "{{ l10n.title }}", "body": "{{ l10n.body }}"},
        "localizations": {each: {"translations": {"title": each, "body": each * 65}} for each in LANGUAGES},
    },
    "a name each": {
        "notification": {"title": "News for {{ device.user }}", "body": "x" * 130},
        "use_templating": True,
    },
}
"""What a push says, beside its notification: parameters of send_push_notification."""

NOTIFICATION = {
    "apns": {"payload": msgspec.Raw(APNS_BODY)},
    "fcm": {"message": msgspec.Raw(FCM_MESSAGE)},
}
"""To phones of both kinds."""
NOTIFICATIONS: dict[str, dict[str, object]] = {
    "webpush": {"webpush": {"headers": {"TTL": str(TTL_SECONDS)}, "payload": msgspec.Raw(WEBPUSH_PAYLOAD)}},
    "hms": {"hms": {"message": msgspec.Raw(HMS_MESSAGE)}},
}
"""To the devices of a seed of one of these providers."""
