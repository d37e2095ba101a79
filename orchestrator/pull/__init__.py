"""Where a model comes from, source after source, until one has delivered every byte."""
