#!/usr/bin/env python3
"""Makes tests/golden/quant.txt: hashes of what 64 pseudo-random blocks of each dtype decode to, and
of what fixed values encode to, by the `gguf` package. Usage: make_golden_quant.py TYPES > quant.txt,
where TYPES is the output of `quant_tool types`.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "oracle"))
import quant_oracle as oracle  # noqa: E402


def main() -> None:
    print("# <decode|encode> <dtype> <FNV-1a of the result>; made by tools/make_golden_quant.py")
    for line in pathlib.Path(sys.argv[1]).read_text().splitlines():
        name, _, block_bytes, _, can_encode = line.split()
        data = oracle.golden_bytes(name, int(block_bytes))
        print(f"decode {name} {oracle.fnv1a(oracle.bits(oracle.decode(name, data)).tobytes()):016x}")
        if can_encode == "1":
            print(f"encode {name} {oracle.fnv1a(oracle.encode(name, oracle.golden_values(name))):016x}")


if __name__ == "__main__":
    main()
