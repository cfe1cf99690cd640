"""Every command in README.md and docs/ is run: page by page, in the order in which a reader meets them.

A page is read in an empty folder, with GIVEN, what it takes for granted, and SMALL, options that make a command take
seconds. What cannot be run here stands in NOT_RUN with the reason; its options are parsed all the same.
"""

import functools
import json
import re
import runpy
import shlex
import shutil
import sys
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

from timecost.cli import COMMANDS, main
from timecost.errors import UserError
from timecost.options import pop_option, with_underscores

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = re.compile(r"(timecost|python scripts/\w+\.py) ")

NOT_RUN = {  # beginning of a command -> why
    "timecost train --config gsm8k_qwen3 --num_processes 4": "four processes; tests/test_train.py starts two",
    "python scripts/compare_objectives.py": "hours of training; tests/test_compare_objectives.py runs its parts",
}
SMALL = {  # command -> options that a reader would not give
    "demo": "--steps 1",
    "train": "--max_steps 1 --save_steps 1 --num_train_problems 4 --eval_strategy no --num_generations 4 "
    "--per_device_train_batch_size 4 --gradient_accumulation_steps 1 --steps_per_generation 1 "
    "--max_completion_length 8 --use_cpu --bf16 false --dtype float32 --disable_tqdm true",
    "evaluate": "--num_problems 3 --num_samples 2 --max_completion_length 96",
    "generate": "--max_answer_tokens 4",
    "fit-value": "--num_problems 20 --num_samples 1 --max_thinking_tokens 12 --num_epochs 2",
    "calibrate-value": "--num_problems 30",
    "fit-cost": "--context 64 --max_seconds 0.1",
    "compare": "",
    "report": "",
    "validate": "",
}


# What the pages say ---------------------------------------------------------------------------------------------------


def blocks(text: str) -> list[str]:
    """Code blocks of a page, fenced or indented, in their order."""
    found = re.finditer(r"^```[^\n]*\n(.*?)^```|((?:^(?:    [^\n]*)?\n)+)", text, re.S | re.M)
    return [one[1] if one[1] is not None else one[2] for one in found]


