"""The architecture, held by parsing the source: who may import whom, what stays light, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "manyminds"
FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))

MAX_FILE_LINES = 319
MAX_FUNCTION_LINES = 64

# What a file, or each file of a folder, may import besides the standard library. The longest entry that fits holds.
MAY_IMPORT = {
    "records.py": set(),
    "errors.py": set(),
    "formulas/": {"torch", "numpy", "jaxtyping", "manyminds.formulas"},
    "batch.py": {"torch", "jaxtyping", "manyminds.records", "manyminds.objective"},
    "clock.py": set(),
    "limits.py": {"torch", "manyminds.errors"},
    "profiling.py": {"manyminds.clock", "manyminds.limits", "manyminds.records"},
    "objective.py": {"torch", "jaxtyping", "manyminds.records", "manyminds.batch", "manyminds.formulas"},
    "methods/": {
        "torch",
        "jaxtyping",
        "pydantic",
        "manyminds.formulas",
        "manyminds.objective",
        "manyminds.batch",
        "manyminds.records",
        "manyminds.errors",
        "manyminds.methods",
        "manyminds.named",
    },
    # The step knows what a policy and a sampler can do, not which ones there are.
    "step.py": {
        "torch",
        "manyminds.batch",
        "manyminds.clipping",
        "manyminds.clock",
        "manyminds.errors",
        "manyminds.methods",
        "manyminds.metrics",
        "manyminds.objective",
        "manyminds.policy.policy",
        "manyminds.records",
        "manyminds.sampling.sampler",
        "manyminds.soundness",
    },
    "clipping.py": {"torch", "manyminds.batch", "manyminds.objective", "manyminds.records"},
    "soundness.py": {
        "torch",
        "manyminds.batch",
        "manyminds.errors",
        "manyminds.objective",
        "manyminds.policy.policy",
        "manyminds.records",
    },
}
USES_TRANSFORMERS = ("sampling/", "policy/", "experts/rendering.py", "tasks/arithmetic_model.py")
# These may, where it is used: inside a function, or for the type checker alone.
USES_TRANSFORMERS_LATE = ("loading.py", "export.py")
NOWHERE = {"vllm", "ray"}
# What typer needs, in this and in earlier versions of it.
COMMAND_LINE = {
    "annotated_doc",
    "click",
    "markdown_it",
    "mdurl",
    "pygments",
    "rich",
    "shellingham",
    "typing_extensions",
}


@dataclass(frozen=True)
class Import:
    """One imported module, as its full dotted name."""

    module: str
    line: int
    late: bool
    """Inside a function or under `if TYPE_CHECKING`: not run when the file is imported."""

    def within(self, allowed: set[str]) -> bool:
        """Whether the module is one of `allowed`, or below one."""
        return any(self.module == name or self.module.startswith(name + ".") for name in allowed)


def nodes(tree: ast.AST, late: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node of the tree, and whether it is left out when the file is imported."""
    for child in ast.iter_child_nodes(tree):
        typing_only = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        inner = late or typing_only or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, inner
        yield from nodes(child, inner)


def imports_of(text: str, package: str = "manyminds") -> list[Import]:
    """Everything that source code `text`, a module of `package`, imports."""
    found = []
    for node, late in nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module == "manyminds":  # from manyminds import records: the names are what is imported
                found += [Import(f"manyminds.{alias.name}", node.lineno, late) for alias in node.names]
            else:
                found.append(Import(module, node.lineno, late))
    return found


def imports_in(file: str) -> list[Import]:
    """Everything that a file of the package imports."""
    package = ".".join(["manyminds", *Path(file).parent.parts])
    return imports_of((SOURCE / file).read_text(encoding="utf-8"), package)


def broken(rule: str, file: str, imports: list[Import]) -> list[str]:
    """Complaints in one form: where, what, and the rule."""
    return [f"{file}:{found.line}: {found.module} ({rule})" for found in imports]


def outside(file: str, imports: list[Import]) -> list[str]:
    """The imports that the table above does not allow in `file`."""
    keys = [key for key in MAY_IMPORT if file == key or (key.endswith("/") and file.startswith(key))]
    if not keys:
        return []
    allowed = MAY_IMPORT[max(keys, key=len)] | set(sys.stdlib_module_names)
    return broken(f"{max(keys, key=len)} may not", file, [found for found in imports if not found.within(allowed)])


def strangers(file: str, imports: list[Import]) -> list[str]:
    """The imports of engines that `file` should know nothing of."""
    heavy = [found for found in imports if found.within({"transformers"})]
    if file.startswith(USES_TRANSFORMERS):
        heavy = []
    elif file in USES_TRANSFORMERS_LATE:
        heavy = [found for found in heavy if not found.late]
    engines = [found for found in imports if found.within(NOWHERE)]
    return broken("only sampling and policy know engines", file, heavy + engines)


