"""Floor 8: from what a device can afford to the most accurate network that was measured inside it."""
