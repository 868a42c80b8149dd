"""What a method needs and a task does not have, said so that the user knows the ways out."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import get_args

from manyminds.errors import UserError
from manyminds.methods.method import Method
from manyminds.records import Question


def check_clusters(method: Method) -> None:
    """Raises UserError if the method or a part of it has questions sorted, for which scipy is not there."""
    for layer in (method, *method.parts):
        if layer.question_clusters and find_spec("scipy") is None:
            raise UserError(f"method: the clusters of '{layer.name}' need scipy; install it with manyminds[demo]")


def check_traces(method: Method, questions: Sequence[Question]) -> None:
    """Raises UserError if the method needs worked answers of experts and no question has a right one."""
    needing = [layer for layer in (method, *method.parts) if "traces" in layer.needs]
    if not needing or any(trace.reward == 1.0 for question in questions for trace in question.traces.values()):
        return
    found = "are known to be right" if any(question.traces for question in questions) else "are there"
    names = " with ".join(layer.name for layer in (method, *method.parts))
    instead = " and ".join(f"`traces: never` of '{layer.name}'" for layer in needing)
    raise UserError(
        f"task: method '{names}' learns from experts' worked answers to the training questions, and none {found}; "
        "give the task a file of them (task.experts_file; `manyminds collect` writes one), "
        f"{f'set {instead}, ' if all(map(can_do_without, needing)) else ''}or take another method"
    )


def can_do_without(layer: Method) -> bool:
    """Whether the layer has a setting `traces: never`, and with it needs none."""
    field = type(layer).model_fields.get("traces")
    known = field is not None and "never" in get_args(field.annotation)
    return known and "traces" not in layer.model_copy(update={"traces": "never"}).needs
