"""Options of a command: a YAML recipe, overridden on the command line, read into dataclasses.

TRL's parser makes the options from the dataclasses. Around it: recipes by packaged name, every value of a recipe
checked as if it had been typed on the command line, and one line for whatever does not fit.
"""

import argparse
import json
import re
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import get_args, get_type_hints

from timecost.errors import UserError, nearest


def with_underscores(argv: list[str]) -> list[str]:
    """Spell option names with underscores: `--output-path=a-b` becomes `--output_path=a-b`. Values stay as they are."""
    out = []
    for i, arg in enumerate(argv):
        if arg == "--":
            return out + argv[i:]
        if arg.startswith("--"):
            name, equals, value = arg.partition("=")
            arg = "--" + name[2:].replace("-", "_") + equals + value
        out.append(arg)
    return out


def pop_option(argv: list[str], name: str) -> tuple[str | None, list[str]]:
    """Take `--name value` or `--name=value` out of `argv`; the last one counts. Returns (value or None, the rest)."""
    value, rest, i = None, [], 0
    while i < len(argv):
        if argv[i] == f"--{name}":
            if i + 1 == len(argv) or argv[i + 1].startswith("--"):
                raise UserError(f"--{name} needs a value")
            value, i = argv[i + 1], i + 1
        elif argv[i].startswith(f"--{name}="):
            value = argv[i].partition("=")[2]
        else:
            rest.append(argv[i])
        i += 1
    return value, rest


def at_least_one(args, *names: str) -> None:
    """Raises UserError for the first of these options that is given and below 1."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")


def find_recipe(name: str, folder: str = "") -> Path:
    """Path of a recipe, given as a path or as the name of a packaged one (`arithmetic_levin`).

    `folder` is a folder of `timecost.recipes`, such as "accelerate". Raises UserError when there is none.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise UserError(f"there is no file {name}: give the path of a YAML file or the name of a packaged recipe")
        return Path(name)
    names = recipe_names(folder)
    if name not in names:
        raise UserError(f"unknown recipe '{name}'{nearest(name, names)} (packaged: {', '.join(names)}; or a path)")
    return Path(str(files("timecost.recipes"))) / folder / f"{name}.yaml"


def recipe_names(folder: str = "") -> list[str]:
    """Names of the packaged recipes."""
    return sorted(path.stem for path in (Path(str(files("timecost.recipes"))) / folder).glob("*.yaml"))


def load_recipe(path: Path) -> dict:
    """The mapping in a YAML file. Raises UserError for anything else, with the line where YAML gives up."""
    import yaml

    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', None) or error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(recipe, dict) or not all(isinstance(key, str) for key in recipe):
        raise UserError(f"{path} must hold `name: value` lines")
    return recipe


def read_options(dataclass_types, argv: list[str], *, defaults: dict | None = None, **kwargs) -> tuple:
    """Read `--config NAME|PATH` and further options in `argv` into one instance of each dataclass.

    What is written later wins: the dataclasses' defaults, `defaults`, the recipe, the command line. Raises UserError
    for an unknown name (naming the nearest) and for a value of the wrong type. `kwargs` go to the parser (`usage`).
    """
    argv = with_underscores(argv)
    config, argv = pop_option(argv, "config")
    known = {field.name for dataclass_type in dataclass_types for field in fields(dataclass_type) if field.init}
    parser = _make_parser(dataclass_types, **kwargs)
    if "-h" in argv or "--help" in argv:
        parser.print_help()
        raise SystemExit(0)

    values = _parse(parser, _as_argv(defaults or {}), known)
    if config is not None:
        path = find_recipe(config)
        recipe = load_recipe(path)
        try:
            values = _parse(parser, _as_argv(recipe), known, values)
            _set_empty(values, dataclass_types, [key for key, value in recipe.items() if value is None])
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    values = _parse(parser, argv, known, values)
    return tuple(
        dataclass_type(**{f.name: getattr(values, f.name) for f in fields(dataclass_type) if f.init})
        for dataclass_type in dataclass_types
    )


def _make_parser(dataclass_types, **kwargs):
    from trl import TrlParser

    class Parser(TrlParser):
        def error(self, message):
            raise UserError(re.sub(r"^argument --(\w+)\S*: ", r"\1: ", message))

    parser = Parser(dataclass_types, allow_abbrev=False, **kwargs)
    mappings = {name for name, hint in _hints(dataclass_types).items() if hint is dict or hint == dict | None}
    for action in parser._actions:
        if action.dest in mappings:
            action.type = _mapping
    return parser


def _mapping(text: str) -> dict:
    import yaml

    value = yaml.safe_load(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


_mapping.__name__ = "mapping"  # argparse puts it into its message


def _parse(parser, argv: list[str], known: set[str], values=None):
    values, unknown = parser.parse_known_args(argv, values)
    if unknown:
        name = unknown[0].partition("=")[0]
        if not name.startswith("--"):
            raise UserError(f"unexpected argument '{name}': options are written --name value")
        raise UserError(f"unknown option '{name[2:]}'{nearest(name[2:], known)}")
    return values


def _as_argv(recipe: dict) -> list[str]:
    """A recipe as command-line arguments, without its empty values."""
    argv = []
    for key, value in recipe.items():
        if isinstance(value, list):
            argv += [f"--{key}", *(str(item) for item in value)]
        elif value is not None:
            argv.append(f"--{key}={json.dumps(value) if isinstance(value, dict) else value}")
    return argv


def _set_empty(values, dataclass_types, keys: list[str]) -> None:
    """Set to None what a recipe leaves empty (null), where the field's type allows that."""
    hints = _hints(dataclass_types)
    for key in keys:
        if key not in hints:
            raise UserError(f"unknown option '{key}'{nearest(key, hints)}")
        if type(None) not in get_args(hints[key]):
            raise UserError(f"{key} is empty: give it a value or remove the line")
        setattr(values, key, None)


def _hints(dataclass_types) -> dict:
    return {name: hint for kind in dataclass_types for name, hint in get_type_hints(kind).items()}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UserErrors."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message):
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        known = [option for action in self._actions for option in action.option_strings]
        hint = nearest(unknown, known) if unknown else ""
        raise UserError(f"{message}{hint} (`{self.prog} --help` lists the options)")
