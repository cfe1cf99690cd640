"""timecost: fine-tune a language model to reach a verified answer in the least time.

The public names are resolved on first use, so that `import timecost` stays light (no torch, no TRL).
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "BMojoConfig": "timecost.models.bmojo",
    "BMojoForCausalLM": "timecost.models.bmojo",
    "BMojoModel": "timecost.models.bmojo",
    "Task": "timecost.tasks",
    "TimeCostConfig": "timecost.config",
    "TimeCostTrainer": "timecost.trainer",
    "UserError": "timecost.errors",
    "evaluate": "timecost.evaluation.evaluate",
    "from_transformer": "timecost.models.bmojo",
    "get_task": "timecost.tasks",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'timecost' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
