"""Floor 2: readings of a graph with weights: its meaning in numpy, folding, ONNX."""
