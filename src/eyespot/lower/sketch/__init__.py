"""A network as a person would draw it, on one page of SVG."""
