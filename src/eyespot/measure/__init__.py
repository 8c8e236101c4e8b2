"""Floor 5: measured figures of a bundle."""
