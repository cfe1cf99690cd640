"""Fields of BMojoConfig: defaults that follow from others, and one clear line for impossible ones."""

import pytest
from transformers import AutoConfig, DynamicCache, PreTrainedConfig

from timecost.models.bmojo import BMojoConfig


def test_defaults_follow_from_other_fields(tmp_path):
    config = BMojoConfig(hidden_size=128, num_attention_heads=4, sliding_window=16)
    assert (config.fading_window, config.head_dim, config.ssm_num_heads) == (16, 32, 2)
    assert config.num_key_value_heads == 4 and config.intermediate_size == 512
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    loaded.name_or_path = config.name_or_path
    assert isinstance(loaded, BMojoConfig) and loaded.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sliding_window": 0}, "sliding_window must be at least 1, not 0"),
        ({"sliding_window": None, "eidetic_size": 4}, "eidetic_size needs a window"),
        ({"ssm_head_dim": 48}, r"ssm_head_dim \(48\) does not divide hidden_size"),
        ({"num_attention_heads": 5}, r"num_attention_heads \(5\) does not divide hidden_size"),
        ({"num_key_value_heads": 3}, r"num_key_value_heads \(3\) does not divide num_attention_heads"),
        ({"fading_window": 7}, "fading_window must be 0 or the size of sliding_window"),
        ({"fading_window": 0, "eidetic_size": 4}, "eidetic_size needs an SSM that learns"),
        (
            {"eidetic_policy": "best"},
            "eidetic_policy must be one of innovation, threshold",
        ),
        ({"eidetic_size": -1}, "eidetic_size must be at least 0"),
        ({"ssm_n_groups": 5}, r"ssm_n_groups \(5\) does not divide"),
        ({"innovation_kernel": 0}, "innovation_kernel must be at least 1"),
    ],
)
def test_impossible_fields_are_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        BMojoConfig(**fields)
    assert "\n" not in str(caught.value)


def test_the_trainer_can_read_the_config_of_a_checkpoint(tmp_path):
    BMojoConfig().save_pretrained(tmp_path)
    assert PreTrainedConfig.from_json_file(tmp_path / "config.json").sliding_window == BMojoConfig().sliding_window
    assert BMojoConfig.from_pretrained(tmp_path).layer_types == ["bmojo"] * 12


def test_other_layer_types_are_refused():
    with pytest.raises(Exception, match="layer_types must be 12 times 'bmojo'"):
        BMojoConfig(layer_types=["full_attention"] * 12)


def test_a_dynamic_cache_finds_its_layers_by_the_config():
    layers = DynamicCache(config=BMojoConfig(num_hidden_layers=3)).layers
    assert [type(layer).__name__ for layer in layers] == ["BMojoCacheLayer"] * 3
