"""What the machine is asked for: memory that a step freed serves the next one."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from tltools.engine import device
from tltools.records import Refusal

PAGES = 64 * 2**20 // 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_a_step_freed_serves_the_next() -> None:
    import resource

    def step() -> None:
        torch.ones(PAGES * 1024)  # 32-bit floats

    device.keep_freed_memory()
    for _ in range(20):  # aligned tensors need a little more than was freed, so the first ones ask for new memory
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < PAGES, "the system cleared each page anew"


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "CPU "])
def test_a_device_that_is_not_here_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refusal, match=r"TLTOOLS_DEVICE: must be cpu, or cuda .* got"):
        device.best(name)


@pytest.mark.parametrize(
    ("groups", "limited"),
    [
        ("0::/\n", "memory.max"),  # a container, of which the outermost group is shown as the whole
        ("0::/user.slice/job.scope\n", "user.slice/job.scope/memory.max"),  # a service, or a job of a cluster
        ("0::/user.slice/job.scope\n", "user.slice/memory.max"),
        ("9:pids:/\n4:memory:/slurm/job_7\n0::/\n", "memory/slurm/job_7/memory.limit_in_bytes"),
        ("4:cpu,memory:/docker/abc\n", "memory/memory.limit_in_bytes"),
    ],
)
def test_a_control_group_may_have_less_memory_than_its_machine(tmp_path: Path, groups: str, limited: str) -> None:
    import psutil

    whole = psutil.virtual_memory().total / 1e6
    asked, limit = tmp_path / "cgroup", tmp_path / "fs" / limited
    assert device.memory_mb(asked, str(tmp_path / "fs")) == whole, "a system without control groups"
    asked.write_text(groups)
    limit.parent.mkdir(parents=True)
    limit.write_text("max\n")
    assert device.memory_mb(asked, str(tmp_path / "fs")) == whole
    limit.write_text("500000000\n")
    assert device.memory_mb(asked, str(tmp_path / "fs")) == 500.0
