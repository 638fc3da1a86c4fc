"""Who holds a lease: a process identity that survives the reuse of process numbers."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import uuid
from pathlib import Path

import psutil

from tltools.records import Record

KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows knows one way to end a process


class Holder(Record):
    """(host, boot, pid namespace, pid, start time): a pid alone may be another process by now."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: float  # seconds after the boot: a wall clock may be set

    def provably_dead(self) -> bool:
        """True only when this machine can prove it: another boot, no such pid, or the pid is another process."""
        if self.host != socket.gethostname():
            return False
        if self.boot != boot_id():
            return True
        if self.namespace != _namespace():
            return False  # its numbers mean nothing here; its lease decides
        return not self._lives()

    def kill_group(self, signal_number: int = KILL) -> bool:
        """Signals the process group that this process leads; False, and nothing done, unless it provably is ours."""
        here = (socket.gethostname(), boot_id(), _namespace())
        if (self.host, self.boot, self.namespace) != here or not self._lives():
            return False
        try:
            if os.name == "nt" or os.getpgid(self.pid) != self.pid:  # not its group's leader (yet): it alone
                os.kill(self.pid, signal_number)
            else:
                os.killpg(self.pid, signal_number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def kill_remains(self) -> None:
        """Ends what this process left in its group after its own end; only processes of the caller's session."""
        if not hasattr(os, "getsid"):
            return
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == self.pid and os.getsid(process.pid) == os.getsid(0):
                    os.kill(process.pid, KILL)

    def _lives(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return bool(_ticks(process) == self.started and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def this_process(pid: int | None = None) -> Holder:
    """The identity of a process of this machine; by default the calling one."""
    process = psutil.Process(pid or os.getpid())
    return Holder(
        host=socket.gethostname(),
        boot=boot_id(),
        namespace=_namespace(),
        pid=process.pid,
        started=_ticks(process),
    )


def _ticks(process: psutil.Process) -> float:
    """When a process began, in seconds after the boot; psutil adds the boot time, which moves with the wall clock."""
    while True:
        before = psutil.boot_time()
        seconds = psutil.Process(process.pid).create_time() - before
        if psutil.boot_time() == before:
            return round(float(seconds), 2)


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
