"""OSMIS, one-shot image-mask synthesis, as a library: a pair in, pairs out."""
