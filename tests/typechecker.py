"""The type checker of the jaxtyping import hook in conftest.py."""

from beartype import BeartypeConf, beartype

# As the static checkers have it: an int may stand where a float is asked for.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
