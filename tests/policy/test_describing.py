"""What is said of whole distributions: as the model's own logits say, some rows at a time, in the rows' order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manyminds.batch import Row
from manyminds.formulas.exploration import uncertainty
from manyminds.policy import head, reading
from manyminds.policy.line_model import LineModel
from manyminds.policy.reading import describe
from manyminds.records import Example
from tiny import PROMPTS, model

ANSWERS = ((7, 8, 9), (7, 8), (3,), (4, 5, 6, 7, 8, 9), (11, 12))
ROWS = [Row(Example("s", PROMPTS[i % 3].ids, ids), ()) for i, ids in enumerate(ANSWERS)]


@pytest.mark.parametrize("fits", [True, False], ids=["in a line", "padded"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("tokens", [1, 12, 1000])
def test_it_is_what_the_model_says_of_each_row(fits: bool, temperature: float, tokens: int) -> None:
    line = LineModel(model())
    line.fits = fits
    found = describe(line, ROWS, tokens, temperature, uncertainty)
    assert len(found) == len(ROWS)
    for row, its in zip(ROWS, found, strict=True):
        prompt, ids = row.example.prompt_ids, row.example.ids
        with torch.no_grad():
            logits = line.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double()
        expected = uncertainty((logits / temperature).log_softmax(-1), torch.tensor(ids))
        assert its.shape == (len(ids), 3)
        assert torch.allclose(its.double(), expected, atol=1e-4)


def test_the_logits_of_all_rows_are_never_there(monkeypatch: pytest.MonkeyPatch) -> None:
    line, seen = LineModel(model()), []
    words = line.model.config.vocab_size
    monkeypatch.setattr(head, "LOGITS_AT_ONCE", 3 * words)

    def formula(logprobs: Tensor, targets: Tensor) -> Tensor:
        seen.append(len(targets))
        return logprobs[:, :1]

    found = describe(line, ROWS, 1000, 1.0, formula)
    assert sum(map(len, found)) == sum(seen) == sum(map(len, ANSWERS))
    assert max(seen) == 3


def test_padded_rows_of_a_large_vocabulary_run_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    line, seen = LineModel(model()), []
    line.fits = False
    monkeypatch.setattr(reading, "LOGITS_AT_ONCE", line.model.config.vocab_size)
    whole = line.model.forward

    def forward(input_ids: Tensor, **options: object) -> object:
        seen.append(len(input_ids))
        return whole(input_ids=input_ids, **options)

    monkeypatch.setattr(line.model, "forward", forward)
    describe(line, ROWS, 1000, 1.0, uncertainty)
    assert seen == [1] * len(ROWS)
