"""benchmarks/beyond.py: two comparisons set side by side, their tables and picture, from cells written down by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import pytest

from manyminds.errors import UserError

ROOT = Path(__file__).parents[2]
Load = Callable[[str], ModuleType]
NAMES = ("plain", "best", "mean", "worst", "vote", "oracle", "all_wrong", "pass_at_8", "pooled_pass_at_24")


def cell(arm: str, seed: int, plain: float, oracle: float = 0.8, **more: Any) -> dict[str, Any]:
    """A cell of the level demo; its curve is a line from 0 to `plain` over 100 tokens, told at 0, 50 and 100."""
    metrics = {name: {"value": plain} for name in NAMES} | {"oracle": {"value": oracle}}
    line = [{"num_tokens": n, "seconds": float(n), "plain": plain * n / 100} for n in (0, 50, 100)]
    weights = {"weights": f"w{seed}"} if arm == "mef" else {"started_from": {"weights": f"w{seed}"}}
    found = {"level": "demo", "arm": arm, "seed": seed, "metrics": metrics, "validation": line, "sampled_tokens": 100}
    return {**found, **weights, **more}


def families(plain: float, best: float) -> dict[str, Any]:
    return {"families": {"addition": {"plain": plain, "any": best}}}


ABLATION = {
    "cells": [
        *(cell("mef", seed, 0.4, 0.7 + seed / 100, **families(0.5, 0.75)) for seed in (1, 2)),
        *(cell("meml_tuned", seed, 0.8) for seed in (1, 2)),
        cell("grpo_plain", 1, 0.7),
    ]
}
BEYOND = {"cells": [cell("tutored", seed, 0.9 + seed / 100, 0.95, **families(0.875, 1.0)) for seed in (1, 2)]}


def test_accuracies_and_differences(load: Load) -> None:
    beyond = load("beyond_tables")
    cells = beyond.together(ABLATION, BEYOND)
    rows = beyond.accuracy_table(cells, "demo").splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows[2:]] == [
        "before RL (warm-up)",
        "GRPO on the plain prompt",
        "MEML-GRPO, tuned",
        "**tutored RS-GRPO**",
    ]
    assert rows[-1].startswith("| **tutored RS-GRPO** | 2 | 91.5 ± 0.7 |")
    told = {row.split(" | ")[0].strip("| "): row for row in beyond.difference_table(cells, "demo").splitlines()[2:]}
    assert "| +11.5 [+5.1, +17.9] | 2 | +11.0 |" in told["plain: ours − MEML-GRPO, tuned"]
    assert told["plain: ours − GRPO on the plain prompt"] == (
        "| plain: ours − GRPO on the plain prompt | +21.0 | 1 | +21.0 | – |"
    )
    assert "| +20.0 [+20.0, +20.0] | 2 | +20.0 |" in told["plain after − oracle before"]
    assert "| +23.5" in told["oracle after − oracle before"]


def test_arms_that_started_elsewhere_are_refused(load: Load) -> None:
    other = {"cells": [cell("tutored", 1, 0.9, started_from={"weights": "others"})]}
    with pytest.raises(UserError, match="tutored of seed 1 at level 'demo' started from other weights"):
        load("beyond").together(ABLATION, other)


def test_a_seed_without_ours_is_left_out(load: Load) -> None:
    """Every number of a level is over the same seeds."""
    beyond = load("beyond")
    more = {"cells": [cell("mef", 3, 0.4), cell("meml_tuned", 3, 0.2), cell("tutored", 4, 0.9)]}
    cells = beyond.beside_ours(beyond.together(ABLATION, BEYOND, more))
    assert {seed for _, _, seed in cells} == {1, 2, 4}
    assert ("demo", "meml_tuned", 2) in cells


def test_the_fresh_seeds_are_about_the_finalist(load: Load) -> None:
    """A seed without it is left out; `tutored` is one of the others there."""
    arms = {"mef": 0.5, "meml_tuned": 0.75, "tutored_adaptive": 1.0, "tutored_replayed": 0.875}
    given = [cell(arm, seed, plain) for arm, plain in arms.items() for seed in (1, 2)] + [cell("meml_tuned", 3, 0.0)]
    tables = load("beyond_tables")
    cells = tables.beside_ours(
        tables.together({"cells": [one | {"level": "middle", "seconds": 100.0} for one in given]})
    )
    assert {seed for _, _, seed in cells} == {1, 2}
    rows = tables.comparisons(cells, "middle")
    assert {name: one["difference"] for name, one in rows.items()} == pytest.approx(
        {
            "plain: ours − before RL (warm-up)": 50,
            "plain: ours − MEML-GRPO, tuned": 25,
            "plain: ours − **tutored RS-GRPO with replay**": 12.5,
            "plain after − oracle before": 20,
            "oracle after − oracle before": 0,
        }
    )
    took = tables.seconds_table(cells, "middle", ["meml_tuned", "tutored_adaptive"]).splitlines()
    assert [row.split(" | ")[0] for row in took[2:]] == [
        "| MEML-GRPO, tuned",
        "| **tutored, replay, adaptive sampling**",
    ]


def test_experts_before_and_after(load: Load) -> None:
    tables = load("beyond_tables")
    start = [{"num_tokens": 0, "plain": 0.25, "oracle": 0.5}]
    found = {
        "cells": [
            cell(arm, seed, 0.5 + seed / 10 + n / 100, validation=start, started_from={"weights": arm})
            for n, arm in enumerate(tables.EXPERTS)
            for seed in (1, 2)
        ]
    }
    rows = tables.experts_table(found).splitlines()
    assert rows[0] == "| % | plain before | any of them before | plain after, seed 1 | plain after, seed 2 | mean |"
    assert rows[2] == "| one | 25.0 | 50.0 | 60.0 | 70.0 | 65.0 |"
    assert rows[-1] == "| three, all of one teacher | 25.0 | 50.0 | 64.0 | 74.0 | 69.0 |"


def test_what_replay_adds_on_each_level_and_together(load: Load) -> None:
    """An arm that one level lacks has no number over both."""
    given = {
        "cells": [
            cell("tutored_replayed", seed, 0.5 + gain, level=level) | {"level": level}
            for level, seed, gain in (("strong", 1, 0.1), ("strong", 2, 0.3), ("harder", 3, 0.2))
        ]
        + [cell(arm, seed, 0.5, 0.4) | {"level": "strong"} for arm in ("tutored", "mef", "rs_plain") for seed in (1, 2)]
        + [cell(arm, 3, 0.5, 0.4) | {"level": "harder"} for arm in ("tutored", "mef")]
    }
    tables = load("beyond_tables")
    rows = tables.replay_table(tables.together(given)).splitlines()
    assert rows[0] == "| plain: with replay − | strong warm-up | four digits | together | least seed |"
    assert rows[2].startswith("| without | +20.0 [-107.1, +147.1] | +20.0 | +20.0 [-4.8, +44.8] | +10.0 |")
    assert rows[3].startswith("| oracle before | +30.0 ")
    assert rows[4] == "| RS-GRPO on the plain prompt | +20.0 [-107.1, +147.1] | – | – | +10.0 |"
    assert len(rows) == 5


def test_updates_are_read_from_the_curve(load: Load) -> None:
    """A run of 200 updates stays after them where it ended."""
    line = [{"step": n, "num_tokens": n, "plain": n / 400} for n in (0, 100, 200)]
    found = {"cells": [cell("tutored", 1, 0.75, validation=line), cell("tutored", 2, 0.25, validation=line)]}
    rows = load("beyond_tables").updates_table(found, (50, 200, 300)).splitlines()
    assert rows[0].startswith("| plain, % | seeds | 50 updates |")
    assert rows[2:] == ["| **tutored RS-GRPO** | 2 | 12.5 | 50.0 | 50.0 | 50.0 | 75.0, 25.0 |"]


def test_tokens_until_meml_grpos_end(load: Load) -> None:
    """The line to 91.5 % crosses 80 % at 87.4 tokens of 100; GRPO's ends at 70 %."""
    beyond = load("beyond_tables")
    cells = beyond.together(ABLATION, BEYOND)
    rows = beyond.speed_table(cells).splitlines()
    assert rows[-1] == "| **tutored RS-GRPO** | – | 88 % | – | – | – |"
    assert "| GRPO on the plain prompt | – | not reached (of 1 seed) | – | – | – |" in rows


