"""Named queries, one file per subject; `migrations/` holds the schema's history."""
