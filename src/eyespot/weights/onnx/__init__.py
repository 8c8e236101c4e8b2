"""Reads ONNX files of operations that we know as graphs."""
