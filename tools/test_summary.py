#!/usr/bin/env python3
"""Adds up the reports of `./rillw test` and prints "N passed, N failed, N skipped".

usage: test_summary.py FOLDER

FOLDER holds unit/*.xml (one per GoogleTest binary), ctest.xml (which binaries ran, and how they
ended), pytest.xml and, when the layer check failed, layers.failed. A binary that ended badly
without naming a failed test (it crashed, or hung) counts as one failure; so does a report that
is missing. Exits 1 when anything failed or nothing ran.
"""
import collections
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


class Totals:
    """Counts of test cases, the names of failed ones and the reasons of skipped ones."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self.skipped: collections.Counter[str] = collections.Counter()

    def add_cases(self, tree: ElementTree.Element) -> int:
        """Adds each <testcase> under `tree`; returns how many of them failed."""
        failed = 0
        for case in tree.iter("testcase"):
            name = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(name)
                failed += 1
            elif skip is not None or case.get("result") == "skipped":
                self.skipped[skip_reason(skip)] += 1
            elif case.get("status") != "notrun":
                self.passed += 1
        return failed


def skip_reason(skip: ElementTree.Element | None) -> str:
    """The reason a test gave, without the file and line in front of it."""
    if skip is None:
        return "no reason given"
    text = (skip.get("message") or skip.text or "").strip()
    lines = [line for line in text.splitlines() if line.strip()]
    # GoogleTest writes "file.cc:12\nreason"; pytest writes the reason alone.
    return lines[-1].strip()[:120] if lines else "no reason given"


def summarise(folder: pathlib.Path) -> Totals:
    totals = Totals()
    if (folder / "layers.failed").exists():
        totals.failed.append("tools/check_layers.py")
    else:
        totals.passed += 1

    named_failures = {}
    for path in sorted((folder / "unit").glob("*.xml")):
        try:
            named_failures[path.stem] = totals.add_cases(ElementTree.parse(path).getroot())
        except ElementTree.ParseError:
            named_failures[path.stem] = 0  # cut short by a crash: ctest.xml says so
    try:
        binaries = list(ElementTree.parse(folder / "ctest.xml").getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        binaries = []
        totals.failed.append("ctest (no report)")
    for binary in binaries:
        name = binary.get("name", "")
        # ctest's name of src/<module>'s tests is <module>; the binary is rill_<module>_test.
        report = next((key for key in (f"rill_{name}_test", name) if key in named_failures), None)
        if binary.get("status") == "fail" and not (report and named_failures[report]):
            totals.failed.append(f"{name}: ended without naming a failed test (crash or timeout)")
        elif binary.get("status") != "fail" and report is None:
            totals.passed += 1  # a ctest entry that is not a GoogleTest binary

    try:
        totals.add_cases(ElementTree.parse(folder / "pytest.xml").getroot())
    except (OSError, ElementTree.ParseError):
        totals.failed.append("pytest (no report)")
    return totals


def main() -> int:
    totals = summarise(pathlib.Path(sys.argv[1]))
    for reason, count in totals.skipped.most_common():
        print(f"skipped {count}: {reason}")
    for name in totals.failed:
        print(f"FAILED {name}")
    print(f"{totals.passed} passed, {len(totals.failed)} failed, "
          f"{sum(totals.skipped.values())} skipped")
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
