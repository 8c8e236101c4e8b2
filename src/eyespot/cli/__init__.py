"""The roof: one file per verb; each body imports its verb inside the function."""
