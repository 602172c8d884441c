"""The settings of a build: their model, their presets, and the mixture of several sources."""
