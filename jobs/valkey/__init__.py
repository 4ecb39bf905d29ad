"""A Valkey of our own: started, watched and stopped with this process."""

from jobs.valkey.server import EmbeddedValkey

__all__ = ["EmbeddedValkey"]
