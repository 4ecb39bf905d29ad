"""A whole service under random faults: ``python -m tests.chaos --seed N``, or ``make chaos``."""
