"""MBPP, its sanitized part (Austin et al. 2021, arXiv 2108.07732), 427 problems, and MBPP+ (arXiv 2305.01210), 378.

A prompt is a sentence and its first assertion, which names the function. The splits of MBPP are those of its paper, by
the number of the problem; MBPP+ has the split `test` alone.
"""

from collections.abc import Callable

from timecost.tasks.programs import program_task


def mbpp_problem(row: dict) -> dict:
    return {key: row[key] for key in ("code", "test_imports", "test_list")}


def mbpp_plus_problem(row: dict) -> dict:
    name = row["entry_point"]
    compare = "found" if name in OPTIONAL else "set" if name in UNORDERED else "equal"
    convert = CONVERT.get(int(row["task_id"].partition("/")[2]), list)
    return {
        "entry_point": name,
        "canonical_solution": row["canonical_solution"],
        "base_input": [convert(args) for args in row["base_input"]],
        "plus_input": [convert(args) for args in row["plus_input"]],
        "atol": row["atol"],
        "compare": compare,
    }


# Functions that return a match or None, and lists whose order is left open.
OPTIONAL = {"check_str", "text_match_three", "text_starta_endb"}
UNORDERED = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip


# JSON has neither tuples nor sets nor complex numbers: the types of the arguments, by the number of the problem.


def deep(value):
    return tuple(map(deep, value)) if isinstance(value, list) else value


def shallow(value):
    return tuple(value) if isinstance(value, list) else value


def rows_of(value: list) -> list:
    return [shallow(item) for item in value]


def first(function: Callable) -> Callable[[list], list]:
    return lambda args: [function(args[0]), *args[1:]]


def each(function: Callable) -> Callable[[list], list]:
    return lambda args: [function(arg) for arg in args]


CONVERT: dict[int, Callable[[list], list]] = {
    **dict.fromkeys(
        (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
        each(tuple),
    ),
    **dict.fromkeys((63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780), each(rows_of)),
    **dict.fromkeys((75, 413, 444, 753), first(rows_of)),
    **dict.fromkeys((250, 307, 405, 446, 617, 720, 763, 808), first(tuple)),
    **dict.fromkeys((106, 750), lambda args: [args[0], tuple(args[1])]),
    **dict.fromkeys((259, 401, 445, 278), each(lambda value: tuple(rows_of(value)))),
    **dict.fromkeys((580, 615, 791), each(deep)),
    115: first(lambda items: [set(item) if isinstance(item, list) and item else {} for item in items]),
    124: lambda args: [float(args[0]), complex(args[1])],
    252: first(complex),
    722: first(lambda table: {key: tuple(value) for key, value in table.items()}),
}


def split_of(row: dict) -> str:
    number = row["task_id"]
    return "prompt" if number <= 10 else "test" if number <= 510 else "validation" if number <= 600 else "train"


def split_of_plus(row: dict) -> str:
    return "test"


def question(row: dict) -> str:
    return f"{row['prompt']}\n\nThe program must satisfy:\n\n```python\n{row['test_list'][0]}\n```"


def question_plus(row: dict) -> str:
    return row["prompt"].strip().strip('"').strip()


MBPP = program_task(
    "mbpp", "mbpp/sanitized-mbpp.json", ("google-research-datasets/mbpp", "sanitized", "train+validation+test"),
    ("train", "validation", "test"), mbpp_problem, split_of, question,
)  # fmt: skip
# EvalPlus keeps the inputs in its own release, not on the hub.
MBPP_PLUS = program_task(
    "mbpp_plus", "mbpp_plus/MbppPlus.jsonl.gz",
    ("https://raw.githubusercontent.com/evalplus/mbppplus_release/dadf43da556a00f7bacd71cb154f2932757d9144/"
     "MbppPlus.jsonl.gz", "af43697e8791c4c149bdfd6b489d8b5412507551ac20e28a439f650b8225db63"),
    ("test",), mbpp_plus_problem, split_of_plus, question_plus,
)  # fmt: skip
