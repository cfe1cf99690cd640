"""Sampling from a tiny untrained model, whose completions are noise of every length."""

import pytest

from timecost.errors import UserError
from timecost.evaluation.sampling import plan_batches, sample_completions, trim
from timecost.generation import end_ids

LENGTH = 12


@pytest.fixture(scope="module")
def tiny(tiny_arithmetic):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(tiny_arithmetic), AutoTokenizer.from_pretrained(tiny_arithmetic)


@pytest.fixture(scope="module")
def prompts(tiny):
    texts = ["a1b+1=<think>", "a7b-3c*2d+1=<think>", "a2b*3=<think>", "a9b-1c-1d-1=<think>"] * 4
    return [tiny[1](text)["input_ids"] for text in texts]


def test_plan_batches_groups_neighbours_in_length():
    assert plan_batches([3, 9, 3, 5, 9], batch_size=2) == [[1, 4], [3, 0], [2]]


def test_same_seed_same_completions(tiny, prompts):
    import torch

    first = sample_completions(*tiny, prompts, max_new_tokens=LENGTH, seed=1, batch_size=5)
    torch.rand(3)  # what others draw does not matter
    assert sample_completions(*tiny, prompts, max_new_tokens=LENGTH, seed=1, batch_size=5) == first
    assert sample_completions(*tiny, prompts, max_new_tokens=LENGTH, seed=2, batch_size=5) != first


def test_batches_and_repeated_prompts_draw_differently(tiny, prompts):
    same = [prompts[0]] * 8
    drawn = sample_completions(*tiny, same, max_new_tokens=LENGTH, batch_size=4)
    assert len({tuple(c.completion_ids) for c in drawn}) == 8


def test_global_generator_and_model_are_left_as_they_were(tiny, prompts):
    import torch

    model, tokenizer = tiny
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    config = model.generation_config
    model.train()
    sample_completions(model, tokenizer, prompts[:2], max_new_tokens=2)
    assert torch.equal(torch.rand(2), expected)
    assert model.training and model.generation_config is config
    model.eval()


def test_padding_does_not_change_what_is_likeliest(tiny, prompts):
    together = sample_completions(*tiny, prompts, max_new_tokens=LENGTH, temperature=0)
    alone = [sample_completions(*tiny, [prompt], max_new_tokens=LENGTH, temperature=0)[0] for prompt in prompts[:4]]
    assert together[:4] == alone


def test_completions_end_with_the_end_of_sequence_or_at_the_bound(tiny, prompts):
    eos = tiny[1].eos_token_id
    drawn = sample_completions(*tiny, prompts * 4, max_new_tokens=LENGTH)
    assert {c.finished for c in drawn} == {True, False}
    for completion in drawn:
        assert completion.finished == (completion.completion_ids[-1] == eos)
        assert completion.finished or len(completion.completion_ids) == LENGTH
        assert eos not in completion.completion_ids[:-1]


def test_prefixes_count_as_completion(tiny, prompts):
    prefixes = [[10, 11, 12], []] * 8
    drawn = sample_completions(*tiny, prompts, max_new_tokens=LENGTH, prefixes=prefixes)
    for completion, prefix in zip(drawn, prefixes, strict=True):
        assert completion.completion_ids[: len(prefix)] == prefix
        assert len(completion.completion_ids) <= LENGTH
    assert max(len(c.completion_ids) for c in drawn[::2]) == LENGTH


def test_the_models_own_generation_config_does_not_shape_the_samples(tiny, prompts):
    model, tokenizer = tiny
    plain = sample_completions(model, tokenizer, prompts, max_new_tokens=LENGTH)
    model.generation_config.top_k, model.generation_config.repetition_penalty = 1, 5.0
    try:
        assert sample_completions(model, tokenizer, prompts, max_new_tokens=LENGTH) == plain
    finally:
        model.generation_config.top_k = model.generation_config.repetition_penalty = None


def test_every_end_of_sequence_of_the_model_ends_a_completion(tiny):
    model, tokenizer = tiny
    own = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [own, 7]
    try:
        assert end_ids(model, tokenizer) == [own, 7]
    finally:
        model.generation_config.eos_token_id = own
    assert trim([4, 7, 5, own], [own, 7]).completion_ids == [4, 7]
    assert not trim([4, 5], [own, 7]).finished


def test_a_model_that_breaks_or_takes_too_much_memory_is_one_line(tiny, prompts, monkeypatch):
    import torch

    model, tokenizer = tiny
    weight = model.get_output_embeddings().weight
    with torch.no_grad():
        kept = weight[3].clone()
        weight[3] = float("nan")
        try:
            with pytest.raises(UserError, match="logits are not finite"):
                sample_completions(model, tokenizer, prompts, max_new_tokens=2)
        finally:
            weight[3] = kept

    def generate(**kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "generate", generate)
    with pytest.raises(UserError, match="16 completions of 2 tokens do not fit into memory: lower --batch_size"):
        sample_completions(model, tokenizer, prompts, max_new_tokens=2)
