"""Workers: Celery rings, a supervisor holds the lease, a child process does the work."""