def block_commands(page: Path) -> list[str]:
    """The commands of a page's code blocks, one line each, without comments."""
    out = []
    for block in blocks(page.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if PROGRAM.match(words := line.strip().removeprefix("$ ")):
                out.append(shlex.join(shlex.split(words, comments=True)))
    return out


def text_commands(page: Path) -> list[str]:
    """Commands with options that stand in the text of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    return [" ".join(c.split()) for c in re.findall(r"`([^`]+)`", text) if PROGRAM.match(c) and "--" in c]


def skipped(command: str) -> str | None:
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


FOUND = [(page, command) for page in PAGES for command in block_commands(page)]
RUN_PAGES = [page for page in PAGES if any(skipped(command) is None for command in block_commands(page))]


def test_commands_are_found():
    assert (
        {command.split()[1] for _, command in FOUND if command.startswith("timecost ")} == set(COMMANDS) == set(SMALL)
    )
    assert (ROOT / "README.md", "timecost compare results/a results/b") in FOUND
    assert block_commands(ROOT / "docs" / "tutorial.md")[0] == "timecost demo"
    unused = [start for start in NOT_RUN if not any(command.startswith(start) for _, command in FOUND)]
    assert unused == [], "no page has these any more"


# Running them ---------------------------------------------------------------------------------------------------------


class Reader:
    """Runs the commands of a page in its folder, as a reader would, at a tiny size."""

    def __init__(self, tiny_arithmetic: str, tiny_qwen3: str):
        self.tiny_arithmetic, self.tiny_qwen3 = tiny_arithmetic, tiny_qwen3

    def run(self, command: str) -> None:
        program, *argv = shlex.split(command)
        assert program == "timecost", f"no rule says how to run `{command}`: see NOT_RUN"
        self.run_words(argv)

    def run_words(self, argv: list) -> None:
        assert main(self.small([str(word) for word in argv])) == 0, argv

    def small(self, argv: list[str]) -> list[str]:
        argv = [self.tiny_qwen3 if word == "Qwen/Qwen3-1.7B" else word for word in argv]
        more = SMALL[argv[0]].split()
        if argv[0] == "train":
            recipe = argv[argv.index("--config") + 1]
            more += ["--model_name_or_path", self.tiny_qwen3] if recipe.startswith("gsm8k") else []
            more += ["--max_steps", "2"] if "--resume" in argv else []
        if argv[0] == "demo":
            more += ["--model_name_or_path", self.tiny_arithmetic]
        return [*argv, *more]

    def evaluated(self, folder: str, model: str = "arithmetic_base", seed: int = 0) -> None:
        """Results of a model in a folder, under the folder's name."""
        options = f"--tasks arithmetic --label {Path(folder).name} --output_path {folder} --seed {seed}"
        self.run(f"timecost evaluate --model_name_or_path {model} {options}")

    def model(self, folder: str) -> None:
        """The embedded model, as if it had been trained there."""
        from timecost.tasks import resolve_model

        shutil.copytree(resolve_model("arithmetic_base"), folder)


def code_of(page: str, start: str) -> str:
    """The block of a page that begins with `start`."""
    return next(block for block in blocks((ROOT / page).read_text(encoding="utf-8")) if block.startswith(start))


def write_lines(path: str, rows: list[dict]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def given_for_readme(reader: Reader) -> None:
    reader.evaluated("results/a")
    reader.evaluated("results/b", seed=1)


def given_for_tutorial(reader: Reader) -> None:
    row = json.loads(code_of("docs/tutorial.md", '{"country"'))
    for split in ("train", "validation", "test"):
        write_lines(f"capitals_{split}.jsonl", [{**row, "country": f"{row['country']} {i}"} for i in range(4)])
    Path("capitals.yaml").write_text(code_of("docs/tutorial.md", "name: capitals"))


def given_for_evaluation(reader: Reader) -> None:
    reader.model("outputs/levin")
    reader.model("outputs/budget")
    reader.model("DIR")
    reader.run("timecost fit-value --model_name_or_path DIR --task arithmetic")
    reader.evaluated("results/levin")
    reader.evaluated("results/accuracy", seed=1)


def given_for_report(reader: Reader) -> None:
    reader.run("timecost train --config arithmetic_levin --output_dir outputs/levin")
    reader.evaluated("results", "outputs/levin")
    reader.evaluated("runs/a")
    reader.evaluated("runs/b", seed=1)


def given_for_tasks(reader: Reader) -> None:
    Path("my_tasks.py").write_text(code_of("docs/tasks.md", "# my_tasks.py"))


GIVEN = {
    "README.md": given_for_readme,
    "docs/budgets.md": lambda reader: write_lines("questions.jsonl", [{"prompt": "a7b-3c*2=<think>"}]),
    "docs/evaluation.md": given_for_evaluation,
    "docs/objectives.md": lambda reader: reader.model("DIR"),
    "docs/report.md": given_for_report,
    "docs/tasks.md": given_for_tasks,
    "docs/tutorial.md": given_for_tutorial,
    "docs/value.md": lambda reader: reader.model("DIR"),
}
WRITTEN = {  # files that a page says its commands write
    "README.md": "results/report.html cost.json outputs/qwen3/README.md",
    "docs/bmojo.md": "results/bmojo/value.json results/bmojo/report.html",
    "docs/budgets.md": "replies.jsonl",
    "docs/evaluation.md": "results/samples.jsonl results/report.html compared.json",
    "docs/report.md": "results/report.html results/figures/arithmetic_frontier.svg both.html results/value.json",
    "docs/tutorial.md": "demo/report.html demo/budget/config.json results/report.html outputs/capitals/README.md",
    "docs/value.md": "DIR/value_head.safetensors DIR/value_head.json",
}


@pytest.fixture
def reader(tiny_arithmetic, tiny_qwen3, tmp_path, monkeypatch) -> Reader:
    """Somebody in an empty folder, with a few problems under the name of GSM8K and everything in this process."""
    from timecost import demo

    folder, data = tmp_path / "reader", tmp_path / "data" / "gsm8k"
    folder.mkdir()
    data.mkdir(parents=True)
    for split in ("train", "test"):
        rows = [{"question": f"What is {i} plus 2?", "answer": f"<<{i}+2={i + 2}>>\n#### {i + 2}"} for i in range(60)]
        write_lines(data / f"{split}.jsonl", rows)
    monkeypatch.setenv("TIMECOST_DATA_DIR", str(data.parent))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    reader = Reader(tiny_arithmetic, tiny_qwen3)
    monkeypatch.setattr(demo, "run_all", lambda commands, *_, **__: [*map(reader.run_words, commands.values())])
    yield reader
    sys.modules.pop("my_tasks", None)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_the_commands_of_a_page_work_in_their_order(page, reader, capsys):
    GIVEN.get(name_of(page), lambda reader: None)(reader)
    for command in block_commands(page):
        if skipped(command) is None:
            reader.run(command)
    assert [path for path in WRITTEN.get(name_of(page), "").split() if not Path(path).is_file()] == []
    if page.name == "tutorial.md":
        assert "| start |" not in Path("outputs/capitals/README.md").read_text()


@pytest.mark.slow
def test_own_data_with_an_own_verifier_and_lora(tiny_qwen3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = code_of("docs/training.md", "from datasets import Dataset").replace("Qwen/Qwen3-1.7B", tiny_qwen3)
    for written, small in (
        ("max_completion_length=1024", "max_completion_length=8, use_cpu=True, bf16=False, report_to='none'"),
        ("max_steps=100", "max_steps=1, save_strategy='steps', save_steps=1"),
    ):
        assert written in code
        code = code.replace(written, small)
    names: dict = {}
    exec(code, names)
    assert names["correct"]([[{"content": "<think>\n</think> Lima."}], [{"content": "Quito"}]], ["Lima"] * 2) == [1, 0]
    assert next(Path("outputs/capitals").glob("checkpoint-1/adapter_model.safetensors"))


def test_a_command_without_a_rule_is_noticed(reader):
    with pytest.raises(AssertionError, match="no rule says how to run `python scripts/new.py"):
        reader.run("python scripts/new.py --fast")
    with pytest.raises(KeyError, match="destroy"):
        reader.run("timecost destroy results/")


# Parsing the others ---------------------------------------------------------------------------------------------------


class Parsed(Exception):
    """The options were accepted; nothing is run."""


@pytest.fixture
def stop_after_parsing(monkeypatch):
    import timecost.train

    parse = ArgumentParser.parse_args

    def parse_args(self, *args, **kwargs):
        raise Parsed(parse(self, *args, **kwargs))

    def check_settings(args, config):
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(timecost.train, "check_settings", check_settings)
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.delenv("RANK", raising=False)
    return functools.partial(parse_command, monkeypatch)


def parse_command(monkeypatch, command: str) -> None:
    """Raises Parsed, or what the command says of its options."""
    program, name, *argv = shlex.split(command)
    if program == "python":
        monkeypatch.setattr(sys, "argv", [name, *argv])
        runpy.run_path(str(ROOT / name), run_name="__main__")
    argv = with_underscores(argv)
    if name == "train":
        from timecost.launch import accelerate_options
        from timecost.train import train

        num_processes, argv = pop_option(argv, "num_processes")
        accelerate_config, argv = pop_option(argv, "accelerate_config")
        accelerate_options(int(num_processes) if num_processes else None, accelerate_config)
        train(argv)
    import_module(COMMANDS[name][0]).run(argv)


PARSED = [(page, command) for page, command in FOUND if skipped(command)]
PARSED += [(page, command) for page in PAGES for command in text_commands(page)]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command"), PARSED, ids=[f"{name_of(page)}: {command}" for page, command in PARSED])
def test_every_other_command_is_accepted(page, command, stop_after_parsing):
    with pytest.raises((Parsed, UserError)) as stop:
        stop_after_parsing(command)
    assert stop.type is Parsed or "are required" in str(stop.value), "a text may leave out what is said elsewhere"


def test_a_wrong_command_would_be_noticed(stop_after_parsing):
    with pytest.raises(UserError, match="did you mean '--figures'"):
        stop_after_parsing("timecost report results/ --figure")


# Names and links ------------------------------------------------------------------------------------------------------


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
