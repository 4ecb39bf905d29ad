"""Reading and checking a pair, mask encodings, and the size plan. NumPy and Pillow only."""
