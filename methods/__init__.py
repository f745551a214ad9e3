"""The API: one coroutine per method, and the table of them."""
