"""Floor 6: time and memory that a bundle takes, here or on another machine, and how sure that is."""
