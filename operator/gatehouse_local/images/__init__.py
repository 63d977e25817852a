"""Container images without a registry: built from Dockerfiles, kept as archives, loaded into containerd."""

from gatehouse_local.images.images import Images, load
from gatehouse_local.images.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Images", "Recipe", "load"]
