"""Writes docs/reference.md from the docstrings: fields of the configuration, what Python calls, objectives, metrics.

python scripts/render_reference.py             # a test fails while the page is not up to date
"""

import dataclasses
import inspect
import re
import textwrap
from pathlib import Path
from typing import get_type_hints

PATH = Path(__file__).parents[1] / "docs" / "reference.md"


def type_name(hint) -> str:
    return hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", None) else str(hint)


def default_of(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return repr(field.default_factory()) if field.default_factory is not dataclasses.MISSING else "required"


def fields_table(kind: type, without: type | None = None) -> str:
    """The fields of a dataclass, those aside that it has from `without` as they were."""
    inherited = {f.name: default_of(f) for f in dataclasses.fields(without)} if without else {}
    hints = get_type_hints(kind)
    lines = ["| field | type | default | |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        own = field.name in kind.__dict__.get("__annotations__", {})
        if own or field.name not in inherited:
            kind_of, default = type_name(hints[field.name]), default_of(field)
            cells = (f"`{field.name}`", f"`{kind_of}`", f"`{default}`", field.metadata.get("help", ""))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def doc(thing) -> str:
    """A docstring as Markdown: examples fenced, indented blocks as they stand."""
    text, example, rest = inspect.cleandoc(thing.__doc__ or "").partition(">>>")
    return text.rstrip() + (f"\n\n```python\n{example}{rest.rstrip()}\n```" if example else "")


def function(name: str, thing) -> str:
    signature = str(inspect.signature(thing)).replace("torch.", "").replace("numpy.", "np.")
    written = f"{name}{signature}"
    if len(written) > 100:
        parameters = inspect.signature(thing).parameters.values()
        star = next((p.name for p in parameters if p.kind is p.KEYWORD_ONLY), None)
        inside = ", ".join(("*, " if p.name == star else "") + str(p) for p in parameters).replace("torch.", "")
        inside = textwrap.fill(inside.replace("numpy.", "np."), 100, break_long_words=False)
        written = f"{name}(\n{textwrap.indent(inside, '    ')}\n){signature.rpartition(')')[2]}"
    return f"### {name}\n\n```python\n{written}\n```\n\n{doc(thing)}"


def klass(name: str, thing: type) -> str:
    """A class: its docstring, the heads of its lists made bold."""
    text = re.sub(r"^(Args|Attributes)\b(.*):$", r"**\1\2**\n", doc(thing), flags=re.M)
    return f"### {name}\n\n" + re.sub(r"^    (\w+): ", r"- `\1`: ", text, flags=re.M).replace("\n        ", "\n  ")


def render() -> str:
    from trl import GRPOConfig

    from timecost import objectives
    from timecost.config import TimeCostConfig
    from timecost.evaluation import metrics
    from timecost.evaluation.evaluate import evaluate
    from timecost.generation import generate
    from timecost.tasks import Task
    from timecost.train import TrainArguments
    from timecost.trainer import TimeCostTrainer
    from timecost.verifiers import Reward, Verdict

    measures = {
        name: thing for name, thing in vars(metrics).items()
        if inspect.isfunction(thing) and thing.__module__ == metrics.__name__ and not name.startswith("_")
    }  # fmt: skip
    parts = [
        "# Reference",
        "Written by `scripts/render_reference.py` from the docstrings.",
        "## Configuration",
        "### TimeCostConfig",
        doc(TimeCostConfig),
        "All fields of TRL's `GRPOConfig`, and:",
        fields_table(TimeCostConfig, GRPOConfig),
        "### TrainArguments",
        "Options of `timecost train` beside those of `TimeCostConfig` and of TRL's `ModelConfig`.",
        fields_table(TrainArguments),
        "## In Python",
        "`from timecost import TimeCostTrainer`, and each of the others from the module named.",
        klass("TimeCostTrainer", TimeCostTrainer),
        klass("timecost.tasks.Task", Task),
        klass("timecost.verifiers.Verdict", Verdict),
        klass("timecost.verifiers.Reward", Reward),
        function("timecost.generation.generate", generate),
        function("timecost.evaluation.evaluate.evaluate", evaluate),
        "## Objectives",
        doc(objectives),
        *(function(name, thing) for name, thing in sorted(objectives.REGISTRY.items())),
        "## Metrics",
        doc(metrics),
        *(function(name, thing) for name, thing in measures.items()),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PATH.write_text(render(), encoding="utf-8")
    print(PATH)
