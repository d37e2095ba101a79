"""What each error code of NVML means for a person, and what to do about it. Pure."""

from collections.abc import Mapping

NOT_SUPPORTED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, MISMATCH = 3, 9, 12, 18

_NO_ANSWER = "did not answer within"  # as a sight words it, with the limit behind it

REBOOT = "reboot, or reset the GPU; `dmesg | grep -i xid` says what happened"
_NO_PERMISSION = (
    "no permission to open /dev/nvidia*: check their mode, or the container's device rules"
)
_UNKNOWN = (
    "the driver answers with an unknown error (after suspend, a fallen GPU, or, in a container,"
    f" `systemctl daemon-reload`): restart the container, or {REBOOT}"
)
_INIT = {
    4: _NO_PERMISSION,
    8: "a GPU lacks power: attach its power cables",
    9: "the driver's library is here, but its kernel module is not loaded: `modprobe nvidia`"
    " (nouveau or secure boot may prevent it), or start the container with --gpus all",
    12: "no driver library (libnvidia-ml.so.1): install the driver, or start the container with"
    " --gpus all",
    13: "the driver is too old to be read: install 531 or newer",
    17: "the operating system refused access to /dev/nvidia*: check the container's device rules",
    18: "the driver was upgraded and the loaded kernel module is still the old one: reboot",
    999: _UNKNOWN,
}
# On WSL2 there is no kernel module of NVIDIA's to load: Windows drives the card.
_WSL = "on WSL2 the driver is that of Windows: install or update it there, then `wsl --shutdown`"
_WSL_INIT = {
    9: f"the driver does not answer: {_WSL}",
    12: f"no driver library in /usr/lib/wsl/lib: {_WSL}",
    18: f"two versions of the driver are mixed: {_WSL}, and remove a driver installed in Linux",
    999: f"the driver answers with an unknown error: {_WSL}",
}
_LOST = {
    15: f"the GPU is lost (it fell off the bus): {REBOOT}",
    16: f"the GPU needs a reset: {REBOOT}",
}
_HANDLE = {
    4: _NO_PERMISSION,
    8: "the GPU lacks power: attach its power cables",
    11: f"the kernel has trouble with the GPU's interrupts: {REBOOT}",
    17: _INIT[17],
    999: _UNKNOWN,
}


def no_start(code: int, *, wsl: bool) -> str:
    """Return why NVML does not start."""
    found = _WSL_INIT.get(code) if wsl else None
    return found or _INIT.get(code, f"NVML does not start (error {code})")


def no_library(fault: str, *, wsl: bool) -> str:
    """Return why there is no library; `fault` is what the loader said of one that is there."""
    if not fault:
        return no_start(LIBRARY_NOT_FOUND, wsl=wsl)
    return f"the driver's library cannot be loaded ({fault}): reinstall the driver"


def mismatch(module: str | None, library: str | None, installed: tuple[str, ...]) -> str:
    """Return what two versions of the driver mean; None where a version cannot be read."""
    reason = no_start(MISMATCH, wsl=False)
    known = [
        f"{what} {version}"
        for what, version in (("module", module), ("library", library))
        if version
    ]
    others = [version for version in installed if version != library]
    if others:
        known.append(f"also installed: library {', '.join(others)}")
    return f"{reason} ({'; '.join(known)})" if known else reason


def unusable_device(codes: Mapping[str, int]) -> str | None:
    """Return why a device cannot be used, by the codes of the calls that failed on it.

    A lost GPU may still give its handle: the code then comes from any later call.
    """
    if lost := set(codes.values()) & _LOST.keys():
        return _LOST[min(lost)]
    if code := codes.get("handle"):
        return _HANDLE.get(code, f"NVML refuses access to it (error {code})")
    if (code := codes.get("memory", 0)) not in (0, NOT_SUPPORTED):
        return f"the driver would not tell how much memory it has (NVML error {code})"
    return None


def hangs(fault: str) -> bool:
    """Say whether the reading process was given up: a tool's fault, here or on a captured box."""
    return _NO_ANSWER in fault


def no_answer(fault: str) -> str:
    """Return what the silence of the reading process means."""
    if hangs(fault):
        limit = fault.partition(_NO_ANSWER)[2].strip()
        return f"the driver did not answer within {limit} (a fallen GPU hangs it): {REBOOT}"
    return f"NVML could not be read: {fault}"


def wrong_binding(what: str) -> str:
    """Return what is amiss with the Python module that speaks to NVML, and how it is repaired."""
    remedy = "`pip uninstall pynvml`, then `pip install --force-reinstall nvidia-ml-py`"
    return f"the Python module pynvml {what}: {remedy}"
