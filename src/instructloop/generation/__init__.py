"""Sampling completions: rollouts with their log-probabilities, and the engine that makes them."""

from instructloop.generation.engine import Engine
from instructloop.generation.rollouts import FinishReason, Rollouts
from instructloop.generation.torch_engine import TorchEngine

__all__ = ["Engine", "FinishReason", "Rollouts", "TorchEngine"]
