"""Which method makes the better training set? See docs/quality.md for the answer."""
