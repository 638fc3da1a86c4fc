"""What the machine is asked for: memory that a step freed serves the next one."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.cuda._utils import _get_device_index

from tltools.engine import device, parallel
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
    why = "finds no CUDA device" if torch.version.cuda else "was built without CUDA"
    with pytest.raises(Refusal, match=rf"TLTOOLS_DEVICE: must be cpu, as torch \S+ {why}; got '{name}'"):
        device.best(name)
    assert why in device.best.__wrapped__().reason, "who has a GPU is told why it is not used"


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """torch says that there is one, which takes bf16 for granted; what was made the current device."""
    chosen: list[int] = []
    facts = SimpleNamespace(name="H200", total_memory=8_000_000_000)
    for name, said in {
        "is_available": lambda: True, "device_count": lambda: 1,
        "set_device": lambda name: chosen.append(_get_device_index(name)),  # which takes no name without a number
        "get_device_properties": lambda name: facts, "is_bf16_supported": lambda including_emulation: True,
        "mem_get_info": lambda name: (6_000_000_000, 8_000_000_000),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, said)
    monkeypatch.delenv("TLTOOLS_DEVICE", raising=False)
    rounded = torch.backends.cudnn.allow_tf32
    yield chosen
    torch.backends.cudnn.allow_tf32 = rounded


def test_a_gpu_is_chosen_where_there_is_one_and_computes_32_bit_floats_as_such(
    one_gpu: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose = device.best.__wrapped__
    found = choose()
    assert (found.name, found.bf16, found.memory_mb) == ("cuda:0", True, 8000.0) and "H200" in found.reason
    assert one_gpu == [0] and not torch.backends.cudnn.allow_tf32
    assert found.spare(7.0) == 0.25 * 6e9 and choose("cpu").spare(7.0) == 7.0
    monkeypatch.setenv("TLTOOLS_DEVICE", "cpu")
    assert choose().name == "cpu" and "as asked" in choose().reason
    with pytest.raises(Refusal, match="must be cpu or cuda or cuda:0; got 'cuda:1'"):
        choose("cuda:1")


def test_on_a_gpu_its_own_memory_counts_and_no_training_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel.sys, "platform", "linux")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert parallel.room(4, 0.0) == 4
    monkeypatch.setattr(device, "best", lambda: SimpleNamespace(name="cuda:0"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda name: 5_000_000)
    assert device.peak_mb() == 5.0
    assert parallel.room(4, 0.0) == 1, "a fork cannot use the device of its parent"


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
