"""Two more pairs, from pictures that scikit-image's wheel packages; see README.md."""
