"""The command line: start everything on one machine, or talk to a running service."""
