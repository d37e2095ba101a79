"""Put the largest DeepSeek-R1 or Qwen model that fits on a box, measure it, keep the promise."""

__version__ = "0.1.0"
