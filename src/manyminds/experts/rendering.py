"""Puts questions to experts as token ids: chat template, system message, turns, worked answers, room for the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from manyminds.errors import UserError
from manyminds.experts.letters import Letters
from manyminds.experts.templates import HELD, closing_ids, own_system, prints_date, template_errors, template_of
from manyminds.records import PLAIN, Expert, Ids, Question

NO_SYSTEM_ROLE = (
    "The model's chat template has no system role: each expert's system message is put before the question, "
    "in the user's turn."
)
NO_TEMPLATE = (
    "The model's tokenizer has no chat template: a prompt is the expert's system message, an empty line, the "
    "question and a line break."
)
DATED = (
    f"The model's chat template prints today's date; here it is always {HELD:%d %b %Y}, so that prompts stay as they "
    "are."
)
OWN_SYSTEM = (
    "Without a system message the model's chat template writes its own, {!r}: the plain prompt has it, the experts' "
    "messages stand in its place."
)

NO_TEMPLATE_TURNS = (
    "The model's tokenizer has no chat template: the turns of a conversation follow one another with an empty line "
    "between, and nothing says whose they are."
)

TWO_SYSTEM_MESSAGES = (
    "Questions have a system message of their own: an expert's stands before it, an empty line between, and the plain "
    "prompt has the question's own."
)


@runtime_checkable
class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    chat_template: Any
    eos_token_id: Any

    def encode(self, text: str, *, add_special_tokens: bool) -> Any: ...

    def decode(self, token_ids: Any) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


class Renderer:
    """Renders for one tokenizer; `notes` holds, once each, what the user should know about the prompts.

    `context` is the model's longest sequence and `max_tokens` the room kept in it for an answer, in tokens; `options`
    are handed to the chat template; `words`, if given, is how many tokens the model knows; `form`, if given, is how the
    task writes a final answer ("#### {answer}"), and questions have the ids of theirs. Where a conversation has a
    system message of its own, the expert's stands before it, an empty line between.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        context: int,
        max_tokens: int = 1,
        options: Mapping[str, Any] | None = None,
        words: int | None = None,
        form: str | None = None,
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise UserError(
                "model: its tokenizer has no end-of-sequence token, so answers cannot end; name one as `eos_token` in "
                "its tokenizer_config.json"
            )
        self.tokenizer = tokenizer
        self.template = template_of(tokenizer)
        self.context = context
        self.max_tokens = max_tokens
        self.words = words
        self.form = form
        self.options = dict(options or {})
        self._notes: list[str] = []
        self._letters = Letters(tokenizer)
        self._keeps_system: dict[str, bool] = {}
        self.closing = end_of_answer(tokenizer, self.options)
        if self.template:
            self._tell_of(self.template)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the prompts so far, a sentence each; counts are of rendered questions."""
        return [*self._notes, *filter(None, [self._letters.note])]

    def prompt_ids(self, question: Question, expert: Expert) -> Ids:
        """The ids after which the expert's answer begins."""
        if expert.system and any(role == "system" for role, _ in question.messages):
            self._note(TWO_SYSTEM_MESSAGES)
        if not self.template:
            _, turns = conversation(question, expert)
            self._note(NO_TEMPLATE if len(turns) == 1 else NO_TEMPLATE_TURNS)
            ids = _ids(self.tokenizer.encode(written(question, expert) + "\n", add_special_tokens=True))
            # Some tokenizers also close what they encode; nothing may stand between a prompt and its answer.
            return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids
        try:
            rendered = _ids(
                self.tokenizer.apply_chat_template(
                    self._messages(question, expert),
                    chat_template=self.template,
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=False,
                    **self.options,
                )
            )
        except template_errors() as error:
            place = f" ({question.source})" if question.source else ""
            raise UserError(
                f"model: its chat template cannot render question {question.id!r}{place}: {error}; mend it in the "
                "model's folder, or leave out what it refuses"
            ) from error
        if not rendered:
            raise UserError(
                f"model: its chat template makes nothing of question {question.id!r}; mend it in the model's folder"
            )
        return rendered

    def solution_ids(self, text: str) -> Ids:
        """A worked answer as the policy would have to write it: its ids and the token that ends an answer."""
        return (*self.encode(text), self.closing)

    def encode(self, text: str) -> Ids:
        """The ids of a text by itself, nothing added."""
        return _ids(self.tokenizer.encode(text, add_special_tokens=False))

    def render(self, question: Question, experts: Iterable[Expert]) -> Question:
        """The question with its prompt for every expert and for `PLAIN`, and the ids of all worked answers.

        UserError if one of them has a token that the model does not know.
        """
        asked = (*experts, Expert(PLAIN))
        prompts = {expert.name: self.prompt_ids(question, expert) for expert in asked}
        self._letters.look(question, {e.name: (written(question, e), prompts[e.name]) for e in asked})
        solution_ids = self.solution_ids(question.solution) if question.solution else ()
        traces = {name: replace(t, ids=self.solution_ids(t.text)) for name, t in question.traces.items()}
        marker_ids, answer_ids = self.final_ids(question.answer) if self.form else ((), ())
        worked = (trace.ids for trace in traces.values())
        self._check_words([*prompts.values(), solution_ids, *worked, marker_ids, answer_ids])
        return replace(
            question,
            prompt_ids=prompts,
            solution_ids=solution_ids,
            traces=traces,
            marker_ids=marker_ids,
            answer_ids=answer_ids,
        )

    def final_ids(self, answer: str) -> tuple[Ids, Ids]:
        """What the task writes before a final answer, and the answer. A space between them is the answer's where the
        tokenizer has one token for it and the answer's beginning."""
        before = (self.form or "").partition("{answer}")[0]
        whole = self.encode(before + answer)
        for marker in (self.encode(before), self.encode(before.rstrip())):
            if whole[: len(marker)] == marker and len(whole) > len(marker):
                return marker, whole[len(marker) :]
        return self.encode(before), self.encode(answer)  # marker and answer share a token

    def _check_words(self, rows: Iterable[Ids]) -> None:
        unknown = max((token for ids in rows for token in ids), default=0)
        if self.words is not None and unknown >= self.words:
            raise UserError(
                f"model: its tokenizer has the token {self.tokenizer.decode([unknown])!r} ({unknown}), but the model "
                f"knows only {self.words}; take the tokenizer that belongs to it, or give it the token with "
                "`resize_token_embeddings` and save it"
            )

    def _messages(self, question: Question, expert: Expert) -> list[dict[str, str]]:
        """The conversation as the template gets it: one system message or none, then the turns."""
        system, turns = conversation(question, expert)
        messages = [{"role": role, "content": content} for role, content in turns]
        if not system:
            return messages
        if self.has_system_role(system):
            return [{"role": "system", "content": system}, *messages]
        self._note(NO_SYSTEM_ROLE)
        if turns[0][0] != "user":
            return [{"role": "user", "content": system}, *messages]
        return [{"role": "user", "content": f"{system}\n\n{turns[0][1]}"}, *messages[1:]]

    def has_system_role(self, system: str) -> bool:
        """Whether the template prints this system message; some refuse the role, some leave it out silently."""
        if system not in self._keeps_system:
            probe = [{"role": "system", "content": system}, {"role": "user", "content": "question"}]
            try:
                text = self.tokenizer.apply_chat_template(
                    probe, chat_template=self.template, add_generation_prompt=True, tokenize=False, **self.options
                )
                self._keeps_system[system] = system.strip() in text
            except template_errors():
                self._keeps_system[system] = False
        return self._keeps_system[system]

    def _tell_of(self, template: str) -> None:
        """Notes what the template does of its own accord."""
        if prints_date(self.tokenizer, template, self.options):
            self._note(DATED)
        if own := own_system(self.tokenizer, template, self.options):
            self._note(OWN_SYSTEM.format(own if len(own) <= 80 else f"{own[:79]}…"))

    def _note(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)


def conversation(question: Question, expert: Expert) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The system message, the expert's and then the conversation's own; and the turns that follow it."""
    turns = question.messages or (("user", question.text),)
    systems = [expert.system, *(content for role, content in turns if role == "system")]
    return "\n\n".join(filter(None, systems)), tuple(turn for turn in turns if turn[0] != "system")


def written(question: Question, expert: Expert) -> str:
    """All that a prompt says in words, an empty line between system message and turns."""
    system, turns = conversation(question, expert)
    return "\n\n".join([*([system] if system else []), *(content for _, content in turns)])


def end_of_answer(tokenizer: Any, options: Mapping[str, Any] | None = None) -> int:
    """The token that ends an answer: the one with which the chat template closes it, else the end of sequence."""
    return (*closing_ids(tokenizer, template_of(tokenizer), options or {}), int(tokenizer.eos_token_id))[0]


def _ids(ids: Iterable[int]) -> Ids:
    return tuple(int(i) for i in ids)
