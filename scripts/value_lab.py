"""Samples for the value head's measurements: thoughts, probes, continuations and heads of one model, kept in files.

`measure_value.py` measures on them. The task is the embedded arithmetic, solvable problems and unsolvable ones.
"""

import hashlib
import json
import random
import time
from pathlib import Path

LIMIT = 96  # thinking tokens
TEST_SEED = 3  # of the usual test problems


def suffix(seed: int) -> str:
    return "" if seed == TEST_SEED else f"-seed{seed}"


def sample_thinking(model, prompts, limits, stop_ids, seed, batch_size=1024):
    """Thinking of each prompt of token ids up to the first of `stop_ids` (cut off) or its limit; and whether it ended.

    Like `generate` at temperature 1; rows that have ended leave the batch, so that short ones do not wait.
    """
    import torch
    from transformers import DynamicCache

    generator = torch.Generator().manual_seed(seed)
    out, ended = [[] for _ in prompts], [False] * len(prompts)
    stop = torch.tensor(stop_ids)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            width = max(len(prompts[i]) for i in rows)
            ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
            for k, i in enumerate(rows):
                ids[k, width - len(prompts[i]) :], mask[k, width - len(prompts[i]) :] = torch.tensor(prompts[i]), 1
            left = torch.tensor([limits[i] for i in rows])
            cache, position = DynamicCache(config=model.config), (mask.cumsum(1) - 1).clamp_min(0)
            while len(rows):
                logits = model(
                    input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache, logits_to_keep=1
                ).logits[:, -1]
                token = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                stopped = torch.isin(token, stop)
                for k, (t, s) in enumerate(zip(token.tolist(), stopped.tolist(), strict=True)):
                    if s:
                        ended[rows[k]] = True
                    elif left[k] > 0:
                        out[rows[k]].append(t)
                left -= 1
                keep = (~stopped & (left >= 0)).nonzero()[:, 0]
                if len(keep) < len(rows):
                    cache.batch_select_indices(keep)
                    rows, left, mask, token = [rows[k] for k in keep.tolist()], left[keep], mask[keep], token[keep]
                    position = position[keep]
                ids, mask = token[:, None], torch.cat([mask, torch.ones(len(rows), 1, dtype=torch.long)], 1)
                position = position[:, -1:] + 1
    return out, ended


