"""``python -m jobs.objects.prepare``: makes the S3 bucket of a new deployment, and tries to use it.

Beside it, one object in a bucket that everybody may read: a health check that reads it knows that
objects can be read, and not just that somebody listens.
"""

from __future__ import annotations

import sys

from jobs.checkup import Verdict, look_at_objects
from jobs.objects.s3 import S3Store
from jobs.settings import load_settings

PROBE_BUCKET, PROBE_KEY = "probe", "ready"


def main() -> str | None:
    """What is wrong, or None."""
    settings = load_settings()
    store = S3Store.from_settings(settings)
    store.ensure_bucket()
    probe = S3Store.from_settings(settings.model_copy(update={"s3_bucket": PROBE_BUCKET}))
    probe.put_bytes(PROBE_KEY, b"ready")
    bad = [found.detail for found in look_at_objects(store) if found.verdict is Verdict.BAD]
    return "; ".join(bad) or None


if __name__ == "__main__":
    sys.exit(main())
