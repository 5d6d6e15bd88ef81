"""How error and best size scale with compute."""
