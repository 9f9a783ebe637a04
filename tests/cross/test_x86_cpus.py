"""x86 CPUs that this machine is not, under qemu-user: what each gets, what it is told, and that its
bits are those of any other."""
import os
import pathlib
import platform
import shutil
import subprocess

import pytest

WARNING = "warning: cpu: this CPU has no AVX2 (with FMA and F16C): plain code runs"
MODEL = ["synthetic:llama-tiny:q4_0", "--activations", "q8", "-t", "2", "-c", "256"]
# QEMU's CPU model, the kernels that it should get, whether they are plain code without AVX2.
CPUS = [("Nehalem", "scalar", True), ("SandyBridge", "scalar", True), ("Haswell", "avx2", False)]


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


@pytest.mark.parametrize("cpu, kernels, is_plain", CPUS)
def test_any_x86_cpu_runs_with_the_same_bits(rill, cpu, kernels, is_plain):
    if platform.machine() != "x86_64":
        pytest.skip("skipped: for x86 machines")
    if pathlib.Path(rill).parents[2].name in ("asan", "tsan"):
        pytest.skip("skipped: a sanitizer's memory does not fit into QEMU's")
    if shutil.which("qemu-x86_64") is None:
        pytest.skip("skipped: no qemu-x86_64 (apt install qemu-user)")
    for chosen in (None, ""):  # an empty choice is none
        environment = {k: v for k, v in os.environ.items() if k != "RILL_CPU_ISA"}
        want = run(rill, "eval", "fingerprint", *MODEL, env=environment)
        assert want.returncode == 0 and WARNING not in want.stderr, want
        if chosen is not None:
            environment["RILL_CPU_ISA"] = chosen
        got = run("qemu-x86_64", "-cpu", cpu, rill, "eval", "fingerprint", *MODEL, env=environment)
        if "feature: CPUID.07H:EBX.avx2" in got.stderr and kernels == "avx2":
            pytest.skip("skipped: this QEMU has no AVX2")
        assert got.returncode == 0 and got.stdout == want.stdout, got
        assert got.stderr.count(WARNING) == is_plain, got.stderr
    listed = run("qemu-x86_64", "-cpu", cpu, rill, "ops", env=environment)
    assert listed.returncode == 0 and f"{kernels} (in use)" in listed.stdout, listed
