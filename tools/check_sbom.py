"""Fail when a wheel does not say what is in it: its software bill of materials, and the licences of the project.

Maturin writes the bill (CycloneDX) into the wheel. Here it is held against what cargo links: each crate with its
version, each with a licence, the bundled SQLite among them, and nothing that the lock file does not know.

Usage: python tools/check_sbom.py WHEEL...
"""

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
Crates = set[tuple[str, str]]


def linked() -> Crates:
    """The crates that cargo links into the bindings on this machine, and their versions."""
    command = ["cargo", "tree", "--locked", "--package", "zjobs-bindings", "--edges", "normal", "--prefix", "none"]
    listed = subprocess.run([*command, "--format", "{p}"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    words = [line.split() for line in listed.splitlines() if line]
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def locked() -> Crates:
    """Every crate of the lock file."""
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))
    return {(package["name"], package["version"]) for package in lock["package"]}


def problems(wheel: Path, linked: Crates, locked: Crates) -> list[str]:
    """What is wrong with a wheel's bill and licences."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        bills = [name for name in names if ".dist-info/sboms/" in name and name.endswith(".json")]
        texts = [archive.read(name) for name in bills]
    licences = {Path(name).name for name in names if ".dist-info/licenses/" in name}
    found = [f"{name} is missing" for name in ("LICENSE-APACHE", "LICENSE-MIT") if name not in licences]
    if not bills:
        return [*found, "no bill of materials in dist-info/sboms"]
    named: Crates = set()
    for bill, text in zip(bills, texts, strict=True):
        content = json.loads(text)
        if content.get("bomFormat") != "CycloneDX":
            found.append(f"{bill} is not CycloneDX")
        components = [content.get("metadata", {}).get("component", {}), *content.get("components", [])]
        for one in filter(None, components):
            named.add((one["name"], one["version"]))
            if not one.get("licenses"):
                found.append(f"{one['name']} {one['version']} has no licence")
    found += [f"{name} {version} is linked, but not named" for name, version in sorted(linked - named)]
    found += [f"{name} {version} is named, but not in Cargo.lock" for name, version in sorted(named - locked)]
    if "libsqlite3-sys" not in {name for name, _ in named}:
        found.append("the bundled SQLite is not named")
    return found


def main(arguments: list[str]) -> int:
    """Print what is wrong with these wheels; 1 when anything is, or when there is no wheel."""
    if not arguments:
        print("no wheel was given; `make wheel` builds one", file=sys.stderr)
        return 1
    crates, known = linked(), locked()
    wrong = {wheel: problems(Path(wheel), crates, known) for wheel in arguments}
    for wheel, lines in wrong.items():
        for line in lines:
            print(f"{Path(wheel).name}: {line}", file=sys.stderr)
    if any(wrong.values()):
        return 1
    print(f"{len(arguments)} wheels say what is in them: {len(crates)} crates")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
