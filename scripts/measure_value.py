"""Measures the value head on held-out arithmetic: does it know what more thinking buys; writes docs/results/value.json.

    python scripts/measure_value.py --models base=arithmetic_base
    python scripts/measure_value.py --models levin-0=outputs/reproduce/levin-0/model --parts guarantee

For each model, kept frozen: a head is fitted on problems of the split train, rivals are tuned and the rule is chosen on
validation, and everything is reported on test. Intervals are 95 %, by a bootstrap over problems. Samples are kept under
--cache, so that a second call measures without sampling.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from value_lab import LIMIT, TEST_SEED, Lab, solvable, suffix, unsolvable

PRICES = [10 ** (-3.5 + k / 4) for k in range(9)]  # two decades, per thinking token
SEEN, UNSEEN = ("unknown operator", "overflow"), ("missing operand", "too long")


def per_problem(traces, values: np.ndarray, of_points: bool = True) -> np.ndarray:
    """Sums over problems, (problems, ...), of values of points (N, ...) or of traces (T, ...)."""
    _, problem = np.unique(traces.problem.numpy(), return_inverse=True)
    problem = problem[traces.trace.numpy()] if of_points else problem
    out = np.zeros((problem.max() + 1, *values.shape[1:]))
    np.add.at(out, problem, values)
    return out


def estimate(numerator: np.ndarray, denominator: np.ndarray) -> list[float]:
    """[value, low, high] of a ratio of sums over problems."""
    from timecost.evaluation.metrics import ratio_of_sums

    return [round(float(x), 5) for x in ratio_of_sums(numerator, denominator)]


def mean_estimate(traces, values: np.ndarray, of_points: bool = True) -> list[float]:
    return estimate(per_problem(traces, values, of_points), per_problem(traces, np.ones(len(values)), of_points))


def forecast_of(head, traces):
    return head.forecast(traces)


def horizon_names(head) -> list[str]:
    return [*map(str, head.config.horizons), "end"]


def measure_calibration(heads: dict, views: dict, test, outcomes: np.ndarray) -> dict:
    """ECE and Brier score of the head at each horizon, and how far its Brier score is from each rival's."""
    from timecost.evaluation.metrics import bootstrap_counts
    from timecost.value.measures import brier, calibration_error, reliability

    forecasts = {name: forecast_of(head, views[name]).value.numpy() for name, head in heads.items()}
    forecasts["raw confidence"] = np.repeat(test.confidence.numpy()[:, None], outcomes.shape[1], 1)
    counts = bootstrap_counts(len(test.problem.unique()), 200)
    ones = per_problem(test, np.ones(len(test)))
    rows = {}
    for k, name in enumerate(horizon_names(heads["head"])):
        own, right = forecasts["head"][:, k], outcomes[:, k]
        bins = np.array_split(np.argsort(own, kind="stable"), 15)
        gaps = np.stack([
            counts @ per_problem(test, np.where(np.isin(np.arange(len(own)), b), own - right, 0.0)) for b in bins
        ])  # fmt: skip
        resampled = np.abs(gaps).sum(0) / (counts @ ones)
        rows[name] = {
            "ece": round(calibration_error(own, right), 4), "ece_high": round(float(np.quantile(resampled, 0.975)), 4),
            "brier": {other: round(brier(f[:, k], right), 5) for other, f in forecasts.items()},
            "brier_below": {
                other: mean_estimate(test, (f[:, k] - right) ** 2 - (own - right) ** 2)
                for other, f in forecasts.items() if other != "head"
            },
            "reliability": [[round(a, 4), round(b, 4), n] for a, b, n in reliability(own, right)],
        }  # fmt: skip
    return {"num_points": len(test), "num_problems": len(test.problem.unique()), "horizons": rows}


