"""B'MOJO measured: recall beyond the window, speed of training and of decoding, bytes of the cache.

    python scripts/bench_bmojo.py mqar --lengths 64,128 --width 64 --seeds 0,1,2  # resumable (--ledger)
    python scripts/bench_bmojo.py speed                                    # training tokens/s, L = 1024
    python scripts/bench_bmojo.py decode --contexts 8192,32768                        # ms a token against Llama
    python scripts/bench_bmojo.py bytes --contexts 2048,8192,32768

The same commands run on a CPU and on a GPU. Each writes docs/results/bmojo_<command>.json.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

VOCABULARY = 8192
PAIRS = {64: 4, 128: 8, 256: 16, 512: 64}  # length of a sequence -> key-value pairs in it (Zoology's settings)


def mqar(length: int, pairs: int, number: int, generator, vocabulary: int = VOCABULARY):
    """Multi-query associative recall (arXiv 2312.04927): inputs and labels, both (number, length).

    Keys and values alternate, then each key returns once, at even distances drawn from p(x) ~ x^(a-1), a = 0.01;
    the label there is its value, -100 elsewhere. Between them stand random tokens.
    """
    import torch

    half, context = vocabulary // 2, 2 * pairs
    weights = torch.ones(number, half - 1)
    keys = torch.multinomial(weights, pairs, generator=generator) + 1
    values = torch.multinomial(weights, pairs, generator=generator) + half
    places = torch.arange(1, (length - context) // 2 + 1, dtype=torch.float64) ** (0.01 - 1)
    gaps = torch.multinomial(places.expand(number, -1), pairs, generator=generator)
    queries = context + 2 * gaps
    inputs = torch.randint(1, vocabulary, (number, length), generator=generator)
    inputs[:, :context] = torch.stack([keys, values], -1).flatten(1)
    inputs.scatter_(1, queries, keys)
    labels = torch.full((number, length), -100).scatter(1, queries, values)
    return inputs, labels


def bmojo(width: int, window: int, size: int, vocabulary: int, **fields):
    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM

    defaults = {
        "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": 0, "num_hidden_layers": 2,
        "num_attention_heads": 2, "sliding_window": window, "eidetic_size": size, "ssm_head_dim": width // 2,
        "ssm_state_size": 16, "ssm_chunk_size": 32, "tie_word_embeddings": True, "qk_conv": 3,
    }  # fmt: skip
    return BMojoForCausalLM(BMojoConfig(**{**defaults, **fields}))


def mamba2(width: int, vocabulary: int, num_layers: int = 2, head_dim: int | None = None, state_size: int = 16):
    from transformers import Mamba2Config, Mamba2ForCausalLM

    head_dim = head_dim or width // 2
    return Mamba2ForCausalLM(
        Mamba2Config(
            vocab_size=vocabulary, hidden_size=width, num_hidden_layers=num_layers, expand=2, head_dim=head_dim,
            num_heads=2 * width // head_dim, state_size=state_size, n_groups=1, chunk_size=32,
            tie_word_embeddings=True,
        )
    )  # fmt: skip


def mqar_models(window: int, size: int) -> dict:
    """Name -> function that makes the model of a width. The controls keep as many tokens, chosen otherwise."""

    def with_fields(size, **fields):
        return lambda width: bmojo(width, window, size, VOCABULARY, **fields)

    return {
        "bmojo": with_fields(size),
        "bmojo_f": with_fields(0),
        "sliding_window": with_fields(0, fading_window=0),
        "random": with_fields(size, eidetic_policy="random"),
        "recency": with_fields(size, eidetic_policy="recency"),
        "mamba2": lambda width: mamba2(width, VOCABULARY),
    }


def mixing_parameters(model) -> int:
    """Parameters without the embeddings."""
    return sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()


def matched(build, budget: int):
    """The model of `build` whose parameters without embeddings come nearest to `budget`; widths in steps of 16."""
    widths = range(16, 1025, 16)
    best = min(widths, key=lambda width: abs(mixing_parameters_of(build, width) - budget))
    return build(best), best


def mixing_parameters_of(build, width: int) -> int:
    import torch

    with torch.device("meta"):
        return mixing_parameters(build(width))


def train_mqar(model, length: int, rate: float, seed: int, args, device) -> dict:
    """Train on fresh sequences with AdamW and a cosine rate; accuracy at queries of 1000 held-out sequences."""
    import torch
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(seed)
    model = model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    head, backbone = model.get_output_embeddings(), model.base_model
    started, curve = time.perf_counter(), []

    def at_queries(inputs, labels):
        inputs, labels = inputs.to(device), labels.to(device)
        asked = labels != -100
        hidden = backbone(inputs, use_cache=False).last_hidden_state[asked]
        return head(hidden), labels[asked]

    def accuracy():
        test = torch.Generator().manual_seed(10**6 + seed)
        right = asked = 0
        with torch.no_grad():
            for _ in range(10):
                logits, labels = at_queries(*mqar(length, args.pairs or PAIRS[length], 100, test))
                right, asked = right + (logits.argmax(-1) == labels).sum().item(), asked + len(labels)
        return right / asked

    for step in range(1, args.steps + 1):
        logits, labels = at_queries(*mqar(length, args.pairs or PAIRS[length], args.batch_size, generator))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % args.report_every == 0 or step == args.steps:
            model.eval()
            curve.append({"step": step, "loss": loss.item(), "accuracy": accuracy()})
            model.train()
            print(f"step {step}: loss {loss.item():.3f}, accuracy {curve[-1]['accuracy']:.3f}", flush=True)
    return {"accuracy": curve[-1]["accuracy"], "curve": curve, "seconds": time.perf_counter() - started}


def run_mqar(args, device) -> dict:
    import torch

    models = mqar_models(args.window, args.eidetic_size)
    names = args.models.split(",") if args.models else list(models)
    unknown = set(names) - set(models)
    if unknown:
        raise SystemExit(f"no model {', '.join(unknown)}: choose among {', '.join(models)}")
    rates = [float(r) for r in args.rates.split(",")] if args.rates else torch.logspace(-4, -2, 4).tolist()
    settings = {n: getattr(args, n) for n in ("width", "window", "eidetic_size", "steps", "batch_size", "pairs")}
    args.ledger.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in args.ledger.read_text().splitlines()] if args.ledger.exists() else []
    budget = mixing_parameters_of(models["bmojo"], args.width)
    keys = ("model", "length", "rate", "seed", "settings")
    wanted = [
        {"model": name, "length": length, "rate": round(rate, 8), "seed": seed, "settings": settings}
        for length in map(int, args.lengths.split(","))
        for seed in map(int, args.seeds.split(","))
        for rate in rates
        for name in names
    ]
    for row in wanted:
        if any({k: old[k] for k in keys} == row for old in rows):
            continue
        torch.manual_seed(row["seed"])
        model, width = matched(models[row["model"]], budget)
        print(f"{row['model']}, width {width}, length {row['length']}, rate {row['rate']:.1e}, seed {row['seed']}")
        result = train_mqar(model, row["length"], row["rate"], row["seed"], args, device)
        row = {**row, "width": width, "parameters": mixing_parameters(model), **result}
        rows.append(row)
        with open(args.ledger, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    rows = [row for row in rows if {k: row[k] for k in keys} in wanted]
    summary = []
    for name in names:
        for length in sorted({row["length"] for row in rows}):
            by_rate = {}
            for row in rows:
                if (row["model"], row["length"]) == (name, length):
                    by_rate.setdefault(row["rate"], []).append(row["accuracy"])
            best = max(by_rate, key=lambda rate: statistics.mean(by_rate[rate]))
            summary.append(
                {"model": name, "length": length, "best_rate": best, "accuracies": by_rate[best],
                 "mean_accuracy": statistics.mean(by_rate[best])}
            )  # fmt: skip
    return {"summary": summary, "runs": [{k: v for k, v in row.items() if k != "curve"} for row in rows]}


def speed_models(args) -> dict:
    """B'MOJO, Llama and Mamba-2 with about the same number of parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from timecost.models.bmojo import BMojoConfig, BMojoForCausalLM

    heads = args.width // 64
    common = {"vocab_size": VOCABULARY, "hidden_size": args.width, "num_attention_heads": heads}
    llama = LlamaForCausalLM(
        LlamaConfig(
            **common, num_hidden_layers=args.layers, intermediate_size=4 * args.width,
            max_position_embeddings=65536, tie_word_embeddings=True,
        )
    )  # fmt: skip
    target = sum(p.numel() for p in llama.parameters())

    def bmojo_of(intermediate):
        return BMojoForCausalLM(
            BMojoConfig(
                **common, num_hidden_layers=args.layers, intermediate_size=intermediate, sliding_window=args.window,
                eidetic_size=args.eidetic_size, max_position_embeddings=65536, tie_word_embeddings=True,
            )
        )  # fmt: skip

    # The MLP gives what the state-space model takes.
    extra = sum(p.numel() for p in bmojo_of(4 * args.width).parameters()) - target
    narrower = extra // (3 * args.width * args.layers)
    own = bmojo_of(max(64, 4 * args.width - narrower))
    layer = mixing_parameters_of(lambda width: mamba2(width, VOCABULARY, 1, 64, 64), args.width)
    layers = max(1, round((target - VOCABULARY * args.width) / layer))
    other = mamba2(args.width, VOCABULARY, layers, 64, 64)
    return {"bmojo": own, "llama": llama, "mamba2": other}


