"""Numbered migrations: forward only, one transaction each."""
