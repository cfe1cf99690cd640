"""B'MOJO: a sliding window, a fading memory (SSM) and an eidetic memory (tokens kept verbatim) in one attention.

Importing this package registers the classes, so that AutoConfig, AutoModel and AutoModelForCausalLM know them.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from .cache_bmojo import BMojoCacheLayer
from .configuration_bmojo import BMojoConfig
from .convert import from_transformer
from .modeling_bmojo import BMojoForCausalLM, BMojoModel

AutoConfig.register("bmojo", BMojoConfig, exist_ok=True)
AutoModel.register(BMojoConfig, BMojoModel, exist_ok=True)
AutoModelForCausalLM.register(BMojoConfig, BMojoForCausalLM, exist_ok=True)
# What save_pretrained copies beside the weights, for loading with trust_remote_code where timecost is not installed.
BMojoConfig.register_for_auto_class()
BMojoModel.register_for_auto_class("AutoModel")
BMojoForCausalLM.register_for_auto_class("AutoModelForCausalLM")

__all__ = ["BMojoCacheLayer", "BMojoConfig", "BMojoForCausalLM", "BMojoModel", "from_transformer"]
