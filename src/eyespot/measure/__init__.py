"""Floor 6: measured figures of a bundle."""