class Lab:
    """One model, its task, and what has been sampled from it."""

    def __init__(self, path: str, cache: Path):
        from timecost.loading import load_model_to_use
        from timecost.tasks import get_task
        from timecost.value.steps import step_rule

        self.model, self.tokenizer, self.path = *load_model_to_use(path), path
        self.task, self.cache = get_task("arithmetic"), cache
        self.rule = step_rule(self.tokenizer, self.task.step_end)
        self.think_end, self.eos = self.tokenizer.convert_tokens_to_ids("</think>"), self.tokenizer.eos_token_id
        cache.mkdir(parents=True, exist_ok=True)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def traces(self, name: str, problems: list, num_samples: int, seed: int, chunk: int = 1000):
        """Probed traces of `num_samples` thoughts on each problem, a list of (prompt, answer or None)."""
        from timecost.value.traces import join

        starts = range(0, len(problems), chunk)
        return join([
            self._chunk(f"{name}-{start}", problems[start : start + chunk], num_samples, 1_000_003 * seed + start)
            for start in starts
        ])  # fmt: skip

    def head(self, name: str, traces, peek: bool, seed: int = 0):
        """A head fitted to traces, or the one of that name that was."""
        import torch

        from timecost.value.fitting import FitConfig, fit_value_head

        path = self.cache / f"{name.replace(' ', '_')}-{len(traces)}.pt"
        if not path.exists():
            start = time.perf_counter()
            head = fit_value_head(
                traces, FitConfig(peek=peek, seed=seed), step_rule=self.rule, task="arithmetic",
                max_thinking_tokens=LIMIT,
            )  # fmt: skip
            torch.save(head, path)
            print(f"fitted {name}, {time.perf_counter() - start:.0f} s", flush=True)
        return torch.load(path, weights_only=False)

    def declining_head(self, traces):
        """A head for declining alone, the open loop: it is told of problems that nothing solves, or was."""
        import torch

        from timecost.value.fitting import FitConfig, fit_open, set_bin_tokens, split_problems, standardise
        from timecost.value.head import ValueHead, ValueHeadConfig
        from timecost.value.targets import horizons_up_to

        path = self.cache / f"declining-{len(traces)}.pt"
        if not path.exists():
            start, config = time.perf_counter(), FitConfig(width=256, num_epochs=24)
            torch.manual_seed(config.seed)
            head = ValueHead(ValueHeadConfig(
                traces.hidden.shape[1], horizons_up_to(LIMIT), width=config.width, peek=True, rule="open",
                step_rule=self.rule, task="arithmetic", max_thinking_tokens=LIMIT,
            ))  # fmt: skip
            standardise(head, traces)
            set_bin_tokens(head, traces)
            fit_open(head, traces, split_problems(traces, config.validation_share, config.seed), config)
            torch.save(head.eval(), path)
            print(f"fitted the declining head, {time.perf_counter() - start:.0f} s", flush=True)
        return torch.load(path, weights_only=False)

    def questions(self, problems: list):
        """Features (problems, H) of the prompts."""
        from timecost.value.novelty import question_features

        return question_features(self.model, [self.tokenizer(prompt)["input_ids"] for prompt, _ in problems])

    def unsolvable(self, name: str, kind: str, num_problems: int, seed: int):
        return self._chunk(f"{name}-{kind}-0", unsolvable(kind, num_problems, seed), 1, seed)

    def continuations(self, name: str, keep, subset, sizes: dict, num_fresh: int, seed: int):
        """Probed traces of fresh continuations of every boundary of the test traces in `keep`, in their order."""
        from timecost.value.probes import score_answers
        from timecost.value.steps import step_boundaries
        from timecost.value.traces import ProbedTraces, Trace

        path = self.cache / f"{name}-{len(subset)}x{num_fresh}.safetensors"
        if path.exists():
            return ProbedTraces.load(path)
        start, told, test = time.perf_counter(), [], f"test{suffix(sizes['test_seed'])}"
        for k in range(0, sizes["test"], 1000):
            size = min(1000, sizes["test"] - k)
            told += json.loads((self.cache / f"{test}-{k}-{size}x{sizes['samples']}.json").read_text())
        told = [row for row, kept in zip(told, keep.tolist(), strict=True) if kept]
        opened = [
            (*told[t][:2], told[t][2][:position])
            for t, position in zip(subset.trace.tolist(), subset.position.tolist(), strict=True)
            for _ in range(num_fresh)
        ]
        prompts = [self.tokenizer(prompt)["input_ids"] for prompt, _, _ in opened]
        thinking, ended = sample_thinking(
            self.model, [a + row[2] for a, row in zip(prompts, opened, strict=True)],
            [LIMIT - len(row[2]) for row in opened], [self.think_end, self.eos], seed,
        )  # fmt: skip
        traces = []
        for i, (row, prompt, ids, end) in enumerate(zip(opened, prompts, thinking, ended, strict=True)):
            ids = row[2] + ids
            at = [b for b in step_boundaries(ids, self.rule) if b >= len(row[2])]
            traces.append(Trace(i // num_fresh, prompt, ids, end, at))
        answers = [self.ids(answer) for _, answer, _ in opened]
        found = score_answers(self.model, traces, answers, [self.think_end], self.eos, batch_size=64)
        found = count_from_the_start(found, subset.agreed[found.trace // num_fresh])
        found.save(path)
        print(f"{name}: {len(traces)} continuations, {time.perf_counter() - start:.0f} s", flush=True)
        return found

    def _chunk(self, name: str, problems: list, num_samples: int, seed: int):
        from timecost.value.probes import score_answers
        from timecost.value.steps import step_boundaries
        from timecost.value.traces import ProbedTraces, Trace

        path = self.cache / f"{name}-{len(problems)}x{num_samples}.safetensors"
        if path.exists():
            return ProbedTraces.load(path)
        kept = path.with_suffix(".json")
        start = time.perf_counter()
        rows = [i for i in range(len(problems)) for _ in range(num_samples)]
        prompts = [self.tokenizer(prompt)["input_ids"] for prompt, _ in problems]
        answers = [None if answer is None else self.ids(answer) for _, answer in problems]
        # the same prompt is the same problem, however often it was drawn
        number = [int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:7]) for prompt, _ in problems]
        if kept.exists():
            thinking = [row[2] for row in json.loads(kept.read_text())]
            ended = [len(ids) < LIMIT for ids in thinking]
        else:
            thinking, ended = sample_thinking(
                self.model, [prompts[i] for i in rows], [LIMIT] * len(rows), [self.think_end, self.eos], seed
            )
        traces = [
            Trace(number[i], prompts[i], ids, end, step_boundaries(ids, self.rule))
            for i, ids, end in zip(rows, thinking, ended, strict=True)
        ]
        found = score_answers(self.model, traces, [answers[i] for i in rows], [self.think_end], self.eos, batch_size=64)
        told = [(problems[i][0], problems[i][1], ids) for i, ids in zip(rows, thinking, strict=True)]
        kept.write_text(json.dumps(told))
        found.save(path)
        print(
            f"{name}: {len(found)} boundaries of {len(rows)} thoughts, {time.perf_counter() - start:.0f} s", flush=True
        )
        return found


def count_from_the_start(fresh, agreed):
    """Continuations whose agreement counts what lies before them too; `agreed` (N,) is that at the start of each."""
    from dataclasses import replace

    import torch

    index = torch.arange(len(fresh))
    inside = index - torch.searchsorted(fresh.trace, fresh.trace)  # boundaries before this one in its continuation
    return replace(fresh, agreed=fresh.agreed + torch.where(fresh.agreed == inside + 1, agreed - 1, 0))


def solvable(split: str, num_problems: int, seed: int) -> list[tuple[str, str]]:
    from timecost.tasks import arithmetic

    return [(p.prompt, p.answer) for p in arithmetic.problems(split, num_problems, seed, distinct=False)]


def unsolvable(kind: str, num_problems: int, seed: int) -> list[tuple[str, None]]:
    """Problems that no answer in the model's language solves.

    unknown operator: one operator is a character that the tokenizer does not have. overflow: the last operation leaves
    the digits, the only values that the model writes. missing operand: one operand is a question mark. too long: 16 to
    20 operands, letters beginning anew, and a result that is no digit.
    """
    from timecost.tasks import arithmetic

    rng = random.Random(f"{kind} {seed}")
    rows = []
    while len(rows) < num_problems:
        problem = arithmetic.sample_problem(rng, rng.choice(list(arithmetic.DIFFICULTIES)))
        text, operation = problem.expression, rng.randrange(len(problem.rest))
        if kind == "unknown operator":
            text = text[: 3 * operation + 3] + "/" + text[3 * operation + 4 :]
        elif kind == "missing operand":
            text = text[: 3 * operation + 4] + "?" + text[3 * operation + 5 :]
        elif kind == "overflow":
            if problem.values[-2] == 0:
                continue
            text = text[:-2] + f"+{rng.randrange(10 - problem.values[-2], 10)}"
        else:
            long = arithmetic.sample_problem(rng, rng.randrange(16, 21))
            if long.values[-2] == 0:
                continue
            letters = [arithmetic.LETTERS[k % 10] for k in range(1 + len(long.rest))]
            last = f"+{rng.randrange(10 - long.values[-2], 10)}"
            steps = [f"{operator}{operand}" for operator, operand in long.rest[:-1]] + [last]
            text = f"a{long.first}" + "".join(a + b for a, b in zip(letters[1:], steps, strict=True))
        rows.append((f"{text}=<think>", None))
    return rows
