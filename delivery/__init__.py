"""The engine: plans an accepted push into batches, renders them, sends them and settles what came of it."""
