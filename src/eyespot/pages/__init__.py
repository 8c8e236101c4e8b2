"""Floor 7: self-contained HTML pages of what was evaluated and checked."""
