"""Recipes: the stages of the loop wired together, run side by side, skipped when done, resumed when killed."""

from instructloop.recipes.pipeline import Progress, StageCrashed, State, run_pipeline
from instructloop.recipes.recipe import Recipe, Stage, load_recipe, presets

__all__ = ["Progress", "Recipe", "Stage", "StageCrashed", "State", "load_recipe", "presets", "run_pipeline"]
