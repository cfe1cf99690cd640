"""The figures, from records made by hand: what is drawn, not how it looks."""

import pytest

from timecost.evaluation import figures
from timecost.evaluation.records import make_record


def make_rows(model, tokens_of, num_samples=6):
    """Samples of two problems at difficulties 2 and 6; `tokens_of` maps style -> tokens at difficulty 2."""
    return [
        {
            "model": model, "task": "arithmetic", "budget": "inf", "problem": d, "sample": i, "prompt": f"{d}<1=",
            "answer": "7", "difficulty": d, "completion": f"<{style}>7", "score": 1.0, "reason": "", "style": style,
            "status": "incorrect" if i == 0 and d == 6 else "correct",
            "thinking_tokens": tokens * d // 2, "answer_tokens": 0, "finished": True, "answered": True,
        }
        for d in (2, 6) for style, tokens in tokens_of.items() for i in range(num_samples)
    ]  # fmt: skip


def make_records(rows_of, reference=None):
    settings = {"num_samples": 6, "temperature": 1.0, "seed": 0, "split": "test", "max_completion_length": 64}
    return [make_record(rows, settings, rows_of.get(reference)) for rows in rows_of.values()]


@pytest.fixture
def records():
    return make_records({"runs/fast": make_rows("runs/fast", {"direct": 4}),
                         "base": make_rows("base", {"direct": 4, "steps": 10})})  # fmt: skip


def texts(figure):
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_frontier_labels_models_and_the_styles_of_the_base(records):
    figure = figures.frontier(records)
    assert texts(figure) == {"fast", "base", "direct", "steps"}
    assert figure.axes[0].get_ylabel() == "accuracy, %"
    assert "styles of base" in figure.get_supxlabel()
    assert texts(figures.frontier(records[:1])) == {"fast"}


def test_the_line_of_budgets_ends_at_the_largest():
    rows_of = {budget: [{**row, "budget": budget} for row in make_rows("m", {"steps": tokens})]
               for budget, tokens in (("8", 4), ("16", 10), ("inf", 7))}  # fmt: skip
    figure = figures.frontier(make_records(rows_of))
    (line,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    assert list(line.get_xdata()) == [8, 20] and texts(figure) == {"8", "16", "m"}


def test_style_points_need_the_style_at_every_difficulty(records):
    base = records[1]
    accuracy = pytest.approx(11 / 12)
    assert figures.style_points(base) == {"direct": (8.0, accuracy), "steps": (20.0, accuracy)}
    del base["by_style"]["steps"]["6"]
    assert set(figures.style_points(base)) == {"direct"}
    base["by_style"]["direct"]["2"]["usual"]["num_samples"] = figures.MIN_CELL - 1
    assert figures.style_points(base) == {}


def test_style_frontier_is_empty_without_styles(records):
    assert figures.style_frontier(records[1]) == [(8.0, pytest.approx(11 / 12))]
    assert figures.style_frontier({"by_style": {}, "by_difficulty": {}}) == []


def test_tokens_by_difficulty_has_a_line_per_model(records):
    (axes,) = figures.tokens_by_difficulty(records).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[4, 12], [7, 21]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["fast", "base"]


def test_style_shares_are_stacked_to_the_whole(records):
    panels = figures.style_shares(records).axes
    assert [axes.get_title("left") for axes in panels] == ["fast", "base"]
    assert [bar.get_height() for bar in panels[1].patches] == [50, 50, 50, 50]
    assert list(figures.styles_by_cost(records)) == ["direct", "steps"]


def test_short_names_only_where_they_tell_apart():
    assert figures.short_names(["runs/a", "b"]) == {"runs/a": "a", "b": "b"}
    assert figures.short_names(["x/a", "y/a"]) == {"x/a": "x/a", "y/a": "y/a"}


def test_the_base_comes_first_and_keeps_the_ink(records):
    assert [record["model"] for record in figures.base_first(records)] == ["base", "runs/fast"]
    assert figures.model_colours(records) == {"base": figures.INK, "runs/fast": figures.COLOURS[0]}


def test_save_writes_png_and_svg_and_leaves_matplotlib_alone(records, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figure = figures.frontier(records)
    figures.save(figure, tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert "</svg>" in (tmp_path / "frontier.svg").read_text()
    assert figures.svg(figure) == figures.svg(figure)
    assert dict(matplotlib.rcParams) == before


def test_a_name_stands_in_a_figure_as_it_is():
    rows_of = {name: make_rows(name, {"steps": 4}) for name in ("_$x$", "$\\frac$")}
    figure = figures.tokens_by_difficulty(make_records(rows_of))
    assert ">_$x$</text>" in figures.inline_svg(figure, "f", "").replace("> _", ">_")
    assert len(figure.axes[0].get_legend().get_texts()) == 2, "a name may begin with an underscore"


def test_long_names_lose_their_middle_where_they_stay_apart():
    one, two = (f"linear-from-the-base-{end}-of-three-runs" for end in "12")
    assert figures.labels_of([one, "m"]) == {one: "linear-from-\u2026f-three-runs", "m": "m"}
    assert figures.labels_of([one, two]) == {one: one, two: two}


def at_budgets(*budgets, model="m"):
    return {f"{model} {b}": [{**row, "budget": b} for row in make_rows(model, {"steps": 4})] for b in budgets}


def test_a_name_alone_has_no_budget_and_the_note_tells_only_what_is_there():
    note = "numbers: the budget asked for; beside a name alone: none"
    figure = figures.frontier(make_records(at_budgets("8", "16")))
    assert texts(figure) == {"8", "m, 16"} and figure.get_supxlabel() == note
    many = {k: v for model in "abcde" for k, v in at_budgets("8", "inf", model=model).items()}
    figure = figures.frontier(make_records(many))
    assert texts(figure) == set("abcde") and figure.get_supxlabel() == "", "too many lines for small numbers"
    priced = {"m": [{**row, "budget": "auto", "price": "0.1/token", "enforce": "value", "looks": 0}
                    for row in make_rows("m", {"steps": 4})]}  # fmt: skip
    (record,) = make_records(priced)
    figure = figures.frontier([{**record, "price": "0.1/token"}])
    assert texts(figure) == {"m, 0.1/token"} and figure.get_supxlabel().startswith("with a unit: the price")


def test_reliability_without_a_forecast_is_drawn():
    assert figures.reliability([{"forecast": 0.1, "outcome": 0.2, "num": 0}]).axes


def test_a_model_keeps_the_colour_that_it_is_given(records):
    bounded = [{**records[0], "budget": "8", "enforce": "hard"}, {**records[0], "budget": "16", "enforce": "hard"}]
    figure = figures.adherence(bounded, colours={records[0]["model"]: "#123456"})
    drawn = [line.get_color() for line in figure.axes[0].get_lines()]
    assert "#123456" in drawn and figures.COLOURS[0] not in drawn
