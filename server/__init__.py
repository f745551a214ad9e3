"""The door: HTTP app, envelopes, dispatcher, auth, settings, logs, command line; the only room that builds things."""

VERSION = "0.1.0"
