r"""What the mathematics verifier decides, and how fast, against math-verify alone.

    TIMECOST_DATA_DIR=... python scripts/bench_math_verifier.py --parts gold,negatives,hostile,speed --rounds 5

- gold: every gold solution of the tasks must score 1.0.
- negatives: gold solutions under the gold answer of another problem, and altered gold answers, must not.
- hostile: seconds until each of a list of hostile answers is decided, and a batch of 512 with 5 % of them against a
  clean one.
- speed: `verify_math_batch` against math-verify in a pool of two processes, on the same pairs, in turns; half of them
  right. The result is the median over rounds of the ratio of times, with every pair on which the two disagree.

Parts that are not run stay in the file as they were, each with the machine and the commit that it was measured on.
"""

import argparse
import json
import multiprocessing
import random
import re
import statistics
import time
from collections import Counter
from pathlib import Path

TASKS = ("gsm8k", "math500", "svamp", "multiarith")
HOSTILE = [
    "9^{387420489}", "9^{9^{9}}", "9^{9^{9^{9}}}", "2**3**4**5", "((3^{99})^{99})^{9999}", "(2^{9999})^{9999}",
    "1e400000000", "10^{10^{10}}", "x^{y^{z^{99999}}}", "100000!", "9999!!", "(9999!)^{9999}", "20000!-19999!",
    "\\binom{10^9}{5^9}", "\\binom{100000}{50000}", "\\sum_{k=1}^{9999999} k^k", "\\sum_{k=1}^{9999} \\frac{1}{k}",
    "\\prod_{k=1}^{9999} k", "\\int_0^1 \\sin(\\cos(\\tan(x^x)))dx", "\\int e^{x^2}\\sin(x^3)\\ln(x)dx",
    "\\lim_{x \\to 0} \\frac{\\sin(\\tan x)-\\tan(\\sin x)}{x^7}", "(x+y+z+w)^{300}", "(x+1)^{9999}",
    "(a+b+c+d+e+f)^{60}",
    "\\frac{(x+1)^{500}}{(x-1)^{500}}", "\\sqrt{" * 9 + "x" + "}" * 9, "\\sqrt{" * 60 + "2" + "}" * 60,
    "\\frac{1}{1+" * 9 + "x" + "}" * 9, "\\frac{1}{1+" * 200 + "x" + "}" * 200, "(" * 10 + "x" + ")" * 10,
    "(" * 5000 + "x" + ")" * 5000, "{" * 40 + "x" + "}" * 40, "[" * 99 + "]" * 99, "\\left(" * 99 + "\\right)" * 99,
    "7" * 999, "7" * 20_000, "1." + "3" * 5000, "-" * 999 + "1", "x" * 999, "x" * 100_000, "x+" * 400 + "x",
    "+".join(f"x_{{{k}}}" for k in range(120)), "*".join(f"(x+{k})" for k in range(150)), "2^" * 300 + "2",
    ",".join(map(str, range(20_000))), ",".join(map(str, range(250))),
    "\\{" + ",".join(f"x^{k}" for k in range(150)) + "\\}",
    "\\cup".join(f"({k},{k + 1})" for k in range(90)), "=".join(f"x_{k}" for k in range(200)), "1<" * 300 + "x",
    "\\pm 1" * 120, "1 \\pm \\sqrt{2} \\pm \\sqrt{3} \\pm \\sqrt{5} \\pm \\sqrt{7} \\pm \\sqrt{11} \\pm \\sqrt{13}",
    "\\begin{pmatrix}" + "\\\\".join("&".join(["x"] * 9) for _ in range(9)) + "\\end{pmatrix}",
    "\\begin{pmatrix}" * 30 + "1" + "\\end{pmatrix}" * 30, "\\det\\begin{pmatrix}" + "\\\\".join(
        "&".join(f"a_{{{i}{j}}}" for j in range(6)) for i in range(6)) + "\\end{pmatrix}",
    "\\sin(" * 9 + "x" + ")" * 9, "\\log(" * 9 + "10" + ")" * 9, "\\text{" * 60 + "a" + "}" * 60, "\\text{a}" * 120,
    "²" * 900, "５" * 900, "\u202e\u200b" * 400 + "5", "∑" * 900, "🙂" * 900, "\x00" * 900, "%" * 900, "\\" * 999,
    "\\%" * 400, "$" * 999, "_" * 999, "^" * 999, "'" * 999, "|" * 999, "&" * 999, "e" * 999, "i^" * 300, "0/0", "1/0",
    "\\infty - \\infty", "\\frac{0}{0}", "\\zeta(3)", "\\Gamma(999999)", "\\pi^{\\pi^{\\pi^{\\pi}}}",
    "e^{e^{e^{e^{9}}}}",
    "\\frac{\\pi^{9999}}{e^{9999}}", "\\sqrt[9999]{2}", "\\log_{2}{3^{9999}}", "\\sin(10^{9999})",
    "\\floor{10^{9999}/7}",
    "123456789^{9999} \\mod 97", "x^{9999}-1", "\\frac{x^{9999}-1}{x-1}",
    "\\sqrt{x^{2}}" * 60, "__import__('os').system('true')",
    "(x+y+z)^{50}",
    "(a+b+c+d)^{40}(e+f)^{40}",
    "(x^{49}+1)^{49}",
    "\\frac{x^{50}-1}{x-1}",
    "(x+y+z+w)^{49}",
    "\\sin(\\sin(\\sin(x)))^{50}",
    "(\\sqrt{2}+\\sqrt{3}+\\sqrt{5})^{50}",
    "|||||||x|||||||",
    "i^i^i^i^i",
    "((x+1)^9)^5",
    "(1+\\sqrt{x})^{50}",
    "\\sqrt{1+\\sqrt{1+\\sqrt{1+\\sqrt{1+x}}}}",
    "x^x^x^x^x",
    "\\tan(\\tan(\\tan(x)))",
    "\\frac{(x+1)^{50}}{(x-1)^{50}}",
    "\\cos(x)^{50}+\\sin(x)^{50}",
    "(\\pi+e)^{50}",
    "2^{\\sqrt{2}^{\\sqrt{2}}}",
    "\\ln(\\ln(\\ln(10^{9999})))",
    "(0,1)\\cup(1,2)\\cup(2,3)\\cup(3,4)",
    "|x+|x+|x+|x+|x|||||",
    "\\frac{1}{\\sqrt{2}+\\sqrt{3}+\\sqrt{5}+\\sqrt{7}+\\sqrt{11}}",
    "\\lceil \\pi^{9999} \\rceil",
    "\\pi^{9999}",
    "\\sin(1)^{9999}",
]  # fmt: skip


