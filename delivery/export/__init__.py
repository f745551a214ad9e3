"""Exports of the record: every event into files, or into ClickHouse."""
