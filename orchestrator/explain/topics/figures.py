"""Figures of the catalogue in the form that a sentence needs: computed, never typed."""

from dataclasses import dataclass

from orchestrator import memory
from orchestrator.catalog import Catalog
from orchestrator.catalog.accelerators import accelerator_facts
from orchestrator.catalog.unknown import nominal_size
from orchestrator.explain.pace import read_bytes
from orchestrator.lone import estimated
from orchestrator.memory import KvType, Run
from orchestrator.model import Candidate
from orchestrator.settings import Wishes
from orchestrator.units import KIB, gb, gib

_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Figures:
    """What the topics quote of a catalogue."""

    catalog: Catalog

    def of(self, tag: str) -> Candidate:
        """Return the file of a tag."""
        return self.catalog.find(tag)

    def download(self, tag: str) -> str:
        """Return the size of the download: "4.68 GB"; "about 4.7 GB" where it is listed so."""
        return self._about(tag) + gb(self.of(tag).file_bytes)

    def file(self, tag: str) -> str:
        """Return the same size in memory's unit: "4.36 GiB"."""
        return self._about(tag) + gib(self.of(tag).file_bytes)

    def _about(self, tag: str) -> str:
        return "about " if self.of(tag).bytes_basis == "listed" else ""

    def billions(self, tag: str) -> str:
        """Return all parameters: "7.62"."""
        return f"{self.of(tag).parameters_total / 1e9:.2f}"

    def active(self, tag: str) -> str:
        """Return the parameters that a token uses: "37.6"."""
        return f"{self.of(tag).parameters_active / 1e9:.1f}"

    def bits(self, tag: str) -> str:
        """Return the average bits of a parameter in the file: "4.91"."""
        found = self.of(tag)
        return f"{8 * found.file_bytes / found.parameters_total:.2f}"

    def cache_per_token(self, tag: str, kv: KvType = "f16") -> str:
        """Return the KV cache of one token: "56 KiB"."""
        run = Run(context=_TOKENS, kv_cache_type=kv)
        shape = self.of(tag).architecture
        each = memory.kv_bytes_per_layer(shape, run) * shape.attention_layers
        return f"{each / _TOKENS / KIB:,.0f} KiB"

    def cache(self, tag: str, context: int, kv: KvType = "f16") -> str:
        """Return the KV cache of a whole context: "8.00 GiB"."""
        run = Run(context=context, kv_cache_type=kv)
        return gib(sum(memory.kv_by_layer(self.of(tag).architecture, run)))

    def on_one_card(self, tag: str, context: int = 4096, version: str = "0.20.0") -> str:
        """Return what a model takes in all on one card of its own: "9.94 GiB"."""
        found = estimated(self.of(tag), Wishes(context=context), None, version, None)
        return gib(found.total_bytes)

    def read(self, tag: str) -> str:
        """Return the weights that one token reads."""
        found = estimated(self.of(tag), Wishes(), None, None, None)
        return gib(read_bytes(found))

    def window(self, tag: str) -> str:
        """Return the trained context: "131,072"."""
        return f"{self.of(tag).architecture.context_length:,}"

    def sizes(self, family: str) -> str:
        """Return the sizes that a family has: "1.5B, 7B, 8B"."""
        found = {nominal_size(c.model) for c in self.catalog.candidates if c.family == family}
        return ", ".join(f"{size:g}B" for size in sorted(s for s in found if s))

    def licences(self, family: str) -> str:
        """Return the licence of each size: "3B LicenseRef-Qwen-Research, 7B Apache-2.0"."""
        by_size = {
            size: c.license
            for c in self.catalog.candidates
            if c.family == family and (size := nominal_size(c.model)) and c.model in c.tags
        }
        found: dict[str, list[str]] = {}
        for size, licence in sorted(by_size.items()):
            found.setdefault(licence, []).append(f"{size:g}B")
        return "; ".join(f"{', '.join(sizes)}: {name}" for name, sizes in found.items())

    def bandwidth(self, card: str) -> str:
        """Return the memory bandwidth of a card as its sheet has it: "1,008 GB/s"."""
        facts = accelerator_facts(card)
        return f"{facts.bandwidth_bytes_per_s / 1e9:,.0f} GB/s" if facts else "an unknown rate"

    def capability(self, card: str) -> str:
        """Return the compute capability of a card: "3.5"."""
        facts = accelerator_facts(card)
        return (facts.compute_capability if facts else None) or "unknown"