@pytest.mark.parametrize("file", FILES)
def test_imports_go_one_way(file: str) -> None:
    assert outside(file, imports_in(file)) == []


@pytest.mark.parametrize("file", FILES)
def test_only_sampling_and_policy_know_an_engine(file: str) -> None:
    assert strangers(file, imports_in(file)) == []


def test_every_rule_has_a_file_to_hold() -> None:
    rules = [*MAY_IMPORT, *USES_TRANSFORMERS, *USES_TRANSFORMERS_LATE]
    assert [rule for rule in rules if not any(file.startswith(rule) for file in FILES)] == []


@pytest.mark.parametrize(
    ("file", "text", "module"),
    [
        ("formulas/losses.py", "from manyminds.records import Group", "manyminds.records"),
        ("formulas/losses.py", "from ..records import Group", "manyminds.records"),
        ("formulas/losses.py", "from manyminds import objective", "manyminds.objective"),
        ("formulas/losses.py", "def f():\n    import pydantic", "pydantic"),
        ("methods/grpo.py", "from manyminds.step import training_step", "manyminds.step"),
        ("step.py", "from manyminds.policy.hf_policy import HFPolicy", "manyminds.policy.hf_policy"),
        ("records.py", "import manyminds.errors", "manyminds.errors"),
        ("records.py", "import torch", "torch"),
    ],
)
def test_a_wrong_import_is_found(file: str, text: str, module: str) -> None:
    package = ".".join(["manyminds", *Path(file).parent.parts])
    (complaint,) = outside(file, imports_of(text, package))
    assert module in complaint


@pytest.mark.parametrize(
    ("file", "text", "count"),
    [
        ("step.py", "import transformers", 1),
        ("step.py", "def f():\n    from transformers import AutoModel", 1),
        ("loading.py", "def f():\n    from transformers import AutoModel", 0),
        ("loading.py", "if TYPE_CHECKING:\n    import transformers", 0),
        ("loading.py", "from transformers.cache_utils import Cache", 1),
        ("policy/hf_policy.py", "import transformers", 0),
        ("sampling/vllm_sampler.py", "def f():\n    import vllm", 1),
        ("batch.py", "import ray.data", 1),
        ("batch.py", "import rays", 0),
    ],
)
def test_an_engine_in_the_wrong_place_is_found(file: str, text: str, count: int) -> None:
    assert len(strangers(file, imports_of(text))) == count


def loaded_after(code: str) -> set[str]:
    """The top-level modules a fresh Python holds after `code`."""
    report = "import sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


HELP = """
import runpy, sys
sys.argv = ["manyminds", "--help"]
try:
    runpy.run_module("manyminds", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


def standing(loaded: set[str]) -> set[str]:
    """Of these modules, those that are neither the standard library's nor there in a Python that did nothing."""
    return loaded - set(sys.stdlib_module_names) - loaded_after("pass")


def test_the_package_imports_nothing_but_itself() -> None:
    assert standing(loaded_after("import manyminds; dir(manyminds)")) == {"manyminds"}


@pytest.mark.parametrize("code", ["import manyminds.cli", HELP], ids=["cli", "help"])
def test_what_answers_at_once_imports_the_command_line_alone(code: str) -> None:
    """Why `--help` answers in a fifth of a second: no torch, no numpy, no pydantic, no yaml."""
    assert standing(loaded_after(code)) <= {"manyminds", "typer", *COMMAND_LINE}


def test_help_names_the_commands() -> None:
    command = [sys.executable, "-m", "manyminds", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    missing = {"demo", "train", "warmup", "eval", "compare", "report", "check", "methods"} - set(done.stdout.split())
    assert missing == set()


def test_the_public_names_are_the_functions_whatever_was_imported_before() -> None:
    code = """
import manyminds.compare, manyminds.evaluate
import manyminds
for name in set(manyminds.__all__) - {"__version__"}:
    assert callable(getattr(manyminds, name)), name
from manyminds import compare, evaluate
assert callable(compare) and callable(evaluate)
assert not hasattr(manyminds, "nonsense")
"""
    assert "torch" in loaded_after(code)


def functions_of(text: str) -> list[tuple[str, int]]:
    """Every function of a source text, with its length in lines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in found]


@pytest.mark.parametrize("file", FILES)
def test_files_and_functions_stay_short(file: str) -> None:
    text = (SOURCE / file).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert [(name, length) for name, length in functions_of(text) if length > MAX_FUNCTION_LINES] == []


def test_the_length_of_a_function_is_counted() -> None:
    assert functions_of("def f():\n" + "    x = 1\n" * 70) == [("f", 71)]
