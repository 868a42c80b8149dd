"""A function per equation: tensors in, tensors out; no config, no input or output.

Every docstring is the equation, its limits and its source. Letters in shapes: B rows, T tokens, V vocabulary;
`answers` is the group that shares a baseline.
"""
