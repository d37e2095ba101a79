"""A proper installation: the wheel alone has all that the command needs."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_installed_wheel_plans_from_any_folder(tmp_path: Path) -> None:
    wheels, place = tmp_path / "wheels", tmp_path / "venv"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(wheels)]
    subprocess.run([*pip, str(_REPOSITORY)], check=True, cwd=tmp_path)
    venv.create(place, with_pip=False, system_site_packages=False)
    [wheel] = wheels.glob("*.whl")
    site = next(place.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(site)]
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    # The packages it depends on are borrowed, to spare a download of everything.
    (site / "borrowed.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    found = subprocess.run(
        [place / "bin/python", "-P", "-m", "orchestrator", "plan", "--profile", "chat", "--json"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["profile"] == "chat"
    where: list[str | Path] = [
        place / "bin/python",
        "-P",
        "-c",
        "import orchestrator; print(orchestrator.__file__)",
    ]
    imported = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert imported.stdout.startswith(str(place))
