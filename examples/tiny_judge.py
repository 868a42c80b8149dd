"""A small judge that can be made anywhere: it reads a reference answer in words and a response in digits.

    python examples/tiny_judge.py runs/tiny_judge

writes a Hugging Face folder for `generative_verifier`, and into it questions.jsonl: 400 questions of the embedded task
whose answers are spelled ("three seven three remainder one"), so that no rule on the text of the answer can check them.
A rule that knows how they were spelled, `oracle`, labels worked answers, right ones and spoilt ones, and a transformer
of 90,000 weights learns to say YES or NO after them. recipes/reward_bridge_arithmetic.yaml trains with it.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from manyminds.rewards.last_line import last_line
from manyminds.tasks import SPLITS, load_task

DIGITS = "0123456789"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "remainder")
NAMES = dict(zip(f"{DIGITS}r", WORDS, strict=True))
TEMPLATE = "{{ messages[0]['content'] }}="
PROMPT = "{response}|{answer}"
"""What the judge is asked: the recipe's `prompt`, with `quote: false`."""
STEPS, ROWS, RATE = 1200, 64, 3e-3


def spelled(answer: str) -> str:
    """373r1 as "three seven three remainder one"."""
    return " ".join(NAMES[sign] for sign in answer)


def said(response: str) -> str | None:
    """What stands behind the only # of the last line, in digits; None if there is no such thing."""
    parts = last_line(response).split("#")
    if len(parts) != 2:
        return None
    signs = {name: sign for sign, name in NAMES.items()}
    return "".join(signs.get(word, word) for word in parts[1].split())


def oracle(response: str, answer: str) -> bool:
    """Whether a response comes to the answer, which is spelled; the response may have it in digits or in words."""
    return said(response) == said(f"#{answer}")


def questions() -> list[dict[str, str]]:
    """400 questions, drawn with another seed than those the shipped model has learnt."""
    splits = load_task("arithmetic", seed=1, warmup=0, train=400, validation=0, test=0).splits
    its = [question for name in SPLITS for question in splits[name]]
    return [{"id": f"s{i:03}", "question": one.text, "answer": spelled(one.answer)} for i, one in enumerate(its)]


def worked(seed: int = 2) -> list[tuple[str, str]]:
    """Worked answers of the task's experts and what they come to."""
    splits = load_task("arithmetic", seed=seed, warmup=3000, train=1, validation=1, test=1).splits
    return [(trace.text, one.answer) for one in splits["warmup"] for trace in one.traces.values()]


def spoilt(text: str, answer: str, other: str, rng: random.Random) -> str:
    """The worked answer as a policy might write it: right as it is, or wrong in one of the usual ways. `other` is the
    worked answer to another question."""
    working, digits = text.partition("#")[0], answer
    place, more = rng.randrange(len(digits)), rng.randrange(len(digits) + 1)
    sign = rng.choice([sign for sign in NAMES if sign != digits[place]])
    ways: list[Callable[[], str]] = [
        lambda: other,
        lambda: f"{working}#{''.join(rng.choice(DIGITS) if one in DIGITS else one for one in digits)}",
        lambda: f"{working}#{digits[:place]}{sign}{digits[place + 1 :]}",
        lambda: f"{working}#{digits[:place]}{digits[place + 1 :]}",
        lambda: f"{working}#{digits[:more]}{sign}{digits[more:]}",
        lambda: f"{working}#{''.join(rng.sample(digits, len(digits)))}",
        lambda: rng.choice([f"{working}{digits}", f"{working}#{digits}#{digits[:place]}{sign}"]),
        lambda: "".join(rng.choices("0123456789+-*/=#:,rcds", k=rng.randrange(1, 20))),
    ]
    made = rng.choice(ways)() if rng.random() < 0.5 else f"{working}#{digits}"
    if rng.random() < 0.15:  # in words, which the judge must know too
        head, mark, tail = made.rpartition("#")
        made = f"{head}{mark} {spelled(''.join(one for one in tail if one in NAMES))}"
    return made


