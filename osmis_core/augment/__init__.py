"""Augmentation: of images with their masks, of discriminator features, and of layouts."""
