"""Rewards that do their worst, asked by a judge: each costs its own sample, is counted, and is put aside."""

from __future__ import annotations

import contextlib
import math
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from judging import RECIPE
from manyminds.config import parse
from manyminds.durable import append_jsonl, read_jsonl
from manyminds.errors import UserError
from manyminds.records import Prompt, Question, Rollout
from manyminds.rewards import Judge, Reward, reward
from manyminds.rewards.quarantine import QUARANTINE, TEXT
from manyminds.rewards.sample import TrainerState
from manyminds.run import train
from manyminds.sections import JudgeConfig
from manyminds.tasks.arithmetic import extract
from manyminds.workers import NOT_WAITED_FOR
from misbehaving import compute_score, hostile, of_its_module, trl_hostile

CONFIG = JudgeConfig(deadline=1.0, workers=2, max_error_rate=1.0)


COSTS = {
    "sleep": ("it did not return within 1 s", True),
    "raise": ("ValueError: no", False),
    "nan": ("ValueError: the result is nan, not a finite number", False),
    "inf": ("ValueError: the result is inf, not a finite number", False),
    "string": ("TypeError: the result is str '1.0', not a number", False),
    "list": ("TypeError: the result is list '[1.0]', not a number", False),
    "slow number": ("it did not return within 1 s", True),
    "allocate": ("MemoryError: ", False),
    "hold the GIL": ("it did not return within 1 s", True),
    "os._exit": ("it ended its worker process (exit code 7)", True),
    "sys.exit": ("SystemExit: 7", False),
    "interrupt": ("KeyboardInterrupt: ", False),
}
HARMLESS = ("fork", "fork and stay", "mutate")
QUESTION = Question("q", "1+1", "2", source="f:3", extras={"level": 3, "options": [1]})


def rollouts(*texts: str, expert: str = "concise", question: Question = QUESTION) -> list[Rollout]:
    return [Rollout(Prompt(question, expert), (1,), (-0.5,), text) for text in texts]


@pytest.fixture(scope="module", params=["of one answer", "verl", "trl"])
def judge(request: pytest.FixtureRequest) -> Iterator[Judge]:
    """One judge for all, so that each starts with what the ones before left behind."""
    its = {"of one answer": hostile, "verl": reward(compute_score), "trl": reward(trl_hostile)}[request.param]
    with Judge([its], extract, config=CONFIG) as made:
        yield made


@pytest.mark.parametrize("what", COSTS)
def test_it_costs_its_own_sample(judge: Judge, what: str) -> None:
    judge.quarantine.clear()
    scored = judge(rollouts("#2", what, "#3"))
    assert [s.reward for s in scored] == [1.0, 0.0, 1.0]
    (put,) = judge.quarantine
    why, killed = COSTS[what]
    assert put["error"] == why
    its = ("question_id", "source", "question", "answer", "expert", "response")
    assert [put[key] for key in its] == ["q", "f:3", "1+1", "2", "concise", what]
    assert judge.metrics["verifier/errors"] == 1.0
    assert judge.metrics["verifier/killed"] == float(killed)


def test_what_costs_nothing(judge: Judge) -> None:
    judge.quarantine.clear()
    scored = judge(rollouts("#2", *HARMLESS, "none", "#3"))
    assert [s.reward for s in scored] == [1.0, 1.0, 1.0, 0.0, 0.0, 1.0]
    assert (judge.quarantine, QUESTION.extras) == ([], {"level": 3, "options": [1]})
    assert judge.metrics["verifier/not_available"] == 1.0


def test_what_it_prints_goes_beside_the_result(capfd: pytest.CaptureFixture[str]) -> None:
    """More than a pipe holds; from processes that start in this test, so that its output is this test's."""
    with Judge([hostile], extract, config=CONFIG) as made:
        assert [s.reward for s in made(rollouts("#2", "print", "#3"))][::2] == [1.0, 1.0]
    said = capfd.readouterr()
    assert said.out == ""  # standard output is for results
    assert len(said.err) >= 2**20


def test_a_trl_function_logs_from_its_worker() -> None:
    with Judge([reward(trl_hostile)], extract, config=CONFIG) as judge:
        judge(rollouts("#2", "#3"))
        assert judge.metrics["rewards/trl_hostile/share"] == 0.5


def test_a_response_that_is_too_long_is_not_sent() -> None:
    with Judge(["exact_answer", hostile], extract, config=CONFIG) as judge:
        scored = judge(rollouts("#2", "x" * 3_000_000, "#2"))
        assert [s.reward for s in scored] == [2.0, 0.0, 2.0]
        (put,) = judge.quarantine
        assert put["error"].startswith("its input of 3,000,")
        assert put["error"].endswith(" bytes is over the limit of 1,048,576")
        assert put["response"] == "x" * TEXT + "… (3,000,000 characters)"


