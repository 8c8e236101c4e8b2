"""LiteRT (TFLite) files, written directly: the format, the operators, what travels beside the network."""
