"""Decode, prefill and load time as ranges [low, likely, high] with their basis.

Decode reads the active weights once a token: seconds a token = bytes / (efficiency * bandwidth) +
layers * launch time, summed over the devices. The constants are those of a class of accelerator;
scripts/calibrate_speed.py draws them from published measurements.
"""

from orchestrator.speed.predict import Speed, predict

__all__ = ["Speed", "predict"]