def solutions_of(name: str) -> list[tuple[str, str]]:
    """(gold solution, gold answer) of every problem of a task."""
    from timecost.tasks import get_task

    task = get_task(name)
    return [(solution.completion, solution.answer) for split in task.splits for solution in task.solutions(split)]


def gold(args) -> dict:
    from timecost.tasks import get_task

    result = {}
    for name in TASKS:
        pairs = solutions_of(name)
        verdicts = get_task(name).verify(*map(list, zip(*pairs, strict=True)))
        wrong = [
            (answer, verdict.reason) for (_, answer), verdict in zip(pairs, verdicts, strict=True) if verdict.score != 1
        ]
        result[name] = {"solutions": len(pairs), "correct": len(pairs) - len(wrong), "exceptions": wrong}
        print(name, result[name], flush=True)
    return result


def altered(answer: str, rng: random.Random) -> list[tuple[str, str]]:
    """(how, altered answer): the sign, a digit, the unit, one more and one less."""
    out = [("sign", answer[1:] if answer.startswith("-") else f"-{answer}")] if re.search(r"\d", answer) else []
    digits = [match.start() for match in re.finditer(r"\d", answer)]
    if digits:
        i = rng.choice(digits)
        other = rng.choice([digit for digit in "0123456789" if digit != answer[i]])
        out.append(("digit", answer[:i] + other + answer[i + 1 :]))
    for match in list(re.finditer(r"(?<![\d.,])\d+(?![\d.,])", answer))[-1:]:
        for step in (1, -1):
            out.append(("off by one", f"{answer[: match.start()]}{int(match[0]) + step}{answer[match.end() :]}"))
    for unit, other in (("cents", "dollars"), ("degrees", "radians"), ("^\\circ", "\\text{ radians}")):
        if unit in answer:
            out.append(("unit", answer.replace(unit, other)))
    return [(how, text) for how, text in out if text != answer and not re.fullmatch(r"-?0+", answer)]


def negatives(args) -> dict:
    from timecost.tasks import get_task

    rng, result = random.Random(0), {}
    for name in TASKS:
        pairs = solutions_of(name)
        cases = []  # (kind, completion, gold answer, what was answered)
        for i, (_, answer) in enumerate(pairs):
            for shift in range(1, len(pairs)):
                completion, other = pairs[(i + shift) % len(pairs)]
                if other != answer:
                    cases.append(("another problem", completion, answer, other))
                    break
            mark = "\\boxed{%s}" if name == "math500" else "#### %s"
            cases += [(how, mark % text, answer, text) for how, text in altered(answer, rng)]
        verdicts = get_task(name).verify([case[1] for case in cases], [case[2] for case in cases])
        outcomes = Counter((case[0], verdict.status) for case, verdict in zip(cases, verdicts, strict=True))
        judged = list(zip(cases, verdicts, strict=True))
        result[name] = {
            "cases": len(cases),
            "accepted": sum(verdict.status == "correct" for verdict in verdicts),
            "by_kind": {f"{kind}: {status}": count for (kind, status), count in sorted(outcomes.items())},
            "accepted_pairs": [(case[3], case[2]) for case, verdict in judged if verdict.status == "correct"],
            "errors": [
                (case[3], case[2], verdict.reason) for case, verdict in judged if verdict.status == "verifier_error"
            ],
        }
        print(name, json.dumps(result[name], ensure_ascii=False)[:3000], flush=True)
    return result