def test_arms_at_the_seconds_that_meml_grpo_took(load: Load) -> None:
    """A run that is twice as fast stays where it ended; one that is half as fast is taken at its middle."""
    lines = {f: [{"num_tokens": n, "seconds": n * f, "plain": n / 100} for n in (0, 50, 100)] for f in (0.5, 1.0, 2.0)}
    took = {"ampo_plain": 0.5, "meml_tuned": 1.0, "tutored": 2.0}
    given = {"cells": [cell(arm, 1, 1.0, validation=lines[f], seconds=100 * f) for arm, f in took.items()]}
    beyond = load("beyond_tables")
    rows = beyond.seconds_table(beyond.together(given), "demo").splitlines()
    assert rows[0].count("|") == rows[2].count("|")
    assert rows[2:] == [
        "| MEML-GRPO, tuned | 1.00 | 100.0 | 100.0 |",
        "| AMPO on the plain prompt | 0.50 | 100.0 | 100.0 |",
        "| **tutored RS-GRPO** | 2.00 | 50.0 | 50.0 |",
    ]


def test_curves_are_read_between_evaluations(load: Load) -> None:
    beyond = load("beyond_tables")
    cells = beyond.together(ABLATION)
    assert beyond.curve(cells, "demo", "meml_tuned", [0, 25, 75, 100, 999]) == pytest.approx([0, 20, 60, 80, 80])


