"""Imports run one way: cli -> trainer | evaluation | generation -> objectives, budget, value, tasks -> verifiers, cost.

Read from the syntax tree of every module, so an import inside a function counts like one at the top.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"timecost": "timecost", "timecost.verifiers": "verifiers"}  # package -> folder

# What a part of the package may import of the others: a module timecost/<part>.py or a folder timecost/<part>/.
MAY_IMPORT = {
    "__init__": set(),  # resolves its public names on first use
    "errors": set(),
    "provenance": set(),
    "options": {"errors"},
    "verifiers": set(),
    "models": set(),
    "cost": {"errors"},
    "price_control": {"errors"},
    "prompt_tokens": {"errors"},
    "budget": {"errors", "prompt_tokens"},
    "effort": {"errors", "prompt_tokens"},
    "requests": {"budget", "effort"},
    "objectives": {"errors"},
    "value": {"cost", "errors", "forcing"},
    "tasks": {"budget", "errors", "options", "verifiers"},
    "config": {"budget", "cost", "effort", "errors", "objectives", "price_control"},
    "model_card": {"errors", "provenance"},
    "exploration": set(),
    "progress": set(),
    "batching": set(),
    "counter_sampler": set(),
    "forcing": set(),
    "unsupported": {"errors"},
    "trainer": {
        "batching",
        "budget",
        "checkpoints",
        "config",
        "cost",
        "effort",
        "errors",
        "exploration",
        "forcing",
        "model_card",
        "objectives",
        "progress",
        "prompt_tokens",
        "requests",
        "unsupported",
        "verifiers",
    },
    "loading": {"budget", "effort", "errors", "models", "tasks"},
    "checkpoints": {"errors"},
    "launch": {"errors", "options"},
    "generation": {"budget", "cost", "effort", "errors", "forcing", "prompt_tokens", "value"},
    "fit_cost": {"errors", "evaluation", "loading", "options", "provenance"},
    "generate": {"budget", "cost", "errors", "generation", "loading", "options", "tasks", "value"},
    "evaluation": {
        "budget",
        "cost",
        "counter_sampler",
        "errors",
        "forcing",
        "generation",
        "loading",
        "model_card",
        "models",
        "options",
        "prompt_tokens",
        "provenance",
        "tasks",
        "value",
    },
    "train": {
        "budget",
        "checkpoints",
        "config",
        "effort",
        "errors",
        "generation",
        "launch",
        "loading",
        "model_card",
        "options",
        "progress",
        "prompt_tokens",
        "provenance",
        "tasks",
        "trainer",
        "value",
    },
    "probing": {"errors", "evaluation", "generation", "prompt_tokens", "value"},
    "fit_value": {"errors", "evaluation", "generation", "loading", "options", "probing", "tasks", "value"},
    "calibrate_value": {"errors", "loading", "options", "probing", "tasks", "value"},
    "demo": {"errors", "evaluation", "loading", "options", "tasks"},
    "cli": {"errors", "options"},  # finds the module of a command by its name
}

# Libraries that a part does without, so that it can be used with another engine, or before anything heavy is loaded.
HUGGING_FACE = {"trl", "transformers", "datasets", "accelerate", "peft"}
DOES_WITHOUT = {
    "__init__": {"torch", "numpy", "matplotlib", *HUGGING_FACE},
    "cli": {"torch", "numpy", "matplotlib", *HUGGING_FACE},
    "verifiers": {"torch", "numpy", *HUGGING_FACE},
    "objectives": HUGGING_FACE,
    "cost": HUGGING_FACE,
    "price_control": HUGGING_FACE,
    "budget": {"trl"},
    "models": {"trl"},
}


def imports_of(path: Path, module: str) -> set[str]:
    """Absolute dotted names that a file imports; for `from a import b` that is `a.b`. `module` names the file."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names |= {".".join([*base, alias.name]) for alias in node.names}
    return names


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def part_of(module: str) -> str:
    return (module.split(".") + ["__init__"])[1]


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    part = part_of(module)
    assert part in MAY_IMPORT, f"timecost/{part} is new: say in MAY_IMPORT where it stands"
    imported = {name for name in imports_of(MODULES[module], module) if name.split(".")[0] == "timecost"}
    wrong = {name for name in imported - {"timecost.__version__"} if part_of(name) not in {part, *MAY_IMPORT[part]}}
    assert not wrong, f"{module} ({part}) imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("module", MODULES)
def test_parts_do_without_libraries(module):
    libraries = {name.split(".")[0] for name in imports_of(MODULES[module], module)}
    assert not libraries & DOES_WITHOUT.get(part_of(module), set())


def test_both_forms_of_import_are_seen_at_any_depth(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text("from .verdict import Verdict\ndef f():\n    import torch.nn\n    from .. import trainer\n")
    seen = {"timecost.verifiers.verdict.Verdict", "torch.nn", "timecost.trainer"}
    assert imports_of(path, "timecost.verifiers.reward") == seen


def test_no_file_imports_the_root_folders_as_packages():
    """`import verifiers` would load each module a second time, or another distribution of that name."""
    for folder in ("timecost", "verifiers", "recipes", "scripts", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            roots = {name.split(".")[0] for name in imports_of(path, path.stem)}
            assert not roots & {"verifiers", "recipes"}, path


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in memory after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.split())


def test_the_command_line_loads_nothing_heavy():
    assert not loaded_by("import timecost, timecost.cli") & DOES_WITHOUT["cli"]


def test_verifiers_load_no_torch_and_nothing_of_hugging_face():
    names = [name for name in MODULES if part_of(name) == "verifiers" and not name.endswith("__main__")]
    assert not loaded_by(f"import {', '.join(names)}") & DOES_WITHOUT["verifiers"]


def test_objectives_load_without_trl():
    names = [name for name in MODULES if part_of(name) in ("objectives", "cost")]
    assert not loaded_by(f"import {', '.join(names)}") & {"trl", "transformers"}
