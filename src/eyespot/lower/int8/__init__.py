"""A network in 8 bits: the value, how one is made of a float network, its meaning in numpy, its ONNX file."""
