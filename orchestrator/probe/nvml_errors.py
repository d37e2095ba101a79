"""What each error code of NVML means for a person, and what to do about it. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.fault import Fault

NOT_SUPPORTED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, MISMATCH = 3, 9, 12, 18

_NO_ANSWER = "did not answer within"  # as a sight words it, with the limit behind it

REBOOT = "reboot, or reset the GPU; `dmesg | grep -i xid` says what happened"
_ASK = "see what `nvidia-smi` says"
_NO_PERMISSION = Fault(
    "no permission to open /dev/nvidia*", "check their mode, or the container's device rules"
)
_POWER = "attach its power cables"
_UNKNOWN = Fault(
    "the driver answers with an unknown error (after suspend, a fallen GPU, or, in a container,"
    " `systemctl daemon-reload`)",
    f"restart the container, or {REBOOT}",
)
_INIT = {
    4: _NO_PERMISSION,
    8: Fault("a GPU lacks power", _POWER),
    9: Fault(
        "the driver's library is here, but its kernel module is not loaded",
        "`modprobe nvidia` (nouveau or secure boot may prevent it), or start the container with"
        " --gpus all",
    ),
    12: Fault(
        "no driver library (libnvidia-ml.so.1)",
        "install the driver, or start the container with --gpus all",
    ),
    13: Fault("the driver is too old to be read", "install 531 or newer"),
    17: Fault(
        "the operating system refused access to /dev/nvidia*", "check the container's device rules"
    ),
    18: Fault(
        "the driver was upgraded and the loaded kernel module is still the old one", "reboot"
    ),
    999: _UNKNOWN,
}
# On WSL2 there is no kernel module of NVIDIA's to load: Windows drives the card.
_WSL = "on WSL2 the driver is that of Windows"
_IN_WINDOWS = "install or update it there, then `wsl --shutdown`"
_WSL_INIT = {
    9: Fault(f"the driver does not answer: {_WSL}", _IN_WINDOWS),
    12: Fault(f"no driver library in /usr/lib/wsl/lib: {_WSL}", _IN_WINDOWS),
    18: Fault(
        f"two versions of the driver are mixed: {_WSL}",
        f"{_IN_WINDOWS}, and remove a driver installed in Linux",
    ),
    999: Fault(f"the driver answers with an unknown error: {_WSL}", _IN_WINDOWS),
}
_LOST = {
    15: Fault("the GPU is lost (it fell off the bus)", REBOOT),
    16: Fault("the GPU needs a reset", REBOOT),
}
_HANDLE = {
    4: _NO_PERMISSION,
    8: Fault("the GPU lacks power", _POWER),
    11: Fault("the kernel has trouble with the GPU's interrupts", REBOOT),
    17: _INIT[17],
    999: _UNKNOWN,
}


def no_start(code: int, *, wsl: bool) -> Fault:
    """Return why NVML does not start."""
    found = _WSL_INIT.get(code) if wsl else None
    return found or _INIT.get(code) or Fault(f"NVML does not start (error {code})", _ASK)


def no_library(fault: str, *, wsl: bool) -> Fault:
    """Return why there is no library; `fault` is what the loader said of one that is there."""
    if not fault:
        return no_start(LIBRARY_NOT_FOUND, wsl=wsl)
    return Fault(f"the driver's library cannot be loaded ({fault})", "reinstall the driver")


def mismatch(module: str | None, library: str | None, installed: tuple[str, ...]) -> Fault:
    """Return what two versions of the driver mean; None where a version cannot be read."""
    found = no_start(MISMATCH, wsl=False)
    known = [
        f"{what} {version}"
        for what, version in (("module", module), ("library", library))
        if version
    ]
    others = [version for version in installed if version != library]
    if others:
        known.append(f"also installed: library {', '.join(others)}")
    return replace(found, what=f"{found.what} ({'; '.join(known)})") if known else found


def unusable_device(codes: Mapping[str, int]) -> Fault | None:
    """Return why a device cannot be used, by the codes of the calls that failed on it.

    A lost GPU may still give its handle: the code then comes from any later call.
    """
    if lost := set(codes.values()) & _LOST.keys():
        return _LOST[min(lost)]
    if code := codes.get("handle"):
        return _HANDLE.get(code) or Fault(f"NVML refuses access to it (error {code})", _ASK)
    if (code := codes.get("memory", 0)) not in (0, NOT_SUPPORTED):
        what = f"the driver would not tell how much memory it has (NVML error {code})"
        return Fault(what, _ASK)
    return None


def hangs(fault: str) -> bool:
    """Say whether the reading process was given up: a tool's fault, here or on a captured box."""
    return _NO_ANSWER in fault


def no_answer(fault: str) -> Fault:
    """Return what the silence of the reading process means."""
    if hangs(fault):
        limit = fault.partition(_NO_ANSWER)[2].strip()
        what = f"the driver did not answer within {limit} (a fallen GPU hangs it)"
        return Fault(what, REBOOT)
    return Fault(f"NVML could not be read: {fault}", _ASK)


def wrong_binding(what: str) -> Fault:
    """Return what is amiss with the Python module that speaks to NVML, and how it is repaired."""
    remedy = "`pip uninstall pynvml`, then `pip install --force-reinstall nvidia-ml-py`"
    return Fault(f"the Python module pynvml {what}", remedy)
