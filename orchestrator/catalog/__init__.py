"""Every DeepSeek and Qwen model of the Ollama library, and the accelerators they run on.

Facts only, bundled as JSON, generated from scripts/catalog/*.toml; pure but for reading that file.
"""

from orchestrator.catalog.accelerators import AcceleratorFacts, accelerator_facts
from orchestrator.catalog.facts import FormerBuild, ModelFacts
from orchestrator.catalog.lookup import Catalog

__all__ = [
    "AcceleratorFacts",
    "Catalog",
    "FormerBuild",
    "ModelFacts",
    "accelerator_facts",
]
