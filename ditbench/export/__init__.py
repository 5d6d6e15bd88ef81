"""A trained network for those who have no ditbench. As a folder for diffusers, a model repository, published names."""
