"""What the pushes of the benchmarks say: some 200 bytes for each provider."""

import msgspec

APNS_BODY = msgspec.json.encode({"aps": {"alert": {"title": "News", "body": "x" * 155}}})
FCM_MESSAGE = msgspec.json.encode({"notification": {"title": "News", "body": "x" * 130}})
NOTIFICATION = {
    "apns": {"payload": msgspec.Raw(APNS_BODY)},
    "fcm": {"message": msgspec.Raw(FCM_MESSAGE)},
}
