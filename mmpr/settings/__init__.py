"""The settings of a build: their sections, their presets, and builds of several sources."""
