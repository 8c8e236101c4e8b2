"""Floor 5: labelled pictures: sources of them, splits, duplicates, and what is wrong with a collection."""
