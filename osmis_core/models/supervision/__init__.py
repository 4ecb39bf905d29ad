"""Mask supervision: what a discriminator does with masks. One option a file; ``choice`` selects.

Nothing is imported here: a discriminator knows the interface only, and one option is made of the
discriminator's own blocks.
"""
