"""Options: recipes and command lines become dataclasses, and whatever does not fit is told in one line."""

from dataclasses import dataclass, field

import pytest

from timecost.errors import UserError
from timecost.options import find_recipe, load_recipe, pop_option, read_options, with_underscores


@dataclass
class Settings:
    learning_rate: float = 1e-6
    num_steps: int = 10
    max_length: int | None = 256
    bf16: bool = False
    name: str | None = None
    modules: list[str] | None = None
    extra: dict = field(default_factory=dict)


def read(*argv, **kwargs) -> Settings:
    return read_options([Settings], list(argv), **kwargs)[0]


@pytest.fixture
def recipe(tmp_path):
    """`recipe(text)` writes a YAML file and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_the_command_line_wins_over_the_recipe_and_the_recipe_over_defaults(recipe):
    path = recipe("learning_rate: 5e-7\nnum_steps: 20\nbf16: true\n")  # YAML reads 5e-7 as text
    settings = read("--config", path, "--num-steps", "30", defaults={"bf16": False, "name": "default"})
    assert settings == Settings(learning_rate=5e-7, num_steps=30, bf16=True, name="default")
    assert read(f"--config={path}").num_steps == 20


def test_lists_mappings_flags_and_empty_values(recipe):
    path = recipe("modules: [q_proj, v_proj]\nextra: {price: 0.001}\nmax_length: null\n")
    assert read("--config", path) == Settings(modules=["q_proj", "v_proj"], extra={"price": 0.001}, max_length=None)
    assert read("--config", recipe("modules: all-linear"), "--bf16").modules == ["all-linear"]
    assert read("--extra", "{price: 2}").extra == {"price": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1", "unknown option 'learning_rat', did you mean 'learning_rate'?"),
        ("learning_rat:", "unknown option 'learning_rat', did you mean 'learning_rate'?"),
        ("num_steps: many", "num_steps: invalid int value: 'many'"),
        ("num_steps: 2.5", "num_steps: invalid int value: '2.5'"),
        ("num_steps: [1, 2]", "unexpected argument '2'"),
        ("num_steps:", "num_steps is empty"),
        ("bf16: perhaps", "bf16: Truthy value expected"),
        ("extra: 3", "extra: invalid mapping value: '3'"),
        ("num_steps: 1\n  name: x: y", "line 2: not valid YAML"),
        ("- a\n- b", "must hold `name: value` lines"),
        ("", "must hold `name: value` lines"),
    ],
)
def test_a_recipe_that_does_not_fit_is_told_with_its_path(recipe, text, message):
    path = recipe(text)
    with pytest.raises(UserError) as error:
        read("--config", path)
    assert message in str(error.value) and path in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--learning_rat", "1"], "unknown option 'learning_rat', did you mean 'learning_rate'?"),
        (["--num-steps=x"], "num_steps: invalid int value: 'x'"),
        (["--num_steps"], "num_steps: expected one argument"),
        (["--learn", "1"], "unknown option 'learn'"),  # no abbreviations: a new option would change their meaning
        (["arithmetic"], "unexpected argument 'arithmetic'"),
        (["--config"], "--config needs a value"),
        (["--config", "arithmetic_lewin"], "did you mean 'arithmetic_levin'?"),
        (["--config", "nowhere/x.yaml"], "no file nowhere/x.yaml"),
    ],
)
def test_a_command_line_that_does_not_fit(argv, message):
    with pytest.raises(UserError) as error:
        read(*argv)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_packaged_recipes_are_found_by_name():
    assert find_recipe("gsm8k_qwen3").name == "gsm8k_qwen3.yaml"
    assert load_recipe(find_recipe("two_cpu", "accelerate"))["num_processes"] == 2


def test_an_unreadable_recipe(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="x.yaml"):
        load_recipe(tmp_path / "x.yaml")


def test_pop_option_takes_the_last_one():
    assert pop_option(["--n", "1", "--m", "2", "--n=3"], "n") == ("3", ["--m", "2"])
    assert pop_option(["--m", "2"], "n") == (None, ["--m", "2"])


def test_underscores_stop_at_two_dashes():
    assert with_underscores(["--a-b", "--", "--c-d"]) == ["--a_b", "--", "--c-d"]