def write_picture(lab, name: str, head, test, sizes: dict, num_samples: int = 40) -> None:
    """value.json in the cache of the model, as a report shows it: reliability, the anytime curve, steps of samples."""
    from timecost.value.measures import calibration_error, reliability
    from timecost.value.targets import anytime_values

    forecast, values = head.forecast(test).value.numpy(), anytime_values(test, head.config.horizons).numpy()
    start = test.position.numpy() == 0
    measured = [mean_estimate(test, values[start][:, k], False) for k in range(values.shape[1])]  # one start a trace
    first = f"test{suffix(sizes['test_seed'])}-0-{min(1000, sizes['test'])}x{sizes['samples']}.json"
    told = json.loads((lab.cache / first).read_text())
    samples = []
    for t in range(0, len(told), max(1, len(told) // num_samples)):
        prompt, answer, ids = told[t]
        at = (test.trace == t).nonzero()[:, 0].tolist()
        ends = test.position[at].tolist()
        samples.append({
            "model": name, "task": "arithmetic", "budget": "inf", "problem": t // sizes["samples"],
            "sample": t % sizes["samples"], "prompt": prompt, "answer": answer,
            "completion": lab.tokenizer.decode(ids) + "</think>",
            "status": "correct" if test.end_value[t] >= 0.5 else "incorrect",
            "value_at_start": round(float(test.value[at[0]]), 4),
            "steps": [
                {"text": lab.tokenizer.decode(ids[a:b]), "tokens": b, "value": round(float(test.value[i]), 4)}
                for a, b, i in zip(ends, ends[1:], at[1:], strict=False)
            ],
        })  # fmt: skip
    end, right = forecast[:, -1], values[:, -1]
    picture = {
        "model": name, "task": "arithmetic", "calibration_error": round(calibration_error(end, right), 4),
        "reliability": [{"forecast": a, "outcome": b, "num": n} for a, b, n in reliability(end, right)],
        "anytime": {
            "tokens": list(head.config.horizons), "measured": [m[0] for m in measured[:-1]],
            "measured_low": [m[1] for m in measured[:-1]], "measured_high": [m[2] for m in measured[:-1]],
            "forecast": [float(x) for x in forecast[start].mean(0)[:-1]],
        },
    }  # fmt: skip
    (lab.cache / "value.json").write_text(json.dumps({"heads": [picture], "samples": samples}))


def measure_discrimination(heads: dict, views: dict, test, outcomes: np.ndarray) -> dict:
    """AUROC pooled, within problems, and within problems at the same position, of every forecast of correctness."""
    from timecost.evaluation.metrics import bootstrap_counts
    from timecost.value.measures import auroc, concordant_pairs

    names = horizon_names(heads["head"])
    forecasts = {name: forecast_of(head, views[name]).value.numpy() for name, head in heads.items()}
    forecasts["raw confidence"] = np.repeat(test.confidence.numpy()[:, None], outcomes.shape[1], 1)
    _, problem = np.unique(test.problem.numpy(), return_inverse=True)
    problem, position = problem[test.trace.numpy()], test.position.numpy()
    # Thoughts that are still the same word for word cannot be told apart: each counts once.
    state = np.round(test.hidden.numpy()[:, :8].astype(float), 3)
    keys = np.column_stack([problem, position, state])
    later = np.zeros(len(test), bool)
    later[np.unique(keys, axis=0, return_index=True)[1]] = True
    later &= position > 0
    matched = problem[later] * 1000 + position[later]
    of_matched = np.unique(matched) // 1000
    counts = bootstrap_counts(problem.max() + 1, 100)
    points = [np.flatnonzero(problem == i) for i in range(problem.max() + 1)]
    rows = {}
    for k in [names.index(name) for name in ("0", "8", "32", "end") if name in names]:
        right, row = outcomes[:, k], {}
        pairs = {}
        for name, forecast in forecasts.items():
            score = forecast[:, k]
            within = concordant_pairs(score, right, problem)
            at = concordant_pairs(score[later], right[later], matched)
            at = [np.bincount(of_matched, weights=x, minlength=problem.max() + 1) for x in at]
            pairs[name] = at
            row[name] = {
                "pooled": round(auroc(score, right), 4), "within": estimate(*within), "matched": estimate(*at),
            }  # fmt: skip
        for name in forecasts:
            if name != "head":
                row[name]["head_above_matched"] = estimate(pairs["head"][0] - pairs[name][0], pairs[name][1])
        gaps = []
        for count in counts:
            rows_drawn = np.concatenate([np.repeat(points[i], count[i]) for i in np.flatnonzero(count)])
            gaps.append(
                auroc(forecasts["head"][rows_drawn, k], right[rows_drawn])
                - auroc(forecasts["question only"][rows_drawn, k], right[rows_drawn])
            )
        row["question only"]["head_above_pooled"] = [
            round(row["head"]["pooled"] - row["question only"]["pooled"], 4),
            *(round(float(x), 4) for x in np.quantile(gaps, [0.025, 0.975])),
        ]
        row["num_matched_pairs"] = int(pairs["head"][1].sum())
        rows[names[k]] = row
    return rows


def decisions_of(head, traces, prices, rule: str | None = None, looks: bool = False) -> tuple[list, list]:
    """Decisions (N,) of a head at each price, and the tokens that each decision takes."""
    from timecost.value.stopping import StopRule, decide

    found, forecasts = [], {}
    for price in prices:
        own = head.at_price(price)
        if own not in forecasts:
            forecasts[own] = own.forecast(traces)
        found.append(decide(own, forecasts[own], traces.position, StopRule(price, rule=rule)))
    return found, [1.0 if looks or head.at_price(price).config.peek else 0.0 for price in prices]


def policies(heads: dict, views: dict, tune_views: dict, tune, test) -> dict:
    """name -> (value, tokens), each (traces, prices), of every way to stop on the test traces."""
    import torch

    from timecost.value.rivals import LOOK, outcome, signals, stop_at, tuned

    found = {}

    def add(name, decisions, looks):
        columns = [outcome(test, decision, look) for decision, look in zip(decisions, looks, strict=True)]
        found[name] = tuple(torch.stack([column[i] for column in columns], 1).double().numpy() for i in (0, 1))

    never = torch.zeros(len(test), dtype=torch.long)
    add("never stop", [never] * len(PRICES), [0.0] * len(PRICES))
    for name, head in heads.items():
        for rule in ("closed", "open"):
            add(f"{name} ({rule})", *decisions_of(head, views[name], PRICES, rule, name == "answer"))
    tune_signals = signals(tune)
    for name, signal in signals(test).items():
        candidates = tuned(tune, tune_signals[name], PRICES, LOOK[name])
        add(name, [stop_at(signal, threshold) for threshold in candidates], [LOOK[name]] * len(PRICES))
    return found


RIVALS = ("never stop", "fixed budget", "confidence", "entropy", "agreement",
          *(f"{view} only ({rule})" for view in ("length", "question") for rule in ("closed", "open")))  # fmt: skip


def measure_utility(found: dict, test, rule: str) -> dict:
    """Net utility, value - price * tokens, of every policy at every price, and the head against the best rival."""
    rows, gaps, above_answer = [], [], []
    own = f"head ({rule})"
    for k, price in enumerate(PRICES):
        net = {name: value[:, k] - price * tokens[:, k] for name, (value, tokens) in found.items()}
        best = max(RIVALS, key=lambda name: net[name].mean())
        gaps.append(net[own] - net[best])
        above_answer.append(net[own] - net[f"answer ({rule})"])
        rows.append({
            "price": price,
            "utility": {name: round(float(values.mean()), 5) for name, values in net.items()},
            "accuracy": {name: round(float(value[:, k].mean()), 5) for name, (value, _) in found.items()},
            "tokens": {name: round(float(tokens[:, k].mean()), 3) for name, (_, tokens) in found.items()},
            "best_rival": best, "head_above_best_rival": mean_estimate(test, gaps[-1], False),
            "head_above_answer": mean_estimate(test, above_answer[-1], False),
            "closed_above_open": mean_estimate(test, net["head (closed)"] - net["head (open)"], False),
        })  # fmt: skip
    return {
        "rows": rows, "head_above_best_rival_mean": mean_estimate(test, np.mean(gaps, 0), False),
        "head_above_answer_mean": mean_estimate(test, np.mean(above_answer, 0), False),
    }  # fmt: skip


def measure_saving(head, tune, test, loss: float = 0.005) -> dict:
    """Tokens saved by the largest price that loses at most `loss` of accuracy on the tuning problems."""
    from timecost.value.calibration import TESTED
    from timecost.value.rivals import outcome

    def curve(traces):
        return [outcome(traces, *pair) for pair in zip(*decisions_of(head, traces, TESTED), strict=True)]

    def row(traces, price, value, tokens):
        full = traces.num_thinking.double()
        lost = mean_estimate(traces, (traces.end_value - value).double().numpy(), False)
        saved = (full - tokens).numpy()
        share = estimate(per_problem(traces, saved, False), per_problem(traces, full.numpy(), False))
        return {"price": price, "accuracy_lost": lost, "tokens_saved": share}

    lost = [float((tune.end_value - value).mean()) for value, _ in curve(tune)]
    allowed = [k for k, x in enumerate(lost) if x <= loss]
    points = curve(test)
    rows = [row(test, price, *point) for price, point in zip(TESTED, points, strict=True)]
    within = [r for r in rows if r["accuracy_lost"][0] <= loss]
    return {
        "chosen_on_tuning": rows[allowed[-1]] if allowed else None,
        "largest_on_test": max(within, key=lambda r: r["tokens_saved"][0]) if within else None,
        "curve": rows,
    }


NOVEL = 0.0025  # share of usual questions that may be declined for being novel
DECLINED = 0.005  # share of tuning problems that the base solves every second time that may be declined


def measure_declining(lab, head, sizes: dict, known: set[str], tune, tests: dict, price: float = 0.001) -> dict:
    """Share of problems declined, and tokens spent on them, before the first token.

    By what the question looks like, which is fitted to solvable problems alone; by what the forecast says of it, the
    least value being chosen on tuning problems; and by either. `tune` and each of `tests` are (problems, traces).
    Unsolvable problems that are `known` to the head, by their prompts, are left out.
    """
    import torch

    from timecost.value.calibration import binomial_interval
    from timecost.value.novelty import fit_novelty
    from timecost.value.rivals import outcome
    from timecost.value.stopping import DECLINE, StopRule, decide, first_stop

    usual = lab.questions(solvable("train", 4 * sizes["novelty"], 8))
    novelty = fit_novelty(usual, torch.arange(len(usual)) % 4 == 0)

    def declined(problems, traces, least, novel):
        """Of each trace whether it is declined, and its tokens."""
        p_value = novelty.p_value(lab.questions(problems))
        p_value = p_value.repeat_interleave(len(traces.problem) // len(problems))
        rule = StopRule(price, least, decline_novel=novel)
        decision = decide(head, forecast_of(head, traces), traces.position, rule, None, p_value[traces.trace])
        at = first_stop(decision, traces.trace, len(traces.problem))
        _, tokens = outcome(traces, decision)
        return ((at >= 0) & (decision[at.clamp_min(0)] == DECLINE)).double().numpy(), tokens.double().numpy()

    def solvable_half(traces):
        """Traces of problems that the model answers at least every second time."""
        of = per_problem(traces, traces.end_value.double().numpy(), False)
        p = of / per_problem(traces, np.ones(len(traces.problem)), False)
        _, problem = np.unique(traces.problem.numpy(), return_inverse=True)
        return (p >= 0.5)[problem]

    least, keep = 0.0, solvable_half(tune[1])
    for candidate in np.arange(0.01, 1.0, 0.01):
        if declined(*tune, float(candidate), None)[0][keep].mean() > DECLINED:
            break
        least = float(candidate)

    def solvable_declined(test, rule):
        """Of the problems that the model answers at least every second time: as drawn, and each of them once."""
        of_test, keep = declined(*test, *rule)[0], solvable_half(test[1])
        by_problem, kept = (per_problem(test[1], x * keep, False) for x in (of_test, 1.0))
        count, total = int((by_problem > 0).sum()), int((kept > 0).sum())
        once = [count / total, *binomial_interval(count, total)]
        return {"as_drawn": estimate(by_problem, kept), "distinct": [round(x, 5) for x in once], "problems": total}

    unsolved = {kind: unsolvable(kind, sizes["unsolvable"], 3) for kind in (*SEEN, *UNSEEN)}
    result = {"price": price, "least_value": round(least, 2), "novel": NOVEL, "usual_questions": len(novelty.usual)}
    for name, rule in (("novelty", (None, NOVEL)), ("forecast", (least, None)), ("both", (least, NOVEL))):
        of_tests = {key: solvable_declined(test, rule) for key, test in tests.items()}
        result[name] = {"solvable_declined": of_tests, "kinds": {}}
        for kind, problems in unsolved.items():
            traces = lab.unsolvable("test", kind, sizes["unsolvable"], 3)
            fresh = [prompt not in known for prompt, _ in problems]
            traces = traces.select(torch.tensor(fresh))
            problems = [problem for problem, is_fresh in zip(problems, fresh, strict=True) if is_fresh]
            share, tokens = declined(problems, traces, *rule)
            result[name]["kinds"][kind] = {
                "seen": kind in SEEN, "problems": len(problems), "declined": mean_estimate(traces, share, False),
                "tokens_over_limit": round(float(tokens.mean()) / LIMIT, 4),
                "natural_tokens_over_limit": round(float(traces.num_thinking.double().mean()) / LIMIT, 4),
            }  # fmt: skip
    return result


def summary_of(head, found: dict, tune, test, outcomes, rule: str) -> dict:
    """A head in short: calibration, discrimination, utility against the best rival, and what it saves."""
    from dataclasses import replace

    import torch

    from timecost.value.measures import auroc, brier, calibration_error
    from timecost.value.rivals import outcome

    for own in (head, head.blind):
        own.config = replace(own.config, rule=rule)
    forecast = head.forecast(test).value.numpy()
    columns = [outcome(test, *pair) for pair in zip(*decisions_of(head, test, PRICES, rule), strict=True)]
    value, tokens = (torch.stack([c[i] for c in columns], 1).double().numpy() for i in (0, 1))
    gaps = []
    for k, price in enumerate(PRICES):
        net = {name: found[name][0][:, k] - price * found[name][1][:, k] for name in RIVALS}
        gaps.append(value[:, k] - price * tokens[:, k] - max(net.values(), key=lambda values: values.mean()))
    names, saving = horizon_names(head), measure_saving(head, tune, test)
    return {
        "peek_up_to": head.config.peek_up_to,
        "ece": {name: round(calibration_error(forecast[:, k], outcomes[:, k]), 4) for k, name in enumerate(names)},
        "brier_now": round(brier(forecast[:, 0], outcomes[:, 0]), 5),
        "auroc_now": round(auroc(forecast[:, 0], outcomes[:, 0]), 4),
        "auroc_end": round(auroc(forecast[:, -1], outcomes[:, -1]), 4),
        "head_above_best_rival": [mean_estimate(test, gap, False) for gap in gaps],
        "head_above_best_rival_mean": mean_estimate(test, np.mean(gaps, 0), False),
        "saving": saving["chosen_on_tuning"], "largest_saving_on_test": saving["largest_on_test"],
    }  # fmt: skip


def measure_seeds(lab, heads: dict, found: dict, tune, test, outcomes, rule: str, sizes) -> list:
    """What heads of other problems, thoughts and initialisations give, the first head among them."""
    rows = []
    for seed in range(sizes["seeds"]):
        head = heads["head"]
        if seed:
            fit = lab.traces(f"fit-seed{seed}", solvable("train", sizes["fit"], 10 * seed + 1), 1, 10 * seed + 1)
            head = lab.head(f"head-seed{seed}", fit, peek=True, seed=seed)
        rows.append({"seed": seed, **summary_of(head, found, tune, test, outcomes, rule)})
        print(f"seed {seed}: {rows[-1]['head_above_best_rival_mean']} above the best rival", flush=True)
    return rows


def measure_oracle(lab, found: dict, head, test, sizes, num_traces: int, seed: int = 11) -> dict:
    """The share of the gap between never stopping and an oracle that the head closes.

    At every boundary of `num_traces` test traces 16 fresh continuations are sampled and probed. The oracle goes on
    where their mean net return, for the best horizon, or when the head decides on them, is above that of stopping.
    """
    import torch

    from timecost.value.rivals import outcome
    from timecost.value.targets import anytime_values, returns

    rng = np.random.default_rng(seed)
    keep = torch.zeros(len(test.problem), dtype=torch.bool)
    keep[torch.from_numpy(rng.permutation(len(test.problem))[:num_traces])] = True
    subset = test.select(keep)
    fresh = lab.continuations(f"oracle{suffix(sizes['test_seed'])}", keep, subset, sizes, 16, seed)
    first = torch.ones(len(fresh), dtype=torch.bool)
    first[1:] = fresh.trace[1:] != fresh.trace[:-1]
    value = anytime_values(fresh, head.config.horizons)[first]
    remaining = (fresh.num_thinking - fresh.position[first]).float()
    decisions, looks = decisions_of(head, fresh, PRICES)
    look = torch.tensor(looks)  # the oracle pays as much as the head
    decisions = torch.stack(decisions, 1) != 0
    reward, tokens = returns(fresh, decisions, torch.tensor(PRICES), fresh.value, look)
    horizons = torch.tensor([*head.config.horizons, 10**6])
    spent = torch.minimum(horizons, remaining[:, None])
    result, policies_at = [], {}
    for k, price in enumerate(PRICES):
        committed = (value - price * spent)[:, 1:].view(len(subset), 16, -1).mean(1).max(1).values
        followed = (reward[first, k] - price * tokens[first, k]).view(-1, 16).mean(1)
        for name, going_on in (("open", committed), ("follow", followed), ("best", torch.maximum(committed, followed))):
            decision = (going_on <= subset.value).long()
            v, n = outcome(subset, decision, looks[k])
            policies_at.setdefault(name, []).append(float((v - price * n).mean()))
    rows = keep.numpy()
    for k, price in enumerate(PRICES):
        net = {name: (v[rows, k] - price * n[rows, k]).mean() for name, (v, n) in found.items()}
        oracle = max(policies_at[name][k] for name in policies_at)
        gap = oracle - net["never stop"]
        result.append({
            "price": price, "never": round(net["never stop"], 5), "oracle": round(oracle, 5),
            "oracles": {name: round(values[k], 5) for name, values in policies_at.items()},
            "closed": {n: round(float((net[n] - net["never stop"]) / gap), 4) for n in ("head (closed)", "head (open)")}
        })  # fmt: skip
    return {"num_traces": num_traces, "num_boundaries": len(subset), "continuations": 16, "rows": result}


def measure_guarantee(head, calibration, test, num_sets: int = 200, size: int = 1000, loss=0.01, delta=0.1) -> dict:
    """How often the price of a fresh calibration set loses more than it may on the test problems."""
    import torch

    from timecost.value.calibration import TESTED, binomial_interval, harms, largest_safe_price

    rng, u = np.random.default_rng(0), torch.Generator().manual_seed(0)
    harmed = harms(head, calibration, TESTED, torch.rand(len(calibration.problem), generator=u))
    test_harm = harms(head, test, TESTED, torch.rand(len(test.problem), generator=u)).double().mean(0)
    from timecost.value.rivals import outcome

    lost, used = [], []
    for decision, look in zip(*decisions_of(head, test, TESTED), strict=True):
        value, tokens = outcome(test, decision, look)
        lost.append(float((test.end_value - value).mean()))
        used.append(float(tokens.double().mean()))
    rows = []
    for _ in range(num_sets):
        drawn = rng.permutation(len(harmed))[:size]
        price = largest_safe_price(harmed[drawn], TESTED, loss=loss, delta=delta)
        k = TESTED.index(price) if price else None
        rows.append((price or 0.0, 0.0 if k is None else lost[k], 0.0 if k is None else float(test_harm[k]),
                     1.0 if k is None else used[k] / float(test.num_thinking.double().mean())))  # fmt: skip
    prices, losses, harm_rates, shares = map(np.array, zip(*rows, strict=True))
    exceeded, exceeded_harm = int((losses > loss).sum()), int((harm_rates > loss).sum())
    return {
        "loss": loss, "delta": delta, "num_sets": num_sets, "set_size": size, "pool": len(harmed),
        "test_problems": len(test.problem), "loss_exceeded": exceeded,
        "loss_exceeded_interval": [round(x, 4) for x in binomial_interval(exceeded, num_sets)],
        "harm_exceeded": exceeded_harm,
        "harm_exceeded_interval": [round(x, 4) for x in binomial_interval(exceeded_harm, num_sets)],
        "prices": [float(np.quantile(prices, q)) for q in (0, 0.1, 0.5, 0.9, 1)],
        "tokens_saved_median": round(float(1 - np.median(shares)), 4), "never_stops": int((prices == 0).sum()),
    }  # fmt: skip


def same(traces):
    return traces


def measure(lab: Lab, name: str, sizes: dict, parts: list[str]) -> dict:
    from dataclasses import replace

    import torch

    from timecost.value.head import load_value_head
    from timecost.value.rivals import sees_answer, sees_position, sees_question
    from timecost.value.targets import anytime_values
    from timecost.value.traces import join

    fit = lab.traces("fit", solvable("train", sizes["fit"], 1), 1, 1)
    tune = lab.traces("tune", solvable("validation", sizes["tune"], 2), 2, 2)
    seed = sizes["test_seed"]
    test = lab.traces(f"test{suffix(seed)}", solvable("test", sizes["test"], seed), sizes["samples"], seed)
    views = {"head": same, "length only": sees_position, "question only": sees_question, "answer": sees_answer}
    heads = {name: lab.head(name, view(fit), peek=name == "head") for name, view in views.items()}
    views["head without peek"], heads["head without peek"] = same, heads["head"].blind
    test_views, tune_views = ({n: view(t) for n, view in views.items()} for t in (test, tune))
    on_tune = policies(heads, tune_views, tune_views, tune, tune)
    net = {rule: np.mean([on_tune[f"head ({rule})"][0][:, k] - p * on_tune[f"head ({rule})"][1][:, k]
                          for k, p in enumerate(PRICES)]) for rule in ("open", "closed")}  # fmt: skip
    rule = max(net, key=net.get)
    head = heads["head"]
    for own in (head, head.blind):
        own.config = replace(own.config, rule=rule)
    values = anytime_values(test, head.config.horizons)
    outcomes = (torch.rand(values.shape, generator=torch.Generator().manual_seed(5)) < values).double().numpy()
    result = {
        "full": {"accuracy": mean_estimate(test, test.end_value.double().numpy(), False),
                 "thinking_tokens": mean_estimate(test, test.num_thinking.double().numpy(), False)},
        "fit": {"problems": sizes["fit"], "boundaries": len(fit)}, "rule": rule,
        "peek_up_to": head.config.peek_up_to,
    }  # fmt: skip
    compared = {"utility", "seeds", "joint", "oracle"} & set(parts)
    found = policies(heads, test_views, tune_views, tune, test) if compared else {}
    if "calibration" in parts:
        result["calibration"] = measure_calibration(heads, test_views, test, outcomes)
    if "discrimination" in parts:
        result["discrimination"] = measure_discrimination(heads, test_views, test, outcomes)
    if "utility" in parts:
        result["utility"] = measure_utility(found, test, rule)
        result["saving"] = measure_saving(head, tune, test)
    if "declining" in parts:
        kinds = {kind: n for kind, n in zip(SEEN, (300, sizes["told"]), strict=True)}
        told = [lab.unsolvable("fit", kind, n, 1) for kind, n in kinds.items()]
        known = {prompt for kind, n in kinds.items() for prompt, _ in unsolvable(kind, n, 1)}
        problems = solvable("validation", sizes["decline_tune"], 9)
        drawn = solvable("test", sizes["guarantee"], 4)  # one thought each: it stands for how often the base is right
        tests = {
            "test": (solvable("test", sizes["test"], seed), test),
            "more, one thought each": (drawn, lab.traces("guarantee-test", drawn, 1, 4)),
        }
        result["declining"] = measure_declining(
            lab, lab.declining_head(join([fit, *told])), sizes, known,
            (problems, lab.traces("decline-tune", problems, 2, 9)), tests,
        )  # fmt: skip
    if "seeds" in parts:
        result["seeds"] = measure_seeds(lab, heads, found, tune, test, outcomes, rule, sizes)
    if "joint" in parts:
        result["joint"] = summary_of(load_value_head(lab.model, lab.path), found, tune, test, outcomes, rule)
    if "matched" in parts:
        many = lab.traces(f"many{suffix(seed)}", solvable("test", sizes["many"], seed + 4), 16, seed + 4)
        value = anytime_values(many, head.config.horizons)
        drawn = torch.rand(value.shape, generator=torch.Generator().manual_seed(6)) < value
        views_of_many = {name: view(many) for name, view in views.items()}
        result["matched"] = {
            "problems": sizes["many"], "samples": 16, "boundaries": len(many),
            "horizons": measure_discrimination(heads, views_of_many, many, drawn.double().numpy()),
        }  # fmt: skip
    if "picture" in parts:
        write_picture(lab, name, head, test, sizes)
    if "oracle" in parts:
        result["oracle"] = measure_oracle(lab, found, head, test, sizes, sizes["oracle"])
    if "guarantee" in parts:
        calibration = lab.traces("guarantee-cal", solvable("validation", sizes["guarantee"], 5), 1, 5)
        fresh = lab.traces("guarantee-test", solvable("test", sizes["guarantee"], 4), 1, 4)
        result["guarantee"] = measure_guarantee(head, calibration, fresh)
    return result


PARTS = ("calibration", "discrimination", "matched", "utility", "seeds", "declining", "oracle", "picture", "guarantee")
JOINT = "joint"  # the head that was fitted beside the policy and lies in the model's folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["base=arithmetic_base"], help="NAME=FOLDER of each model")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=(*PARTS, JOINT))
    parser.add_argument("--fit", type=int, default=24000, help="problems to fit on, one thought each")
    parser.add_argument("--tune", type=int, default=1000)
    parser.add_argument("--test", type=int, default=1200)
    parser.add_argument("--test_seed", type=int, default=TEST_SEED, help="of the test problems; others are kept apart")
    parser.add_argument("--samples", type=int, default=4, help="thoughts on each test problem")
    parser.add_argument("--seeds", type=int, default=3, help="heads, each fitted to thoughts on problems of its own")
    parser.add_argument("--many", type=int, default=600, help="test problems with 16 thoughts, for matched positions")
    parser.add_argument("--unsolvable", type=int, default=300, help="problems of each unsolvable kind")
    parser.add_argument("--told", type=int, default=6000, help="unsolvable problems that the declining head is told of")
    parser.add_argument("--novelty", type=int, default=1000, help="usual questions; three times as many are fitted to")
    parser.add_argument("--decline_tune", type=int, default=3000, help="problems that the least value is chosen on")
    parser.add_argument("--oracle", type=int, default=300, help="test thoughts whose boundaries are continued")
    parser.add_argument("--guarantee", type=int, default=20000, help="problems to draw calibration sets from")
    parser.add_argument("--cache", type=Path, default=Path("outputs/value"))
    parser.add_argument("--output_path", type=Path, default=Path("docs/results/value.json"))
    args = parser.parse_args()

    import torch

    from timecost.evaluation.results import write_json
    from timecost.provenance import provenance

    torch.set_num_threads(1)
    sizes = {name: value for name, value in vars(args).items() if isinstance(value, int)}
    for model in args.models:
        name, _, path = model.partition("=")
        found = measure(Lab(path, args.cache / name), name, sizes, args.parts)
        name += "" if args.test_seed == TEST_SEED else f", test problems of seed {args.test_seed}"
        results = json.loads(args.output_path.read_text())["models"] if args.output_path.exists() else {}
        old = results.get(name, {})
        made = provenance() | {"sizes": sizes}
        origin = {**old.get("provenance", {}), **dict.fromkeys(args.parts, made)}  # of each part
        results[name] = {**old, **found, "provenance": origin}
        args.output_path.parent.mkdir(parents=True, exist_ok=True)
        write_json(args.output_path, {"limit": LIMIT, "prices": PRICES, "models": results})
    print(f"wrote {args.output_path}")


if __name__ == "__main__":
    main()
