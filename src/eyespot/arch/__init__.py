"""Floor 1: architectures, one family per file, each a table held against its paper."""