def test_families_and_screening(load: Load) -> None:
    beyond = load("beyond_tables")
    rows = beyond.family_table(beyond.together(ABLATION, BEYOND), "demo").splitlines()
    assert rows[0].startswith("| %, 2 seeds |")
    assert rows[2:] == ["| addition | 50.0 | 87.5 | 75.0 | 100.0 |"]
    rows = beyond.screening_table(ABLATION).splitlines()
    assert rows[0] == "| plain, % | demo, seed 1 | demo, seed 2 |"
    assert rows[-2:] == ["| `grpo_plain` | 70.0 |  |", "| oracle before RL | 71.0 | 72.0 |"]


def test_pass_at_k_of_every_model_that_was_asked(load: Load) -> None:
    def model(name: str, value: float) -> dict[str, Any]:
        return {"name": name, "pass_at": {"plain": {k: {"value": value} for k in ("1", "8", "32")}}}

    analyses = {
        "7": {"models": [model("tutored", 0.5), model("warmup", 0.25)]},
        "8": {"models": [model("warmup", 1.0)]},
    }
    assert load("beyond_tables").pass_table(analyses).splitlines()[2:] == [
        "| before RL (warm-up) | 25.0 | 25.0 | 25.0 | 100.0 | 100.0 | 100.0 |",
        "| **tutored RS-GRPO** | 50.0 | 50.0 | 50.0 |  |  |  |",
    ]


def test_blocks_are_put_into_the_page(load: Load) -> None:
    page = "a\n<!-- speed -->\nold\n<!-- end -->\nb\n"
    written = load("beyond").written(page, {"speed": "| new |", "nowhere": "x"})
    assert written == "a\n<!-- speed -->\n| new |\n<!-- end -->\nb\n"


def test_picture(load: Load) -> None:
    beyond = load("beyond")
    figure = beyond.drawn(beyond.together(ABLATION, BEYOND))
    assert len(figure.axes) == 2
    dots = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert dots[-1] == pytest.approx([91, 92])
    assert [text.get_text() for text in figure.axes[1].get_legend().get_texts()] == [
        "tutored RS-GRPO",
        "MEML-GRPO, tuned",
        "GRPO on the plain prompt",
    ]