def test_failures_are_kept_in_the_runs_folder(tmp_path: Path) -> None:
    for step in (1, 2):  # the second goes on in the same folder
        with Judge([hostile], extract, config=CONFIG, folder=tmp_path / "run") as judge:
            judge.begin(TrainerState(step, 9))
            judge(rollouts("raise", "#2", "\ud800" + "string"))
            judge(rollouts(*["raise"] * (QUARANTINE // 2 - 1)))
            assert judge.metrics["verifier/errors"] == QUARANTINE // 2
            assert len(judge.quarantine) == QUARANTINE // 2
    rows = read_jsonl(tmp_path / "run" / "quarantine.jsonl")
    assert len(rows) == QUARANTINE
    assert rows[0] == judge.quarantine[0] | {"step": 2}
    assert {row["step"] for row in rows} == {2, 3}
    assert {row["response"] for row in rows} == {"raise"}
    assert judge.metrics["verifier/errors"] == QUARANTINE // 2


def test_the_run_ends_at_the_first_error_or_the_rate(tmp_path: Path) -> None:
    strict = CONFIG.model_copy(update={"on_error": "raise"})
    with (
        Judge([hostile], extract, config=strict, folder=tmp_path) as judge,
        pytest.raises(
            UserError, match=r"the reward 'hostile' failed on an answer to question 'q' with ValueError: no; "
        ),
    ):
        judge(rollouts("#2", "raise"))
    assert [row["response"] for row in read_jsonl(tmp_path / "quarantine.jsonl")] == ["raise"]
    some = CONFIG.model_copy(update={"max_error_rate": 0.25})
    with Judge([hostile], extract, config=some, folder=tmp_path) as judge:
        judge(rollouts(*["raise"] * 4, *["#2"] * 12))
        with pytest.raises(UserError, match=r"'hostile' failed on 5 of 16 answers, first with ValueError: no; what it"):
            judge(rollouts(*["raise"] * 5, *["#2"] * 11))


def test_a_reward_that_always_hangs_is_not_waited_for_to_the_end() -> None:
    """It is clear after a tenth of the answers and one more that the run ends; `check` gives up after a few."""

    @reward
    def hangs(response: str) -> float:
        time.sleep(0.0 if response == "#2" else 60.0)
        return 1.0

    config = JudgeConfig(deadline=0.2, workers=2, max_error_rate=0.1)
    with Judge([hangs], extract, config=config) as judge:
        with pytest.raises(
            UserError, match=r"'hangs' failed on 3 of 24 answers \(21 more were not waited for\), first with it did not"
        ):
            judge(rollouts(*(f"#{i}" for i in range(3, 27))))
        assert [row["error"] == NOT_WAITED_FOR for row in judge.quarantine] == [False] * 3 + [True] * 21
        assert judge(rollouts("#2"))[0].reward == 1.0, "its processes are well again"
        problems = judge.check([replace(QUESTION, id=f"q{i}", answer=str(i)) for i in range(3, 67)], "#{answer}")
        assert 4 < len(problems) < 3 * 64  # of seven for each question; equal ones are asked about once
        assert not any("waited for" in problem for problem in problems)


def test_raising_at_once_says_so_also_of_the_first_of_many_answers() -> None:
    config = JudgeConfig(workers=1, on_error="raise")
    texts = ("raise", *(f"#{i}" for i in range(23)))
    with (
        Judge([hostile], extract, config=config) as judge,
        pytest.raises(UserError, match=r"with ValueError: no; mend it, or set `judge\.on_error` to zero or skip"),
    ):
        judge(rollouts(*texts))


def test_a_hanging_reward_is_looked_at_a_few_times_only() -> None:
    @reward
    def hangs(response: str) -> float:
        time.sleep(60.0)
        return 1.0

    with Judge([hangs], extract, config=JudgeConfig(deadline=0.2, workers=1)) as judge:
        failures = [verdict.failures["hangs"] for _, verdict in judge.look(QUESTION, [f"#{i}" for i in range(12)])]
    assert failures[:5] == ["it did not return within 0.2 s"] * 5
    assert set(failures[5:]) == {NOT_WAITED_FOR}


def test_a_sample_that_is_skipped_leaves_its_group() -> None:
    skipping = CONFIG.model_copy(update={"on_error": "skip"})
    other = Question("r", "1+1", "2", extras={"level": 3})
    drawn = [*rollouts("a", "raise", "b"), *rollouts("raise", "raise", question=other)]
    drawn += rollouts("c", expert="deliberate", question=other)
    with Judge([hostile], extract, config=skipping) as judge:
        assert [(s.rollout.text, s.reward) for s in judge(drawn)] == [("a", 1.0), ("b", 1.0)]  # nobody is left on r
        assert judge.metrics["verifier/errors"] == 3.0
        assert [s.right for s in judge.verify(drawn)] == [True, False, True, False, False, True]


def counting(folder: str) -> Reward:
    """A reward that is not pure: it leaves a file for each call."""

    @reward
    def counted(response: str) -> float:
        if response == "raise":
            raise ValueError("no")
        return float(bool(tempfile.mkstemp(dir=folder)))

    return counted


def test_equal_arguments_are_asked_about_once(tmp_path: Path) -> None:
    with Judge([counting(str(tmp_path))], extract, config=CONFIG) as judge:
        for _ in range(2):
            assert [s.reward for s in judge(rollouts("a", "b", "a", "raise", "a"))] == [1.0, 1.0, 1.0, 0.0, 1.0]
        assert len(list(tmp_path.iterdir())) == 2
        judge(rollouts("c", "a"))
        assert len(list(tmp_path.iterdir())) == 3


def test_what_cannot_be_sent_is_refused_at_once() -> None:
    lock = threading.Lock()

    def held(response: str) -> float:
        with lock:
            return 1.0

    with pytest.raises(
        UserError, match=r"task\.rewards: the reward 'held' cannot be sent to a worker process \(TypeErr"
    ):
        Judge([reward(held)], extract)
    (scored,) = Judge([reward(trusted=True)(held)], extract)(rollouts("a"))
    assert scored.reward == 1.0


def test_a_decorated_function_is_found_in_its_module_and_given_extract() -> None:
    halved = replace(of_its_module, run=replace(of_its_module.run, function=partial(of_its_module.function, scale=0.5)))
    for its, most in ((of_its_module, 1.0), (halved, 0.5)):
        with Judge([its], lambda text: text.removeprefix("="), config=CONFIG) as judge:
            assert [s.reward for s in judge(rollouts("=2", "=3"))] == [most, 0.0]


def test_trusted_rewards_start_no_process_and_none_is_left_behind() -> None:
    mine = psutil.Process()
    before = {child.pid for child in mine.children(recursive=True)}

    def started() -> set[int]:
        found = set()
        for child in mine.children(recursive=True):
            with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # they have ended
                found |= {child.pid} if "resource_tracker" not in " ".join(child.cmdline()) else set()
        return found - before

    with Judge(["exact_answer", "number_answer", "yes_no_answer"], extract) as judge:
        judge(rollouts("#2"))
        assert not started()
    with Judge([hostile], extract, config=CONFIG) as judge:
        judge(rollouts("#2", "os._exit", "fork and stay", "sleep"))
        assert started()
    until = time.monotonic() + 10
    while started() and time.monotonic() < until:
        time.sleep(0.05)
    assert not started()
    assert not math.isnan(judge(rollouts("#2"))[0].reward)  # and it can be asked again
    judge.close()


@pytest.mark.parametrize("policy", ["zero", "skip"])
def test_a_run_goes_on_over_bad_answers(policy: str, tmp_path: Path) -> None:
    recipe = parse(
        {
            **RECIPE,
            "output": str(tmp_path),
            "rewards": ["exact_answer", "misbehaving:odd"],
            "judge": {"on_error": policy, "max_error_rate": 1.0, "workers": 1},
            "checkpoint": {"every": 1},
            "seed": 2,
        }
    )
    folder = train(recipe).folder
    kept = read_jsonl(folder / "quarantine.jsonl")
    lines = read_jsonl(folder / "metrics.jsonl")
    assert {row["error"] for row in kept} == {"ValueError: odd"}
    for line in lines:
        assert len([row for row in kept if row["step"] == line["step"]]) == line["verifier/errors"]
        assert line["sampled_tokens"] > 0  # all that was drawn, also what was left out
    append_jsonl(folder / "quarantine.jsonl", kept[0] | {"step": 3})  # of a step that was interrupted
    (folder / "result.json").unlink()
    milder = recipe.model_copy(update={"judge": JudgeConfig(max_error_rate=1.0, workers=1)})
    assert train(milder, resume=True).folder == folder
    assert read_jsonl(folder / "quarantine.jsonl") == kept


def test_a_step_of_which_nothing_is_left(tmp_path: Path) -> None:
    judge = {"on_error": "skip", "max_error_rate": 1.0, "workers": 1}
    rewards = ["exact_answer", "misbehaving:always"]
    result = train(parse({**RECIPE, "output": str(tmp_path), "rewards": rewards, "judge": judge}))
    assert all(line["sampled_tokens"] > 0 for line in read_jsonl(result.folder / "metrics.jsonl"))
