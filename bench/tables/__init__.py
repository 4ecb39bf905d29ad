"""``make bench-tables``: the paper's tables, small."""
