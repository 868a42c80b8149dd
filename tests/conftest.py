"""What every test runs under: no network, one thread, fixed seeds, and shapes checked against their signatures."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

# Read when they are imported, so set before.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import numpy
import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("manyminds", "typechecker.checked")  # before the first import of manyminds

torch.set_num_threads(1)
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Every test starts from the same state of the global generators, whichever ran before it."""
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """transformers tells about configs on standard error; warnings stay errors."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(before)
