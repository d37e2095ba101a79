"""GGUF files: the bounded reading of a header, and what its numbers mean for memory."""
