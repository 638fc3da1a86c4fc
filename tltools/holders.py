"""Who holds a lease: a process identity that survives the reuse of process numbers."""

from __future__ import annotations

import functools
import os
import socket
import uuid
from pathlib import Path

import psutil

from tltools.records import Record


class Holder(Record):
    """(host, boot, pid namespace, pid, start time): a pid alone may be another process by now."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: float

    def provably_dead(self) -> bool:
        """True only when this machine can prove it: another boot, no such pid, or the pid is a younger process."""
        if self.host != socket.gethostname():
            return False
        if self.boot != boot_id():
            return True
        if self.namespace != _namespace():
            return False  # its numbers mean nothing here; its lease decides
        try:
            process = psutil.Process(self.pid)
            return bool(abs(process.create_time() - self.started) > 1.0 or process.status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def this_process(pid: int | None = None) -> Holder:
    """The identity of a process of this machine; by default the calling one."""
    process = psutil.Process(pid or os.getpid())
    return Holder(
        host=socket.gethostname(),
        boot=boot_id(),
        namespace=_namespace(),
        pid=process.pid,
        started=process.create_time(),
    )


@functools.cache
def boot_id() -> str:
    """Names the time since this machine was started: a monotonic clock means nothing beyond it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{socket.gethostname()}{psutil.boot_time():.0f}"))


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
