"""Stand-ins: files of a model's exact shape and quantization that hold no model.

Memory, load time and speed on a server are those of the real file; what it says is noise.
"""

from orchestrator.standin.metadata import refuse
from orchestrator.standin.write import StandIn, Written

__all__ = ["StandIn", "Written", "refuse"]
