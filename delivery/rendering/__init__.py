"""Renders a push: payloads built from neutral fields, provider objects laid over them, templates filled in."""
