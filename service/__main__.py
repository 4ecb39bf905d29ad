"""``python -m service``: the gateway, configured by ``ONEPAIR_…`` in the environment."""

from __future__ import annotations

import argparse

from jobs.settings import load_settings
from service.server import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m service", description="OnePair's gateway.")
    parser.add_argument("--fd", type=int, help="an inherited listening socket")
    run(load_settings(), fd=parser.parse_args().fd)
