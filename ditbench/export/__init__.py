"""Weights for those who have no ditbench: a folder that diffusers loads, a model repository, published names."""
