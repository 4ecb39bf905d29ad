"""What one gateway carries: ``python -m bench.load [rates|together|sizes]``, on the loopback."""