def committed(beyond: ModuleType) -> Any:
    return beyond.beside_ours(beyond.together(*map(beyond.read, beyond.COMPARED)))


def test_the_docs_show_the_committed_results(load: Load) -> None:
    beyond = load("beyond")
    cells = committed(beyond)
    page = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8")
    blocks = beyond.tables(cells)
    assert beyond.written(page, blocks) == page
    missing = {name for name in blocks if f"<!-- {name} -->" not in page}
    assert missing == {"families weak", "families strong", "families harder"}


def test_prose_has_the_committed_figures(load: Load) -> None:
    beyond = load("beyond")
    cells = committed(beyond)
    rows = load("beyond_tables").comparisons(cells, "demo")
    prose = [(ROOT / name).read_text(encoding="utf-8").replace("\n", " ") for name in ("README.md", "docs/beyond.md")]
    told = ("plain after − oracle before", "plain: ours − MEML-GRPO, tuned", "plain: ours − longer warm-up")
    for name in told:
        assert all(shown(rows[name]) in text.replace(" points [", " [") for text in prose), name
    assert shown(rows["plain: ours − AMPO on the plain prompt"]) in prose[1]
    for level, arm, outcome in (
        ("demo", "tutored", "plain"),
        ("demo", "mef", "oracle"),
        ("middle", "tutored_adaptive", "plain"),
        ("middle", "mef", "oracle"),
        ("harder", "tutored", "plain"),
        ("harder", "mef", "oracle"),
        ("harder", "tutors_alone", "plain"),
    ):
        mean = fmean(beyond.value(cells, level, arm, s, outcome) for s in beyond.seeds_of(cells, level, arm))
        assert all(f"{mean:.1f} %" in text for text in prose)
    fresh = load("beyond_tables").comparisons(cells, "middle")
    for name in ("MEML-GRPO, tuned", "AMPO on the plain prompt", "AMPO with adaptive sampling", "longer warm-up"):
        assert all(shown(fresh[f"plain: ours − {name}"]) in text for text in prose), name
    took = [100 * tokens_of_one(load("beyond_tables"), cells, seed) for seed in range(150, 160)]
    assert f"single seeds after {min(took):.0f} to {max(took):.0f} %" in prose[1]
    sampling = load("beyond_tables").gap(cells, "middle", ("ampo_adaptive", "plain"), ("ampo_plain", "plain"))
    assert all(shown(sampling) in text for text in prose)
    assert all(shown(fresh["plain after − oracle before"]) in text.replace(" points [", " [") for text in prose)
    harder = load("beyond_tables").comparisons(cells, "harder")["plain after − oracle before"]
    assert all(shown(harder) in text.replace(" points [", " [") for text in prose)


def tokens_of_one(tables: ModuleType, cells: Any, seed: int) -> float:
    """The share of MEML-GRPO's tokens at which the finalist is where MEML-GRPO ends, on a seed."""
    its = {key: cell for key, cell in cells.items() if key[2] == seed}
    most = its["middle", "meml_tuned", seed]["sampled_tokens"]
    (target,) = tables.curve(its, "middle", "meml_tuned", [most])
    share: float = tables.tokens_to(its, "middle", tables.ADAPTIVE, target, most)
    return share


def shown(one: dict[str, Any]) -> str:
    """A difference as prose writes it, without its sign."""
    return f"{one['difference']:.1f} [{one['low']:+.1f}, {one['high']:+.1f}]".replace("-", "−")


def test_the_results_name_their_machine_and_versions(load: Load) -> None:
    beyond = load("beyond")
    for name in beyond.RECIPES:
        found = beyond.read(name)
        assert found["machine"]
        assert found["versions"]
        assert found["failed"] == []
    assert {"machine", "versions"} <= beyond.read("beyond_pass_at").keys()
