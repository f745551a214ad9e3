"""Turns a collapse key into what a provider's header takes."""

import re
from base64 import urlsafe_b64encode
from hashlib import sha256


def fitted(key: str, fits: re.Pattern[str], most: int) -> str:
    """Return the key where it fits, else `most` base64url characters (43 at most) of its SHA-256.

    Pushes with one key get one name, pushes with two keys two, on every server and at any time. A key that still holds
    template text is returned as it is: only what it is rendered to says which pushes belong together.
    """
    if "{{" in key or fits.fullmatch(key):
        return key
    return urlsafe_b64encode(sha256(key.encode()).digest()).decode()[: min(most, 43)]
