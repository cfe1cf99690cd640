"""`timecost fit-cost`: measure how long a model takes on this machine, and fit seconds to prompt and completion tokens.

    timecost fit-cost --model_name_or_path DIR --output_path cost.json

The file can be named as `cost_model` in training. It holds the hardware, R² on the lengths that were fitted, and the
errors on lengths that were not.
"""

import time
from pathlib import Path

from timecost.errors import UserError
from timecost.options import Parser

PROMPTS, DECODED = (1 / 32, 1 / 8, 3 / 8), (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # shares of the context
HELD_OUT = ((1 / 16, 3 / 16), (1 / 4, 3 / 32), (1 / 16, 3 / 8), (1 / 4, 5 / 16))


def build_parser() -> Parser:
    parser = Parser("timecost fit-cost", description="Fit seconds to tokens on this machine.")
    add = parser.add_argument
    add("--model_name_or_path", required=True, help="folder of a model, or its name (arithmetic_base is built in)")
    add("--output_path", default="cost.json", help="JSON file for the cost model (default: cost.json)")
    add("--batch_size", type=int, default=1, help="completions decoded together (default: 1)")
    add("--context", type=int, help="longest prompt and completion together, in tokens (default: 256, or the model's)")
    add("--max_seconds", type=float, default=40.0, help="time for measuring (default: 40)")
    return parser


def run(argv: list[str]) -> None:
    """The command `timecost fit-cost`."""
    args = build_parser().parse_args(argv)
    if args.batch_size < 1 or args.max_seconds <= 0:
        raise UserError("batch_size must be at least 1, and max_seconds positive")
    if not args.output_path.endswith(".json"):
        raise UserError(f"--output_path {args.output_path} must end in .json")
    from timecost.evaluation.results import make_folder, write_json
    from timecost.loading import load_model_to_use
    from timecost.provenance import provenance

    model, _ = load_model_to_use(args.model_name_or_path)
    longest = getattr(model.config, "max_position_embeddings", None) or 256
    context = args.context or min(256, longest)
    if not 64 <= context <= longest:
        raise UserError(f"--context {context} must lie between 64 and the model's {longest} tokens")
    content = fit(model, context, args.batch_size, args.max_seconds)
    content |= {"model_name_or_path": args.model_name_or_path, "provenance": provenance()}
    make_folder(Path(args.output_path).parent)
    write_json(args.output_path, content)
    errors = content["held_out"]
    print(
        f"{args.output_path}: seconds = {content['a']:.3g} + {content['b']:.3g} prompt + {content['c']:.3g} decoded + "
        f"{content['d']:.3g} decoded * context; R² {content['r_squared']:.3f}, off by at most "
        f"{100 * max(row['relative_error'] for row in errors):.0f} % on other lengths ({content['hardware']})"
    )


def fit(model, context: int, batch_size: int = 1, max_seconds: float = 40.0) -> dict:
    """Measure and fit; returns what the file holds.

    Every pair of lengths is timed in each round, in another order each time; what counts is its time in a quiet round
    (`quiet_seconds`). No round begins that would not end in time, save the first.
    """
    import random

    import numpy as np

    pairs = [(round(p * context), round(d * context)) for p in PROMPTS for d in DECODED]
    others = [(round(p * context), round(d * context)) for p, d in HELD_OUT]
    rng, order = random.Random(0), pairs + others
    time_generation(model, 8, 8, batch_size)
    deadline, rounds, longest = time.perf_counter() + max_seconds, [], 0.0
    while not rounds or time.perf_counter() + longest < deadline:
        started = time.perf_counter()
        taken = {pair: time_generation(model, *pair, batch_size) for pair in rng.sample(order, len(order))}
        rounds.append([taken[pair] for pair in order])
        longest = max(longest, time.perf_counter() - started)
    best = dict(zip(order, quiet_seconds(np.array(rounds)).tolist(), strict=True))
    seconds = np.array([best[pair] for pair in pairs])
    coefficients = fit_seconds(np.array(pairs), seconds)
    held_out = []
    for pair in others:
        predicted = float(features(np.array([pair]))[0] @ coefficients)
        error = abs(predicted / best[pair] - 1)
        held_out.append({"prompt": pair[0], "decoded": pair[1], "seconds": best[pair], "predicted": predicted,
                         "relative_error": error})  # fmt: skip
    residual = seconds - features(np.array(pairs)) @ coefficients
    return {
        "unit": "seconds", **dict(zip("abcd", coefficients.tolist(), strict=True)), "batch_size": batch_size,
        "r_squared": float(1 - residual @ residual / ((seconds - seconds.mean()) ** 2).sum()), "hardware": hardware(),
        "rounds": len(rounds), "measured": [{"prompt": p, "decoded": d, "seconds": best[p, d]} for p, d in pairs],
        "held_out": held_out,
    }  # fmt: skip


def quiet_seconds(rounds):
    """(rounds, pairs) of seconds to (pairs,): each pair's time in the quietest round.

    A busy machine slows whole rounds and now and then a single measurement. In log seconds a round adds the same to all
    pairs; medians over rounds and pairs in turn (Tukey's median polish) take it off, and let no single one count much.
    """
    import numpy as np

    log_seconds = np.log(rounds)
    slowness = np.zeros((len(rounds), 1))
    for _ in range(20):
        pairs = np.median(log_seconds - slowness, axis=0)
        slowness = np.median(log_seconds - pairs, axis=1, keepdims=True)
    return np.exp(pairs + slowness.min())


def features(pairs):
    """(1, prompt, decoded, decoded * mean context) of pairs (n, 2) of tokens."""
    import numpy as np

    prompt, decoded = np.asarray(pairs, dtype=float).T
    return np.stack([np.ones_like(prompt), prompt, decoded, decoded * (prompt + decoded / 2)], 1)


def fit_seconds(pairs, seconds):
    """Coefficients (4,) >= 0 of the least squares of relative errors; what would be negative is left out."""
    import numpy as np

    used = [0, 1, 2, 3]
    while True:
        weighted = features(pairs)[:, used] / seconds[:, None]
        found = np.linalg.lstsq(weighted, np.ones(len(seconds)), rcond=None)[0]
        if found.min() >= 0:
            out = np.zeros(4)
            out[used] = found
            return out
        used.pop(int(found.argmin()))


def time_generation(model, prompt: int, decoded: int, batch_size: int) -> float:
    """Seconds that `generate` takes for a batch of prompts of random tokens and exactly `decoded` new ones."""
    import torch
    from transformers import GenerationConfig

    generator = torch.Generator().manual_seed(prompt)
    ids = torch.randint(model.config.vocab_size, (batch_size, prompt), generator=generator).to(model.device)
    eos = model.config.eos_token_id
    config = GenerationConfig(
        max_new_tokens=decoded, min_new_tokens=decoded, do_sample=True, top_k=0, eos_token_id=eos,
        pad_token_id=eos[0] if isinstance(eos, list) else eos if eos is not None else 0,
    )  # fmt: skip
    wait = torch.cuda.synchronize if model.device.type == "cuda" else lambda: None
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        wait()
        started = time.perf_counter()
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        wait()
        return time.perf_counter() - started


def hardware() -> str:
    """Processor, threads, and the GPU if there is one."""
    from timecost.provenance import processor, torch_facts

    facts = torch_facts()
    return facts.get("accelerator") or f"{processor()}, {facts.get('threads', 1)} threads"
