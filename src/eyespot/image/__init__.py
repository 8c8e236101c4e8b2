"""Floor 2: pictures in, results out."""
