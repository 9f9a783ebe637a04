#!/usr/bin/env python3
"""Checks that every #include in include/, src/ and apps/ goes downwards.

A module may include only the modules listed for it here (ARCHITECTURE.md, section 2).
Prints each violation as file:line and exits 1 when there is one.
"""
import pathlib
import re
import sys

ALLOWED = {
    "base": [],
    "tensor": ["base"],
    "quant": ["tensor", "base"],
    "ops": ["quant", "tensor", "base"],
    "backends": ["ops", "quant", "tensor", "base"],
    "io": ["quant", "tensor", "base"],
    "kv": ["quant", "tensor", "base"],
    "model": ["ops", "io", "quant", "tensor", "base"],
    "sampling": ["ops", "quant", "tensor", "base"],
    "engine": ["model", "kv", "sampling", "ops", "io", "quant", "tensor", "base"],
    "text": ["io", "quant", "tensor", "sampling", "base"],
    "llm": ["text", "engine", "sampling", "model", "kv", "io", "backends", "ops", "quant",
            "tensor", "base"],
    "server": ["llm", "base"],
}
# Vendor headers may appear only in the backend's own folder.
VENDOR = re.compile(r"^(cuda|cublas|nccl|CL/|arm_neon|immintrin)")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def check(root: pathlib.Path) -> list[str]:
    """All violations under root/include, root/src and root/apps, as 'file:line: message'."""
    found = []
    for path in sorted([*root.glob("src/**/*"), *root.glob("apps/**/*"),
                        *root.glob("include/**/*")]):
        if path.suffix not in {".h", ".cc", ".inl", ".def", ".cu", ".cuh"}:
            continue
        parts = path.relative_to(root).parts
        module = parts[1] if parts[0] == "src" else parts[0]
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            where = f"{path.relative_to(root)}:{number}"
            kind, target = match.groups()
            if kind == "<":
                if VENDOR.match(target) and module != "backends":
                    found.append(f"{where}: vendor header <{target}> outside src/backends")
                continue
            first = target.split("/")[0]
            if first == "rill":
                continue
            if module == "include":
                found.append(f"{where}: public headers use rill/*.h and the standard library, "
                             f"not '{target}'")
            elif module == "apps":
                # The public headers suffice: apps use those and their own files, nothing of src/.
                if first in ALLOWED:
                    found.append(f"{where}: apps use the public headers rill/*.h, not '{target}'")
            elif first in ALLOWED and first != module and first not in ALLOWED[module]:
                found.append(f"{where}: '{module}' may not include '{target}' "
                             f"(allowed: {', '.join(ALLOWED[module]) or 'nothing'})")
    return found


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    if root.is_file():
        root = root.parent.parent
    found = check(root)
    for line in found:
        print(line)
    if not found:
        print("check_layers: every include goes downwards")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
