"""The jobs that both sides do: a model folder, questions in asking order, a reward, lengths, a learning rate.

    warm    the demo's shipped checkpoint on its arithmetic: answers end by themselves, some groups have no signal
    worst   4.9 M parameters from random weights, every answer runs to full length, every group has a signal
    m25     the same with 25.8 M parameters

Both sides build their job from here, in processes of their own, so that neither can be given other questions.
"""

from __future__ import annotations

import random
import string
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from manyminds import shipped
from manyminds.config import Recipe, load_recipe
from manyminds.records import PLAIN, Question, Rollout, Scored

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
CHARACTERS = string.printable + "×"
NEVER = (-1,)
"""Stop ids that no model draws: every answer runs to full length."""

TrlReward = Callable[[str, str, Sequence[int]], float]


@dataclass(frozen=True)
class Workload:
    """One job. `hidden` 0 means the shipped checkpoint and the embedded task; otherwise a Llama from random weights.

    A process takes `warm` steps, and then `timed` ones in each of the `pairs`. `trl_rows` are the answers in TRL's
    micro-batch by precision (0: all), `trl_best` the precision in which it is faster: what `step_vs_trl.py --tune`
    found. manyminds derives its own.
    """

    name: str
    questions: int
    answers: int
    new_tokens: int
    lr: float
    warm: int
    timed: int
    pairs: int = 1
    hidden: int = 0
    layers: int = 0
    heads: int = 0
    prompt_tokens: int = 0
    parameters: int = 0
    trl_rows: dict[str, int] = field(default_factory=lambda: {"float32": 0, "mixed": 0})
    trl_best: str = "float32"

    @property
    def full_length(self) -> bool:
        return self.hidden > 0

    @property
    def experts(self) -> int:
        return 1 if self.full_length else 3

    @property
    def prompts(self) -> int:
        """Prompts in a step: a group each."""
        return self.questions * self.experts

    @property
    def completions(self) -> int:
        return self.prompts * self.answers

    @property
    def steps(self) -> int:
        return self.warm + self.timed * self.pairs


# TRL's settings are the fastest that --tune found, on one thread and by processor time. Worth knowing: its bf16 slows
# generation down, so it pays only where the update is most of the step.
WORKLOADS = {
    one.name: one
    for one in (
        Workload("warm", questions=12, answers=8, new_tokens=60, lr=6e-4, warm=2, timed=4),
        Workload(
            name="worst",
            questions=8,
            answers=8,
            new_tokens=128,
            lr=3e-4,
            warm=2,
            timed=1,
            hidden=256,
            layers=6,
            heads=8,
            prompt_tokens=47,
            parameters=4_847_104,
            trl_rows={"float32": 16, "mixed": 0},
        ),
        Workload(
            name="m25",
            questions=4,
            answers=8,
            new_tokens=128,
            lr=3e-4,
            warm=2,
            timed=1,
            hidden=512,
            layers=8,
            heads=8,
            prompt_tokens=47,
            parameters=25_752_576,
            trl_rows={"float32": 16, "mixed": 16},
            trl_best="mixed",
        ),
    )
}


def tiny(workload: Workload) -> Workload:
    """The same job cut down to seconds, to try the script itself. Its figures mean nothing."""
    small = replace(workload, questions=2, answers=4, warm=1, timed=1, trl_rows={"float32": 0, "mixed": 0})
    if not workload.full_length:
        return small
    return replace(small, new_tokens=8, hidden=32, layers=2, heads=2, prompt_tokens=9, parameters=0)


def describe(workload: Workload) -> dict[str, Any]:
    """The workload as plain data, with what follows from its fields."""
    return asdict(workload) | {"prompts": workload.prompts, "completions": workload.completions}


