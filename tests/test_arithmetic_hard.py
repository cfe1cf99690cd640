from timecost.tasks import arithmetic_hard as hard
from timecost.tasks import get_task
from timecost.tasks.arithmetic import is_held_out


def test_every_problem_is_long_and_holds_an_untrained_combination():
    problems = {split: hard.problems(split, 60) for split in hard.COUNTS}
    for found in problems.values():
        assert len(set(found)) == 60 and all(map(is_held_out, found))
        assert {problem.difficulty for problem in found} == set(hard.DIFFICULTIES)
    assert not set(problems["train"]) & set(problems["test"]) and not set(problems["validation"]) & set(
        problems["test"]
    )
    assert problems["test"] == hard.problems("test", 60) != hard.problems("test", 60, seed=1)


def test_the_gold_solutions_are_right():
    task = get_task("arithmetic_hard")
    solutions = [solution for solution, _ in zip(task.solutions("validation"), range(100), strict=False)]
    verdicts = task.verify([s.completion for s in solutions], [s.answer for s in solutions])
    assert all(verdict.status == "correct" for verdict in verdicts)
