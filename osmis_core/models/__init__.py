"""The networks: generator, masked content attention, and the two discriminators."""
