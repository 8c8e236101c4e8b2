"""What a network's outputs mean: one room per task."""
