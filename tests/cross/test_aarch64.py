"""The Arm kernels on an x86 machine: a cross build under qemu-user gives the bits that
tests/golden/conformance.txt has of x86. A part of the cases; ./rillw campaign aarch64 runs all.
"""
import os
import pathlib
import platform
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "aarch64"
SYSROOT = ROOT / "build" / "aarch64-sysroot"
CASE_STEP = 3  # of an op's cases, every third

# QEMU's CPU models, and the kernels that each should get, best first.
CPUS = {
    "cortex-a53": ["neon", "scalar"],
    "cortex-a76": ["neon_dotprod", "neon", "scalar"],
    "max": ["neon_i8mm", "neon_dotprod", "neon", "scalar"],
}


def run(*command: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, **options)


@pytest.fixture(scope="module")
def conformance_test() -> str:
    """Path of the cross-built test binary."""
    if platform.machine() != "x86_64":
        pytest.skip("skipped: the cross build is for x86 machines")
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64", "cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"skipped: no {tool} (apt install g++-aarch64-linux-gnu qemu-user)")
    sysroot = run("tools/aarch64_sysroot.sh")
    if sysroot.returncode != 0:
        pytest.skip(f"skipped: no arm64 libraries: {sysroot.stderr.strip()[-100:]}")
    if not (BUILD / "build.ninja").exists():
        configured = run("cmake", "--preset", "aarch64")
        assert configured.returncode == 0, configured.stdout[-2000:] + configured.stderr[-2000:]
    jobs = str(len(os.sched_getaffinity(0)))
    built = run("cmake", "--build", str(BUILD), "--parallel", jobs, "--target",
                "rill_conformance_test")
    assert built.returncode == 0, built.stdout[-4000:]
    return str(BUILD / "tests" / "conformance" / "rill_conformance_test")


@pytest.mark.parametrize("cpu", CPUS)
def test_kernels_give_the_bits_of_x86(conformance_test, cpu):
    environment = {**os.environ, "RILL_CASE_STEP": str(CASE_STEP)}
    environment.pop("RILL_CPU_ISA", None)
    if cpu != "max":  # the newest CPU runs all kernels, others their best: no instruction is missing
        environment["RILL_CPU_ISA"] = CPUS[cpu][0]
    done = run("qemu-aarch64", "-cpu", cpu, "-L", str(SYSROOT), conformance_test,
               "--gtest_filter=*GoldenBits*", env=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    present = re.findall(r"^instruction set: (\w+)$", done.stdout, re.MULTILINE)
    assert present == CPUS[cpu]
    passed = re.search(r"\[  PASSED  \] (\d+) tests", done.stdout)
    assert passed and int(passed[1]) >= 20
