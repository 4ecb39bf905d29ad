"""The HTTP gateway: accepts a pair, records a job, serves what was made. Never torch."""
