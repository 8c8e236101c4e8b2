"""Floor 6: how often a bundle is right, how sure that is, and what it confuses; figures of labelled pictures."""
