"""Floor 3: bundles, the directories in which training and inference meet."""
