"""Floor 2: other people's weights files, read safely and named in our words."""
