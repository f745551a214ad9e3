"""Queue engines behind one contract: claim batches, settle them, hint that there is work."""
