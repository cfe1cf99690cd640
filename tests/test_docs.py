"""Every `timecost ...` command in README.md and docs/ is accepted by the parser of its command."""

import re
import shlex
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

from timecost.cli import COMMANDS
from timecost.options import pop_option, with_underscores

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


class Parsed(Exception):
    """The options were accepted; nothing is run."""


def blocks(text: str) -> list[str]:
    """Code blocks of a page, fenced or indented."""
    fenced = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.S | re.M)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return fenced + re.findall(r"(?:^(?:    [^\n]*)?\n)+", rest, re.M)


def commands(page: Path) -> list[list[str]]:
    """The commands of a page that begin with `timecost`, without comments."""
    out = []
    for block in blocks(page.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            words = line.strip().removeprefix("$ ")
            if words.startswith("timecost "):
                out.append(shlex.split(words, comments=True)[1:])
    return out


FOUND = [(page.relative_to(ROOT).as_posix(), argv) for page in PAGES for argv in commands(page)]


@pytest.fixture
def stop_after_parsing(monkeypatch):
    import timecost.train

    parse = ArgumentParser.parse_args

    def parse_args(self, *args, **kwargs):
        raise Parsed(parse(self, *args, **kwargs))

    def check_settings(args, config):
        assert args.task, "no task"
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(timecost.train, "check_settings", check_settings)
    monkeypatch.delenv("RANK", raising=False)


def parse(argv: list[str]) -> None:
    """Raises Parsed, or what the command says of its options."""
    name, argv = argv[0], with_underscores(argv[1:])
    if name == "train":
        from timecost.launch import accelerate_options
        from timecost.train import train

        num_processes, argv = pop_option(argv, "num_processes")
        accelerate_config, argv = pop_option(argv, "accelerate_config")
        accelerate_options(int(num_processes) if num_processes else None, accelerate_config)
        train(argv)
    import_module(COMMANDS[name][0]).run(argv)


def test_commands_are_found():
    assert {argv[0] for _, argv in FOUND} == set(COMMANDS)
    assert ("README.md", ["compare", "results/a", "results/b"]) in FOUND


@pytest.mark.slow
@pytest.mark.parametrize(("page", "argv"), FOUND, ids=[f"{page}: {' '.join(argv)}" for page, argv in FOUND])
def test_every_command_in_the_documentation_is_accepted(page, argv, stop_after_parsing, capsys):
    try:
        with pytest.raises(Parsed):
            parse(argv)
    except SystemExit as stop:  # --help
        assert stop.code == 0


def test_a_wrong_command_would_be_noticed(stop_after_parsing):
    with pytest.raises(ValueError, match="did you mean '--figures'"):
        parse(["report", "results/", "--figure"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_commands_named_in_text_exist(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"\b(?:scripts|recipes)/[\w/]+\.(?:py|yaml)", text):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"`timecost (\w[\w-]*)", text):
        assert name in COMMANDS, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text):
        assert (page.parent / target).exists(), target
