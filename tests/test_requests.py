from types import SimpleNamespace

from timecost.requests import draw_requests

ARGS = SimpleNamespace(
    seed=0, budgets=[8, 16], budget_prior=None, budget_curriculum_fraction=None, budget_inf_share=0.5, efforts=None,
    bounded_time_elasticity=0.01, time_elasticity=0.05,
)  # fmt: skip


def draw(rows, first=0, step=3):
    return draw_requests(rows, ARGS, step, 10, micro_step=0, first=first, num_generations=2)


def test_a_group_asks_for_the_same_on_whatever_process():
    rows = [{"prompt": "p"}] * 8
    together = draw(rows)
    assert together == draw(rows[:4]) + draw(rows[4:], first=4)
    assert together != draw(rows, step=4)
    assert together[0::2] == together[1::2] and rows[0] == {"prompt": "p"}


def test_what_a_row_is_told_of():
    for row in [row for step in range(20) for row in draw([{"prompt": "p"}] * 2, step=step)]:
        said = {None: ("p", "<|budget_inf|>p")}.get(row["budget"], (f"<|budget_{row['budget']}|>p",))
        assert row["prompt"] in said and row["unasked"] == "p"
        assert row["elasticity"] == (0.05 if row["budget"] is None else 0.01)
