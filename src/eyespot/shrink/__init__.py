"""Floor 7: smaller bundles, and what they lost and won."""
