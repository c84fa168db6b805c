"""Imported once by the fork server, so that every stage starts with torch and the model classes already loaded.

NOTE: importing must not compute anything: a process that has started OpenMP threads cannot be forked safely.
"""

from importlib import import_module

_MODULES = (
    "torch",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "instructloop.training.sft",
    "instructloop.training.reward_model",
    "instructloop.training.ppo",
    "instructloop.generation.torch_engine",
    "instructloop.evaluation.evaluate",
)

for name in _MODULES:
    try:
        import_module(name)
    except Exception:  # noqa: BLE001 - without the train extra, or with a broken one: the stage that needs it says so, with its traceback
        break
