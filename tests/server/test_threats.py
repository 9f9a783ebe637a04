"""threats.tsv: every row of the acceptance table that concerns the server has tests that exist."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = {"B": 14, "C": 12, "F": 7, "G": 7, "I": 10}


def table():
    lines = (pathlib.Path(__file__).parent / "threats.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


def test_every_row_has_tests_that_exist():
    rows = {row: tests for row, _, tests, *_ in table()}
    assert list(rows) == [f"{c}{i}" for c, n in ROWS.items() for i in range(1, n + 1)]
    open_rows = set()
    for row, tests in rows.items():
        if tests.startswith("open: "):
            open_rows.add(row)
            continue
        for test in tests.split():
            path, name = test.split("::")
            pattern = rf"^def {name}\(" if path.endswith(".py") else \
                rf"^TEST(_F|_P)?\(\w+, {name}\)"
            assert re.search(pattern, (ROOT / path).read_text(), re.M), (row, test)
    # A row may leave these sets, none may enter them.
    assert open_rows == {"G7"}
    parts = {row: more for row, _, _, *more in table() if more}
    assert all(len(more) == 1 for more in parts.values())
    timings = {row for row, more in parts.items() if more[0].startswith("timings: ")}
    assert timings <= {"B2", "C5", "F5"}
    assert {row for row in parts if row not in timings} <= {"I2"}
    assert all(more[0].startswith(("timings: ", "open: ")) for more in parts.values())
