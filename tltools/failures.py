"""Names what went wrong: an exception in a job, or the abnormal end of a job's process."""

from __future__ import annotations

import contextlib
import errno
import signal
from pathlib import Path

from tltools.holders import KILL
from tltools.records import Failure, Refusal
from tltools.store import CANCELLED, CRASHED
from tltools.tickets import Cancelled

_BARRED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR)
_MEMORY_REMEDY = (
    "Set the knob “Rows at once” to a few rows, use a smaller source model, or close other programs; then submit again."
)


def name_the_end(code: int | None, tail: bytes, memory_ran_out: bool) -> Failure:
    """What an abnormal end of a job process most likely was; `code` as multiprocessing gives it, -9 = SIGKILL."""
    detail = tail.decode(errors="replace")
    words = detail.lower()
    if "no space left on device" in words or "database or disk is full" in words:
        remedy = "Free some space and submit the job again; what is complete is kept."
        return Failure(type="disk_full", what="The disk is full.", remedy=remedy, detail=detail)
    if memory_ran_out or code == -KILL or "bad_alloc" in words or "memoryerror" in words:
        surely = "because memory ran out" if memory_ran_out else "probably because memory ran out"
        what = f"The job's process was ended again and again, {surely}."
        return Failure(type="out_of_memory", what=what, remedy=_MEMORY_REMEDY, detail=detail)
    how = f"exit code {code}"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            how = signal.Signals(-code).name
    what = f"The job's process died again and again without getting on ({how})."
    return CRASHED.model_copy(update={"what": what, "detail": detail})


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory, machine and container together; 0 when unknown."""
    count = 0
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):
        with contextlib.suppress(OSError, ValueError):
            lines = (line.split() for line in Path(path).read_text().splitlines())
            count += sum(int(words[1]) for words in lines if len(words) == 2 and words[0] == "oom_kill")
    return count


def failure(error: BaseException, detail: str = "") -> Failure:
    """Names an exception the way the store and the screens need it; its causes are looked at too."""
    if isinstance(error, Cancelled):
        return CANCELLED
    chain = list(_chain(error))
    if any(map(_is_out_of_memory, chain)):
        whose = "GPU" if any("cuda" in str(one).lower() for one in chain) else "machine"
        what, remedy = (
            f"The {whose}'s memory did not suffice.",
            "Set the knob “Rows at once” to a few rows, or use a smaller source model or fewer rows.",
        )
        return Failure(type="out_of_memory", what=what, remedy=remedy, detail=detail)
    if any(map(_is_disk_full, chain)):
        remedy = "Free some space and submit the job again; what is complete is kept."
        return Failure(type="disk_full", what="The disk is full.", remedy=remedy, detail=detail)
    if isinstance(error, Refusal):
        of_download = any(problem.where == "download" for problem in error.problems) or any(map(_is_hub, chain))
        return Failure(
            type="download" if of_download else "bad_data",
            what=" ".join(f"{problem.where}: {problem.what}" for problem in error.problems),
            remedy=" ".join(dict.fromkeys(problem.remedy for problem in error.problems)),
            detail=detail,
        )
    if isinstance(error, OSError) and error.errno in _BARRED and error.filename is not None:
        what, remedy = f"{error.filename} cannot be used: {error.strerror}.", "Check its permissions, or name another."
        return Failure(type="bad_data", what=what, remedy=remedy, detail=detail)
    text = " ".join(str(error).split())[:400]
    if any(map(_is_hub, chain)):
        remedy = "Check the connection and the name of the source model, then submit the job again."
        return Failure(type="download", what=f"The download failed: {text}", remedy=remedy, detail=detail)
    remedy = "This should not happen. Report it with the details below."
    return Failure(type="bug", what=f"{type(error).__name__}: {text}".strip(": "), remedy=remedy, detail=detail)


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    by_torch = isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    by_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or by_torch or by_system


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    text = str(error)  # SQLite and the writers in C and Rust say it in words
    return "No space left on device" in text or "database or disk is full" in text


def _is_hub(error: BaseException) -> bool:
    library = type(error).__module__.split(".")[0]
    return library in {"huggingface_hub", "requests", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3"}