def rows(seed: int) -> Iterator[tuple[str, list[bool]]]:
    """Prompts without end; with each, whether the response begins like the reference as far as each of its words, and
    at last whether it is right, which is the label."""
    rng, texts = random.Random(seed), worked()
    for row in count():
        (text, answer), (other, _) = rng.choice(texts), rng.choice(texts)
        response, reference = spoilt(text, answer, other, rng), spelled(answer)
        if row // ROWS % 3:  # two batches of three are short, which is where most is learnt for the time
            working, mark, rest = response.partition("#")
            response = working[-rng.randrange(1, 8) :] + mark + rest
        come = said(response) or ""
        begins = [come[:n] == answer[:n] for n in range(1, len(answer) + 1)]
        yield PROMPT.format(response=response, answer=reference), [*begins, oracle(response, reference)]


def words() -> Any:
    """A tokenizer with a token for a character, for a spelled one, and for each label; blanks are none."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    from manyminds.tasks.arithmetic_model import BOS, CHARACTERS, EOS, PAD, UNKNOWN, wrapped

    known = [PAD, BOS, EOS, UNKNOWN, "YES", "NO", "|", *CHARACTERS, *WORDS]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token=UNKNOWN))
    each = pre_tokenizers.Split(Regex("|".join(["YES", "NO", *WORDS, r"[\s\S]"])), behavior="isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), each])
    return wrapped(core, TEMPLATE)


def taught(folder: Path, steps: int = STEPS, seed: int = 0) -> float:
    """Writes the judge; returns its accuracy on prompts that it did not see.

    It learns the label at the end, and after each word of the reference whether the response begins so; without that it
    would take many times as long to find out what is to be compared.
    """
    import torch

    from manyminds.loading import load_model
    from manyminds.policy.first_token import likeliest
    from manyminds.tasks.arithmetic_model import write

    tokenizer = words()
    # Five times the usual range: with embeddings as small as those, words and digits are told apart much later.
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "initializer_range": 0.1}
    write(folder, tokenizer, seed, **shape, num_attention_heads=4, num_key_value_heads=4)
    model, _ = load_model(folder, seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    no, yes = tokenizer.convert_tokens_to_ids(["NO", "YES"])
    stream = rows(seed)

    def some(n: int) -> list[tuple[tuple[int, ...], list[bool]]]:
        its = [next(stream) for _ in range(n)]
        return [(tuple(tokenizer.encode(f"{text}=", add_special_tokens=False)), right) for text, right in its]

    for step in range(steps):
        batch = some(ROWS)
        width = max(len(ids) for ids, _ in batch)
        tokens, targets = torch.zeros(ROWS, width, dtype=torch.long), torch.full((ROWS, width), -100)
        for row, (ids, right) in enumerate(batch):
            tokens[row, : len(ids)] = torch.tensor(ids)
            targets[row, len(ids) - len(right) : len(ids)] = torch.tensor([yes if one else no for one in right])
        logits = model(input_ids=tokens.to(model.device)).logits  # what is padded stands behind all that counts
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten().to(model.device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if sys.stderr.isatty() and step % 20 == 0:
            print(f"\rstep {step} of {steps}, loss {loss.item():.3f}", end="", file=sys.stderr)
    model.eval().save_pretrained(folder)
    fresh = some(1000)
    heard = likeliest(model, [ids for ids, _ in fresh], [(no,), (yes,)], 100)
    return sum(which == right[-1] for (which, _), (_, right) in zip(heard, fresh, strict=True)) / len(fresh)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    place = Path(sys.argv[1])
    print(f"{100 * taught(place):.1f} % of 1,000 new prompts are judged as the rule does")
    text = "".join(json.dumps(row) + "\n" for row in questions())
    (place / "questions.jsonl").write_text(text, encoding="utf-8")
    print(f"the judge and questions.jsonl are in {place}")