def mixed_pairs(name: str, count: int | None = None) -> tuple[list[str], list[str]]:
    """Every gold solution under its own answer and under that of the next problem."""
    pairs = solutions_of(name)
    pairs = pairs[-1319:] if name == "gsm8k" else pairs
    both = [pair for i, (text, answer) in enumerate(pairs) for pair in ((text, answer), (text, pairs[i - 1][1]))]
    random.Random(0).shuffle(both)
    return tuple(map(list, zip(*both[:count], strict=True)))


def forget() -> None:
    """Workers and decisions of an earlier measurement."""
    from timecost.verifiers import _math_pool
    from timecost.verifiers.math import verify_math_batch

    _math_pool.stop()
    _math_pool._kept.clear()
    names = [f"a_{{{i}}}" for i in range(64)]  # starts every worker
    verify_math_batch([f"\\boxed{{{name}+1}}" for name in names], [f"1+{name}" for name in names])


def hostile(args) -> dict:
    from timecost.tasks import get_task
    from timecost.verifiers import _math_pool

    verify = get_task("math500").verify
    forget()
    seconds, statuses = {}, Counter()
    for i, answer in enumerate(HOSTILE):
        start = time.perf_counter()
        (verdict,) = verify([f"\\boxed{{{answer}}}"], ["\\sqrt{5}+x"])
        seconds[i] = time.perf_counter() - start
        statuses[verdict.status] += 1
        if seconds[i] > 1:
            print(f"{seconds[i]:.2f} s {verdict.status}: {answer[:60]!r} {verdict.reason[:80]}", flush=True)
    completions, golds = mixed_pairs("math500", 512)
    rng, ratios = random.Random(0), []
    spoiled = list(completions)
    for place, answer in zip(rng.sample(range(512), 26), rng.sample(HOSTILE, 26), strict=True):
        spoiled[place] = f"\\boxed{{{answer}}}"
    for i in range(args.rounds):
        times = {}
        for name in ("clean", "spoiled") if i % 2 == 0 else ("spoiled", "clean"):
            forget()
            start = time.perf_counter()
            verify(completions if name == "clean" else spoiled, golds)
            times[name] = time.perf_counter() - start
        ratios.append(times["spoiled"] / times["clean"])
        print(f"batch of 512: {times}", flush=True)
    return {
        "answers": len(HOSTILE),
        "outcomes": statuses,
        "seconds_max": round(max(seconds.values()), 3),
        "slower_than_1s": [HOSTILE[i][:60] for i, value in seconds.items() if value > 1],
        "batch_ratios": [round(ratio, 3) for ratio in ratios],
        "batch_median_ratio": round(statistics.median(ratios), 3),
        "workers": _math_pool.max_workers(),
    }


def alone(pair: tuple[str, str]) -> bool:
    """math-verify as its README has it."""
    from math_verify import parse, verify

    completion, answer = pair
    try:
        return verify(parse(f"${answer}$"), parse(completion))
    except Exception:
        return False


def speed(args) -> dict:
    from timecost.tasks import get_task
    from timecost.verifiers import _math_pool

    _math_pool.max_workers = lambda: 2  # two processes each
    result = {}
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(alone, [("$x+1$", "1+x")] * 64, chunksize=8)
        for name in ("gsm8k", "math500"):
            completions, golds = mixed_pairs(name)
            verify, seconds = get_task(name).verify, {"timecost": [], "math-verify": []}
            for i in range(args.rounds):
                order = ["timecost", "math-verify"]
                for which in order if i % 2 == 0 else order[::-1]:
                    if which == "timecost":
                        forget()
                        start = time.perf_counter()
                        ours = verify(completions, golds)
                    else:
                        start = time.perf_counter()
                        theirs = pool.map(alone, list(zip(completions, golds, strict=True)), chunksize=16)
                    seconds[which].append(round(time.perf_counter() - start, 3))
            ratios = [b / a for a, b in zip(seconds["timecost"], seconds["math-verify"], strict=True)]
            differences = [
                {"completion_ends": text[-60:], "gold": answer, "timecost": verdict.status, "math-verify": other}
                for text, answer, verdict, other in zip(completions, golds, ours, theirs, strict=True)
                if (verdict.status == "correct") != other
            ]
            result[name] = {
                "pairs": len(completions),
                "times_faster": round(statistics.median(ratios), 2),
                "seconds": seconds,
                "correct": {"timecost": sum(v.status == "correct" for v in ours), "math-verify": sum(theirs)},
                "errors": sum(v.status == "verifier_error" for v in ours),
                "differences": differences,
            }
            print(name, json.dumps(result[name], ensure_ascii=False)[:3000], flush=True)
    return result


PARTS = {"gold": gold, "negatives": negatives, "hostile": hostile, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which of gold, negatives, hostile, speed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/math_verifier.json"))
    args = parser.parse_args()

    from importlib.metadata import version

    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    for name in args.parts.split(","):
        result = PARTS[name](args)
        about = provenance()
        about["versions"] |= {
            package: version(package) for package in ("math-verify", "sympy", "latex2sympy2_extended")
        }
        old = json.loads(args.output_path.read_text()) if args.output_path.exists() else {}
        args.output_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output_path, old | {name: {"result": result, "provenance": about}})


if __name__ == "__main__":
    main()
