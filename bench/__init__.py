"""Measurements as commands: quality, speed, refinement."""
