"""How much a model explores, and what training did to that (arXiv 2508.07534): `manyminds analyse` and `select`."""