def seconds(function, device) -> float:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def run_speed(args, device) -> dict:
    import torch

    models = {name: model.to(device).train() for name, model in speed_models(args).items()}
    ids = torch.randint(1, VOCABULARY, (args.batch_size, args.length), device=device)
    rounds = {name: [] for name in models}

    def step(model):
        model.zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()

    for i in range(args.rounds + 1):
        for name in list(models) if i % 2 else list(models)[::-1]:
            rounds[name].append(ids.numel() / seconds(lambda name=name: step(models[name]), device))
            print(f"round {i}: {name} {rounds[name][-1]:.0f} tokens/s", flush=True)
    rounds = {name: values[1:] for name, values in rounds.items()}  # the first is warm-up
    return {
        "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()},
        "tokens_per_second": rounds,
        "median_ratio": {
            f"bmojo/{other}": statistics.median(a / b for a, b in zip(rounds["bmojo"], rounds[other], strict=True))
            for other in ("llama", "mamba2")
        },
    }


def bmojo_cache(model, ids, part: int = 1024):
    """The cache after these tokens, given in parts."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    for piece in ids.split(part, dim=1):
        model.base_model(piece, past_key_values=cache, use_cache=True)
    return cache


def llama_cache(model, context: int, room: int, device):
    """A static cache that holds `context` tokens; zeros, since the time of a step depends on its shape alone."""
    import torch
    from transformers import StaticCache

    config = model.config
    cache = StaticCache(config=config, max_cache_len=context + room)
    shape = (1, config.num_key_value_heads, context, config.head_dim)
    for layer in range(config.num_hidden_layers):
        zeros = torch.zeros(shape, device=device, dtype=model.dtype)
        cache.update(zeros, zeros, layer)
    return cache


def run_decode(args, device) -> dict:
    import torch

    models = speed_models(args)
    models = {name: models[name].to(device).eval() for name in ("bmojo", "llama")}
    token = torch.ones(1, 1, dtype=torch.long, device=device)
    results = {}
    with torch.inference_mode():
        for context in map(int, args.contexts.split(",")):
            ids = torch.randint(1, VOCABULARY, (1, context), device=device)
            room = (args.rounds + 1) * args.steps
            caches = {
                "bmojo": bmojo_cache(models["bmojo"], ids),
                "llama": llama_cache(models["llama"], context, room, device),
            }

            def decode(name, caches=caches):
                for _ in range(args.steps):
                    models[name](token, past_key_values=caches[name], use_cache=True)

            times = {name: [] for name in models}
            for i in range(args.rounds + 1):
                for name in list(models) if i % 2 else list(models)[::-1]:
                    times[name].append(1000 * seconds(lambda name=name: decode(name), device) / args.steps)
            times = {name: values[1:] for name, values in times.items()}
            ratio = statistics.median(a / b for a, b in zip(times["bmojo"], times["llama"], strict=True))
            results[str(context)] = {"ms_per_token": times, "median_ratio_bmojo_llama": ratio}
            print(
                f"context {context}: { ({n: round(statistics.median(v), 2) for n, v in times.items()}) } ms", flush=True
            )
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    return {"parameters": parameters, "contexts": results}


def run_bytes(args, device) -> dict:
    import torch

    model = speed_models(args)["bmojo"].to(device).eval()
    config, sizes = model.config, {}
    with torch.inference_mode():
        for context in map(int, args.contexts.split(",")):
            cache = bmojo_cache(model, torch.randint(1, VOCABULARY, (1, context), device=device))
            per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
            sizes[str(context)] = {
                "bmojo": sum(layer.num_bytes() for layer in cache.layers),
                "full_attention": context * per_token * model.dtype.itemsize,
            }
            print(context, sizes[str(context)], flush=True)
    return {"bytes": sizes}


RUNS = {"mqar": run_mqar, "speed": run_speed, "decode": run_decode, "bytes": run_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in RUNS:
        sub = commands.add_parser(name)
        sub.add_argument("--device", default=None, help="cpu or cuda; the GPU where there is one")
        sub.add_argument("--threads", type=int, default=1)
        sub.add_argument("--output_path", type=Path, default=Path(f"docs/results/bmojo_{name}.json"))
        sub.add_argument("--width", type=int, default=64 if name == "mqar" else 512)
        sub.add_argument("--window", type=int, default=8 if name == "mqar" else 128)
        sub.add_argument("--eidetic_size", type=int, default=16 if name == "mqar" else 64)
        if name == "mqar":
            sub.add_argument("--lengths", default="64,128,256,512")
            sub.add_argument("--pairs", type=int, default=0, help="key-value pairs; 0: Zoology's number for the length")
            sub.add_argument("--models", default="", help="of bmojo, bmojo_f, sliding_window, random, recency, mamba2")
            sub.add_argument("--rates", default="", help="learning rates; four in [1e-4, 1e-2] where left out")
            sub.add_argument("--seeds", default="0,1,2")
            sub.add_argument("--steps", type=int, default=2000)
            sub.add_argument("--batch_size", type=int, default=64)
            sub.add_argument("--report_every", type=int, default=500)
            sub.add_argument("--ledger", type=Path, default=Path("outputs/bmojo_mqar.jsonl"))
        else:
            sub.add_argument("--layers", type=int, default=6)
        if name == "speed":
            sub.add_argument("--length", type=int, default=1024)
            sub.add_argument("--batch_size", type=int, default=1)
        if name == "decode":
            sub.add_argument("--steps", type=int, default=16, help="tokens a round")
        if name in ("speed", "decode"):
            sub.add_argument("--rounds", type=int, default=5)
        if name in ("decode", "bytes"):
            sub.add_argument("--contexts", default="8192,32768" if name == "decode" else "2048,8192,32768")
    args = parser.parse_args()

    import torch

    from timecost.evaluation.results import provenance, write_json

    torch.set_num_threads(args.threads)
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.manual_seed(0)
    result = RUNS[args.command](args, device)
    args.output_path.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: str(value) for name, value in vars(args).items() if name != "command"}
    write_json(args.output_path, {"settings": settings, "result": result, "provenance": provenance()})


if __name__ == "__main__":
    main()