@dataclass(frozen=True)
class Job:
    """A workload ready to run. `questions` are rendered, in asking order, as many as all steps need.

    `conversations` holds the same prompts as TRL takes them, one per question and expert: a list of messages, or text.
    `judge` scores a step's answers for manyminds, `reward(question id, text, ids)` one answer for TRL.
    """

    workload: Workload
    questions: tuple[Question, ...]
    experts: tuple[str, ...]
    conversations: tuple[Any, ...]
    judge: Callable[[Sequence[Rollout]], tuple[Scored, ...]]
    reward: TrlReward

    @property
    def prompt_ids(self) -> list[list[int]]:
        """The ids of every prompt, in the order of `conversations`."""
        return [list(question.prompt_ids[expert]) for question in self.questions for expert in self.experts]

    @property
    def question_ids(self) -> list[str]:
        """The question of every prompt, in the order of `conversations`."""
        return [question.id for question in self.questions for _ in self.experts]


def model_folder(workload: Workload, place: Path) -> Path:
    """The workload's Hugging Face folder: the shipped checkpoint, or one written to `place`."""
    if not workload.full_length:
        (found,) = (shipped.quick_checkpoint() / "checkpoints").glob("step-*/model")
        return found
    return random_model(workload, place / workload.name)


def random_model(workload: Workload, folder: Path) -> Path:
    """Writes a Llama from random weights, with a vocabulary of single characters, and returns its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    words = character_tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=workload.hidden,
        intermediate_size=workload.hidden * 11 // 4,
        num_hidden_layers=workload.layers,
        num_attention_heads=workload.heads,
        num_key_value_heads=workload.heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        dtype="float32",
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    count = sum(p.numel() for p in model.parameters())
    if workload.parameters and count != workload.parameters:
        raise ValueError(f"{workload.name} has {count} parameters, not {workload.parameters}")
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def character_tokenizer() -> Any:
    """105 tokens: four special ones and one per character; text becomes exactly its characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *CHARACTERS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=256,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def recipe() -> Recipe:
    """The demo's recipe: task, experts, optimiser and lengths of `warm`."""
    return load_recipe(shipped.demo_recipe())


def job(workload: Workload, tokenizer: Any) -> Job:
    """The workload's questions, enough for all its steps, and its rewards."""
    return random_job(workload, tokenizer) if workload.full_length else arithmetic_job(workload, tokenizer)


def arithmetic_job(workload: Workload, tokenizer: Any) -> Job:
    """Training questions of the demo, shuffled as `manyminds train` shuffles them, asked of every expert in turn."""
    from manyminds.experts.rendering import Renderer
    from manyminds.loading import QuestionStream, load_questions
    from manyminds.rewards.judge import Judge

    task, experts, its = load_questions(recipe())
    renderer = Renderer(tokenizer, tokenizer.model_max_length, workload.new_tokens)
    asked = islice(QuestionStream(task.splits["train"], its.seed), workload.questions * workload.steps)
    questions = tuple(renderer.render(question, experts) for question in asked)
    systems = [{"role": "system", "content": expert.system} for expert in experts]
    conversations = tuple([system, {"role": "user", "content": q.text}] for q in questions for system in systems)
    judge = Judge(task.rewards, task.extract)
    by_id = {question.id: question for question in questions}

    def reward(question_id: str, text: str, ids: Sequence[int]) -> float:
        return judge.score(by_id[question_id], text)

    return Job(workload, questions, tuple(expert.name for expert in experts), conversations, judge, reward)


def random_job(workload: Workload, tokenizer: Any) -> Job:
    """Random text as questions, and rewards that give every answer of every group an advantage."""
    rng = random.Random(workload.name)
    letters = string.ascii_letters + string.digits
    count = workload.questions * workload.steps
    texts = ["".join(rng.choices(letters, k=workload.prompt_tokens)) for _ in range(count)]
    questions = tuple(
        Question(id=str(i), text=text, answer="", prompt_ids={PLAIN: tuple(tokenizer(text)["input_ids"])})
        for i, text in enumerate(texts)
    )

    def judge(rollouts: Sequence[Rollout]) -> tuple[Scored, ...]:
        return tuple(Scored(one, chance(one.ids)) for one in rollouts)

    return Job(workload, questions, (PLAIN,), tuple(texts), judge, lambda question, text, ids: chance(ids))


def chance(ids: Sequence[int]) -> float:
    """A number in [0, 1) that depends on the ids alone: no two answers of a group have the same, none has its mean."""
    return zlib.crc32(",".join(map(str, ids)).encode()) / 2**32
