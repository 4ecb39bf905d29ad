"""Training: configuration, one optimisation step, EMA, checkpoints, and the loop around them."""
