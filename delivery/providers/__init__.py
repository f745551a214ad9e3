"""One module per push service: how to say a push in its protocol, and what its answers mean."""
