"""The official releases of Ollama: chosen for this box, verified, unpacked, rolled back."""
