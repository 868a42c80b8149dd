"""Rows and batches: weights, padding and dead rows, with numbers by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manyminds.batch import Batch, Row, alive, collate, counted, weigh
from manyminds.formulas.averages import mean_of_sums, over_sequences, over_tokens, sum_of_tokens
from manyminds.methods.terms import CrossEntropy
from manyminds.objective import Outputs, Term, evaluate, needed, total
from manyminds.records import Example

SAMPLED = (
    Example("sampled", (1, 2), (3, 4, 5, 6), advantage=0.5, mask=(1, 0, 1, 0)),
    Example("sampled", (1,), (7,), advantage=(-1.0,), weight=3.0),
)
SOLUTION = Example("solution", (8, 8, 8), (9, 9), teacher_prompt_ids=(1, 1, 1, 1), media=("image-1",))
EXAMPLES = (*SAMPLED, SOLUTION)


def scaled(factor: float) -> object:
    def per_token(outputs: Outputs, batch: Batch) -> Tensor:
        return factor * outputs.logprobs

    return per_token


TERMS = (
    Term("sequences", "sampled", CrossEntropy(), average=over_sequences, credit="nonzero"),
    Term("tokens", "sampled", scaled(2.0), 10.0, average=over_tokens),
    Term("solution", "solution", CrossEntropy(), 0.1, average=sum_of_tokens),
    Term("switched off", "solution", CrossEntropy(), 0.0, average=mean_of_sums),
    Term("without rows", "trace", CrossEntropy()),
)


def test_masked_tokens_do_not_count() -> None:
    assert [counted(example) for example in EXAMPLES] == [2, 1, 2]


def test_weights_are_the_average_over_the_rows_of_the_terms_kind() -> None:
    """Lengths 2 and 1, row weights 1 and 3: sequences 1/(2*4) and 3/4; tokens 1/5 and 3/5."""
    rows = weigh(EXAMPLES, TERMS)
    assert [row.weights for row in rows] == [
        pytest.approx((1 / 8, 1 / 5, 0, 0, 0)),
        pytest.approx((3 / 4, 3 / 5, 0, 0, 0)),
        pytest.approx((0, 0, 1, 0, 0)),
    ]
    assert [row.length for row in rows] == [6, 2, 5]


def test_a_batch_is_padded_at_the_right() -> None:
    batch = collate(weigh(EXAMPLES, TERMS), dtype=torch.float64)
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 6], [1, 7, 0, 0, 0, 0], [8, 8, 8, 9, 9, 0]]
    assert batch.starts.tolist() == [2, 1, 3]
    assert batch.targets.tolist() == [[3, 4, 5, 6], [7, 0, 0, 0], [9, 9, 0, 0]]
    assert batch.mask.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert batch.advantages.tolist() == [[0.5] * 4, [-1, 0, 0, 0], [1, 1, 0, 0]]
    assert batch.weights[0].tolist() == [[1 / 8, 0, 1 / 8, 0], [3 / 4, 0, 0, 0], [0] * 4]
    assert batch.weights[2].tolist() == [[0] * 4, [0] * 4, [1, 1, 0, 0]]
    assert batch.media == ((), (), ("image-1",))


def test_a_teacher_reads_the_same_response_after_its_own_prompt() -> None:
    """Rows without a teacher keep their own prompt."""
    batch = collate(weigh(EXAMPLES, TERMS))
    assert batch.teacher_tokens is not None
    assert batch.teacher_starts is not None
    assert batch.teacher_tokens.tolist() == [[1, 2, 3, 4, 5, 6], [1, 7, 0, 0, 0, 0], [1, 1, 1, 1, 9, 9]]
    assert batch.teacher_starts.tolist() == [2, 1, 4]
    untaught = collate(weigh(SAMPLED, TERMS))
    assert untaught.teacher_tokens is untaught.teacher_starts is None


def test_planes_are_there_by_name_and_0_where_a_row_has_none() -> None:
    rows = [
        Row(Example("a", (1,), (2, 3), planes={"old": (-1.0, -2.0)}), (1.0,)),
        Row(Example("b", (1,), (2,)), (1.0,)),
        Row(Example("b", (1,), (2,), planes={"old": (-3.0,)}), (1.0,)),
    ]
    batch = collate(rows, dtype=torch.float64)
    assert batch.planes["old"].tolist() == [[-1, -2], [0, 0], [-3, 0]]


def test_a_row_without_a_plane_has_the_default_whatever_stands_beside_it() -> None:
    """Else a ratio against old log-probs would depend on the micro-batch: 0 is a log-prob too."""
    rows = [
        Row(Example("trace", (1,), (2, 3), planes={"old": (-1.0, -2.0)}), (1.0,)),
        Row(Example("sampled", (1,), (2,)), (1.0,)),
    ]
    default = torch.full((2, 2), -7.0, dtype=torch.float64)
    mixed, whole, alone = (collate(its, dtype=torch.float64) for its in (rows, rows[:1], rows[1:]))
    assert mixed.plane("old", default).tolist() == [[-1, -2], [-7, -7]]
    assert whole.plane("old", default[:1]) is whole.planes["old"]
    assert alone.plane("old", default) is default
    assert mixed.plane("new", default) is default


def test_a_divergence_from_a_teacher_needs_one_in_every_row() -> None:
    """Said when weights are made: later it would depend on the micro-batch whether anybody notices."""
    term = Term("mutual", "solution", CrossEntropy(), needs=frozenset({"teacher_kl"}))
    assert len(weigh(EXAMPLES, [term])) == 3
    with pytest.raises(ValueError, match="'mutual' needs a teacher's prompt in every example of kind 'solution'"):
        weigh((*EXAMPLES, Example("solution", (8,), (9,))), [term])


@pytest.mark.parametrize(
    ("advantage", "terms", "living"),
    [
        (0.5, TERMS[:1], True),
        (0.0, TERMS[:1], False),
        ((0.0, 0.0, 0.0, 0.0), TERMS[:1], False),
        ((0.0, 0.0, -0.1, 0.0), TERMS[:1], True),
        (0.0, TERMS[:2], True),
        (0.5, TERMS[2:], False),
    ],
    ids=["credit", "none", "none per token", "one token", "another term reads it", "no term reads it"],
)
def test_a_row_is_dead_without_credit_or_reader(advantage: float, terms: tuple[Term, ...], living: bool) -> None:
    (row,) = weigh([Example("sampled", (1, 2), (3, 4, 5, 6), advantage=advantage)], terms)
    assert alive(row, terms) is living


def test_a_term_that_is_switched_off_does_not_keep_a_row_alive() -> None:
    (row,) = weigh([SOLUTION], TERMS[3:])
    assert not alive(row, TERMS[3:])


def test_a_loss_is_the_weighted_sum() -> None:
    """Log-probs -1 everywhere: averages of 1 and of -2; the solution's two tokens are summed."""
    batch = collate(weigh(EXAMPLES, TERMS), dtype=torch.float64)
    shares = evaluate(TERMS, Outputs(-torch.ones(3, 4, dtype=torch.float64)), batch)
    assert {name: share.item() for name, share in shares.items()} == {
        "sequences": pytest.approx(1 / 8 * 2 + 3 / 4),
        "tokens": pytest.approx(-2 * (2 / 5 + 3 / 5)),
        "solution": pytest.approx(2),
    }
    assert total(TERMS, shares).item() == pytest.approx(1.0 + 10 * -2 + 0.1 * 2)


def test_rows_that_no_term_reads_are_an_error_before_they_cost_a_forward_pass() -> None:
    with pytest.raises(ValueError, match="no term reads any of these rows"):
        total(TERMS, {})


def test_needs_unite() -> None:
    terms = [
        Term(name, "sampled", CrossEntropy(), needs=frozenset(needs)) for name, needs in (("a", "xy"), ("b", "yz"))
    ]
    assert needed(terms) == {"x", "y", "z"}
    assert needed(()) == frozenset()
