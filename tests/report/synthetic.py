"""Synthetic but coherent run folders: every metric is computed from the answers that stand beside it.

`python tests/report/synthetic.py FOLDER` writes one to look at.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

EXPERTS = ("concise", "deliberate", "structured")
PROMPTS = ("plain", *EXPERTS)
FAMILIES = ("addition", "division", "multiplication")
G = 8

SKILL = {  # the chance that a prompt answers right, by family, before and after each arm
    "warmup": {
        "plain": (0.70, 0.22, 0.45),
        "concise": (0.80, 0.46, 0.24),
        "deliberate": (0.72, 0.08, 0.55),
        "structured": (0.88, 0.14, 0.72),
    },
    "grpo_all_experts": {
        "plain": (0.80, 0.25, 0.50),
        "concise": (0.88, 0.52, 0.30),
        "deliberate": (0.84, 0.10, 0.64),
        "structured": (0.93, 0.20, 0.84),
    },
    "meml_grpo": {
        "plain": (0.93, 0.44, 0.83),
        "concise": (0.95, 0.50, 0.82),
        "deliberate": (0.94, 0.40, 0.80),
        "structured": (0.96, 0.42, 0.88),
    },
}
STYLE_KEPT = {"warmup": 0.96, "grpo_all_experts": 0.97, "meml_grpo": 0.22}


def write_demo(folder: Path, *, questions: int = 60, updates: int = 48, seed: int = 0, hostile: bool = False) -> Path:
    """Write warmup/, grpo_all_experts/ and meml_grpo/ into `folder`; `hostile` puts live HTML into answers."""
    asked = _questions(questions, seed)
    before = _evaluation(asked, "warmup", 0, seed, hostile)
    for arm in SKILL:
        run = folder / arm
        (run / "evaluation").mkdir(parents=True)
        warm = arm == "warmup"
        after = before if warm else _evaluation(asked, arm, updates, seed, hostile, earlier=before)
        if not warm:
            _json(run / "evaluation" / "before.json", before)
        _json(run / "evaluation" / "after.json", after)
        steps = [_warmup_step(i) for i in range(1, updates + 1)] if warm else _steps(arm, updates, seed)
        _jsonl(run / "metrics.jsonl", steps)
        _jsonl(run / "evaluations.jsonl", _curve(arm, updates, seed))
        _json(run / "versions.json", {"python": "3.11.9", "torch": "2.13.0", "manyminds": "0.1.0", "machine": "x86_64"})
        _json(run / "result.json", _result(arm, seed, after))
        experts = "".join(f"  - name: {e}\n    system: Answer in the {e} way.\n" for e in EXPERTS)
        (run / "recipe.yaml").write_text(f"name: {arm}\nseed: {seed}\nupdates: {updates}\nexperts:\n{experts}")
    return folder


def _questions(n: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    made = []
    for i in range(n):
        family = FAMILIES[i % 3]
        a, b, d = rng.randint(100, 899), rng.randint(100, 899), rng.randint(2, 9)
        if family == "addition":
            text, answer = f"{a}+{b}", str(a + b)
        elif family == "division":
            text, answer = f"{a}/{d}", f"{a // d}r{a % d}"
        else:
            text, answer = f"{a}*{d}", str(a * d)
        made.append({"id": f"test-{i}", "question": text, "answer": answer, "family": family})
    return made


def _answer(question: dict[str, Any], correct: bool, style: str, rng: random.Random, hostile: bool) -> dict[str, Any]:
    value = question["answer"] if correct else str(rng.randint(100, 999))
    work = ",".join(str(rng.randint(1, 99)) for _ in range(3))
    text = f"{style[0]}{work}#{value}" + ("<script>alert('x')</script>" if hostile else "")
    return {"text": text, "correct": correct, "style": style}


def _evaluation(
    asked: list[dict[str, Any]],
    arm: str,
    step: int,
    seed: int,
    hostile: bool,
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    rng = random.Random(f"{arm}{seed}")
    answers = []
    for i, question in enumerate(asked):
        family = FAMILIES.index(question["family"])
        greedy, right = {}, {}
        for prompt in PROMPTS:
            chance = SKILL[arm][prompt][family]
            was = earlier["answers"][i]["greedy"][prompt]["correct"] if earlier else None
            if was is not None:  # what was known is mostly kept
                chance = 0.5 * chance + 0.5 if was else 0.85 * chance
            correct = rng.random() < chance
            own = "structured" if prompt == "plain" else prompt
            style = own if rng.random() < STYLE_KEPT[arm] else "structured"
            greedy[prompt] = _answer(question, correct, style, rng, hostile)
            if prompt != "plain":
                right[prompt] = [sum(rng.random() < (0.9 if correct else 0.1) for _ in range(G)), G]
        answers.append({**question, "greedy": greedy, "right": right})
    metrics = _metrics(answers, rng)
    return {
        "split": "test",
        "step": step,
        "experts": list(EXPERTS),
        "questions": len(answers),
        "num_tokens": 2500 * step,
        "metrics": metrics,
        "answers": answers,
    }


def _metrics(answers: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    def right(prompt: str) -> list[float]:
        return [float(a["greedy"][prompt]["correct"]) for a in answers]

    by = {e: right(e) for e in EXPERTS}
    share = {e: sum(v) / len(v) for e, v in by.items()}
    rows = list(zip(*by.values(), strict=True))
    groups = [kn for a in answers for kn in a["right"].values()]
    pooled = [sum(k for k, _ in a["right"].values()) for a in answers]
    values = {
        "plain": right("plain"),
        "mean": [sum(r) / len(r) for r in rows],
        "worst": by[min(share, key=share.__getitem__)],
        "best": by[max(share, key=share.__getitem__)],
        "vote": [float(sum(r) >= 2) for r in rows],
        "oracle": [float(any(r)) for r in rows],
        "pass_at_8": [float(k > 0) for k, _ in groups],
        "pooled_pass_at_24": [float(k > 0) for k in pooled],
        "all_wrong": [float(k == 0) for k, _ in groups],
        "all_right": [float(k == n) for k, n in groups],
        "pooled_all_wrong": [float(k == 0) for k in pooled],
        **{f"experts/{e}": v for e, v in by.items()},
    }
    metrics: dict[str, Any] = {key: _bootstrap(v, rng) for key, v in values.items()}
    for prompt in PROMPTS:
        used = [a["greedy"][prompt]["style"] for a in answers]
        metrics |= {f"styles/{prompt}/{s}": {"value": used.count(s) / len(used)} for s in EXPERTS}
    return metrics


def _bootstrap(values: list[float], rng: random.Random) -> dict[str, float]:
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(100))
    return {"value": sum(values) / len(values), "low": means[2], "high": means[97]}


def _chance(arm: str, prompt: str, share: float) -> float:
    """The accuracy of a prompt, averaged over families, `share` of the way through training."""
    start, end = (sum(SKILL[a][prompt]) / 3 for a in ("warmup", arm))
    return start * share if arm == "warmup" else start + (end - start) * share**1.4


def _curve(arm: str, updates: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"curve{arm}{seed}")
    lines = []
    for k in range(0 if arm != "warmup" else 1, 9):
        accuracy = {p: min(1.0, max(0.0, _chance(arm, p, k / 8) + rng.gauss(0, 0.015))) for p in PROMPTS}
        metrics = {"plain": accuracy["plain"], "mean": sum(accuracy[e] for e in EXPERTS) / 3}
        metrics |= {f"experts/{e}": accuracy[e] for e in EXPERTS}
        wrapped = {key: {"value": v, "low": v - 0.06, "high": v + 0.06} for key, v in metrics.items()}
        lines.append({"step": updates * k // 8, "split": "validation", "num_tokens": 2500 * k, "metrics": wrapped})
    return lines


def _warmup_step(i: int) -> dict[str, Any]:
    return {
        "step": i,
        "kind": "warmup",
        "loss/trace": 2.0 / (1 + i / 10),
        "grad_norm": 1.0,
        "lr": 0.008,
        "step_time": 0.03,
    }


def _steps(arm: str, updates: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(f"steps{arm}{seed}")
    lines, size = [], 0
    for i in range(1, updates + 1):
        skill = {e: _chance(arm, e, i / updates) for e in EXPERTS}
        wrong = {e: min(1.0, max(0.0, 0.75 * (1 - s) + rng.gauss(0, 0.08))) for e, s in skill.items()}
        right = {e: min(1.0 - wrong[e], max(0.0, 0.6 * s + rng.gauss(0, 0.06))) for e, s in skill.items()}
        mean_wrong, mean_right = (sum(x.values()) / 3 for x in (wrong, right))
        line: dict[str, Any] = {
            "step": i,
            "kind": "train",
            "reward": sum(skill.values()) / 3,
            "groups/all_wrong": mean_wrong,
            "groups/all_right": mean_right,
            "groups/mixed": 1 - mean_wrong - mean_right,
            "groups/pooled_all_wrong": max(0.0, min(wrong.values()) - 0.1),
            "num_tokens": 5200 * i,
            "step_time": 0.25,
        }
        line |= {f"experts/{e}/frac_all_wrong": wrong[e] for e in EXPERTS}
        line |= {f"experts/{e}/frac_all_right": right[e] for e in EXPERTS}
        if arm == "meml_grpo":
            taught = _taught(skill, rng)
            line |= {"mutual/pairs": sum(taught.values()), "mutual/gap": 0.4}
            line |= {f"mutual/pairs/{a}->{b}": n for (a, b), n in taught.items()}
            inserts = rng.randint(2, 6) if i < updates // 2 else rng.randint(0, 3)
            size, flushed = (size + inserts - 64, 1) if size + inserts >= 64 else (size + inserts, 0)
            line |= {"hard_buffer/size": size, "hard_buffer/inserts": inserts, "hard_buffer/flushes": flushed}
        lines.append(line)
    return lines


PARTS = {  # mean seconds of a step's parts
    "grpo_all_experts": (0.012, 0.118, 0.003, 0.036, 0.071, 0.004, 0.0001, 0.006),
    "meml_grpo": (0.012, 0.121, 0.003, 0.049, 0.094, 0.004, 0.0001, 0.011),
}
NAMES = ("prefill", "decode", "checks", "logprobs", "backward", "optimizer", "sync", "other")


def add_profile(run: Path, seed: int = 0) -> None:
    """Adds to every step of a written run what `profile: true` would have logged."""
    rng = random.Random(seed)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        took = {n: s * rng.uniform(0.9, 1.1) for n, s in zip(NAMES, PARTS[run.name], strict=True)}
        sampling, update = took["prefill"] + took["decode"], took["logprobs"] + took["backward"] + took["optimizer"]
        line |= {f"profile/{name}_s": seconds for name, seconds in took.items()}
        line |= {"sampled_tokens": 5200, "trained_tokens": 6100}
        line |= {"profile/sampled_tokens_per_s": 5200 / sampling, "profile/trained_tokens_per_s": 6100 / update}
        line |= {"profile/decode_limit_share": 0.05 / sampling, "profile/update_limit_share": 0.06 / update}
    _jsonl(run / "metrics.jsonl", lines)


def _taught(skill: dict[str, float], rng: random.Random) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for _ in range(4):
        seen = {e: s + rng.gauss(0, 0.2) for e, s in skill.items()}
        pair = max(seen, key=seen.__getitem__), min(seen, key=seen.__getitem__)
        found[pair] = found.get(pair, 0) + 1
    return found


def _result(arm: str, seed: int, after: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "demo",
        "arm": arm,
        "seed": seed,
        "sampled_tokens": {"warmup": 0, "grpo_all_experts": 2_412_310, "meml_grpo": 2_409_877}[arm],
        "trained_tokens": 1_000_000,
        "teacher_tokens": 0,
        "traces_used": 0,
        "seconds": {"warmup": 74.2, "grpo_all_experts": 118.4, "meml_grpo": 132.0}[arm],
        "metrics": after["metrics"],
    }


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def _jsonl(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


ABLATION = {
    "outcome": "mean",
    "differences": [13.7, 13.9, 6.1, 24.9, 29.4, 11.2, 19.8, 15.0, 9.4, 21.3],
    "difference": 16.5,
    "low": 11.5,
    "high": 21.4,
    "seeds": 10,
}


if __name__ == "__main__":
    made = write_demo(Path(sys.argv[1]), questions=300, updates=480)
    for name in PARTS:
        add_profile(made / name)
    print(made)
