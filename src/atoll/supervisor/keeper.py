"""The keeper: one tiny process per child that holds its output and its exit, so that the node may die.

Run as a script (`python -I -S keeper.py …`), never imported; it uses nothing outside the standard library and starts in
about 10 ms with 5 MB of its own. It owns: the child's session and process group, the pipe of its output, its log files.
It promises: a child never sees a closed or full pipe because a node went away; every end is on disk with its cause;
when the main process has ended, so has everything it started, daemons included (the keeper is their subreaper); one
instance has at most one keeper (a lock that dies with it); log files stay within their bytes, at any speed of output.
It refuses: a second start of the same instance (`busy`), and output beyond RATE (dropped, counted, noted in the log).

Told by signals: SIGTERM passes the stop signal on to the child's group, SIGUSR1 ends everything at once.
Only the keeper reaps the child, so neither signal can ever reach a reused pid.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import sys
import time

RATE = 4 << 20
"""Bytes of output per second written to disk in the long run; what is beyond is dropped, so a flood costs no disk wear."""
BURST = 4 << 20
"""Bytes that may come at once before RATE applies."""
CHUNK = 1 << 16
"""Bytes read at once: the kernel's own pipe size."""
HELD = 16 << 10
"""Bytes of the newest output kept back while dropping: a program's last words count most."""
STRAY_GRACE = 1.0
"""Seconds that processes left behind by a crashed main process have after SIGTERM."""
NOTE_EVERY = 1.0
"""Seconds between two notes (and counter updates) about dropped output."""
PR_SET_CHILD_SUBREAPER = 36


class Log:
    """The instance's log: `<path>` and `<path>.1`, together at most `limit` bytes, lines `<seconds> <mark><text>`.

    Marks: `|` a whole line, `+` a line cut at `line_limit`, `=` a note of the keeper's own.
    """

    def __init__(self, path: str, line_limit: int, limit: int) -> None:
        self.path = path
        self.line_limit = line_limit
        self.half = max(limit // 2, 2 * line_limit + 128)
        self.cut = 0
        self.dropped = 0
        self.noted = 0
        self.fd = -1
        self.size = 0
        self.partial = b""
        self.skipping = False
        """The rest of a cut or dropped line is still to come."""
        self.held = b""
        """The end of what was dropped last; written after all when the flood ends or the child does."""
        self.tokens = float(BURST)
        self.filled = time.monotonic()
        self._open()

    def _open(self) -> None:
        try:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self.size = os.fstat(self.fd).st_size
        except OSError:
            self.fd = -1

    def feed(self, data: bytes) -> None:
        """Take a piece of output."""
        now = time.monotonic()
        self.tokens = min(BURST, self.tokens + (now - self.filled) * RATE)
        self.filled = now
        if len(data) > self.tokens:
            self._drop(data)
            return
        if self.held:
            self.settle()
        if self.skipping:
            end = data.find(b"\n")
            if end < 0:
                self.tokens -= len(data)
                return
            data = data[end + 1 :]
            self.skipping = False
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        plain, cut = b"%.3f |" % time.time(), b"%.3f +" % time.time()
        out = []
        for line in lines:
            if len(line) <= self.line_limit:
                out.append(plain + line + b"\n")
            else:
                self.cut += 1
                out.append(cut + line[: self.line_limit] + b"\n")
        if len(self.partial) > self.line_limit:
            self.cut += 1
            out.append(cut + self.partial[: self.line_limit] + b"\n")
            self.partial = b""
            self.skipping = True
        text = b"".join(out)
        self.tokens -= max(len(text), len(data))  # empty lines grow by their time stamp
        self._write(text, len(out))

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        tail = not data.endswith(b"\n")
        self.dropped += (
            lines - (1 if self.skipping and lines else 0) + (1 if tail and (lines or not self.skipping) else 0)
        )
        self.partial = b""
        self.skipping = tail
        self.held = (self.held + data)[-HELD:]

    def settle(self) -> None:
        """Write what was held back and note how much was dropped before it."""
        lines = self.held.split(b"\n")[1:-1]  # the first is torn, the last is not complete
        self.held = b""
        self.dropped -= len(lines)
        if self.dropped > self.noted:
            self.note(
                f"{self.dropped - self.noted} lines dropped (output faster than {RATE >> 20} MiB/s, or disk full)"
            )
            self.noted = self.dropped
        stamp = time.time()
        text = b"".join(b"%.3f |%s\n" % (stamp, line[: self.line_limit]) for line in lines)
        self.tokens -= len(text)
        self._write(text, len(lines))

    def note(self, text: str) -> None:
        """Write a line of the keeper's own."""
        self._write(b"%.3f =%s\n" % (time.time(), text.encode("utf-8", "replace").replace(b"\n", b" ")), 0)

    def end(self) -> None:
        """Nothing more comes: write what has no newline."""
        self.settle()
        if self.partial:
            self._write(b"%.3f |%s\n" % (time.time(), self.partial), 1)
            self.partial = b""

    def _write(self, text: bytes, lines: int) -> None:
        view = memoryview(text)
        while view:
            room = self.half - self.size
            upto = len(view) if len(view) <= room else bytes(view[: max(room, 0)]).rfind(b"\n") + 1
            if upto == 0 or self.fd < 0:
                if not self._rotate():
                    self.dropped += lines
                    return
                continue
            try:
                written = os.write(self.fd, view[:upto])
            except OSError:  # disk full: the child must not notice
                self.dropped += lines
                return
            self.size += written
            view = view[written:]

    def _rotate(self) -> bool:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            try:
                os.replace(self.path, self.path + ".1")  # noqa: PTH105 - pathlib doubles the start-up time
            except OSError:
                return False
        self._open()
        return self.fd >= 0


class Record:
    """`<path>`: who runs here, for the next node; replaced atomically. `fields` are JSON texts."""

    def __init__(self, path: str, fields: dict[str, str]) -> None:
        self.path = path
        self.fields = fields

    def put(self, **more: str) -> None:
        """Add fields and write the whole record."""
        self.fields.update(more)
        text = "{" + ",".join(f'"{name}":{value}' for name, value in self.fields.items()) + "}\n"
        temporary = f"{self.path}.{os.getpid()}.new"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, os.fsencode(text))
            finally:
                os.close(fd)
            os.replace(temporary, self.path)  # noqa: PTH105
        except OSError:
            pass  # a full disk: the node that started us knows the pids already


def stat_of(pid: int | str) -> tuple[int, int, int]:
    """Parent, process group and start time (clock ticks since boot) of a process; zeros when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            rest = file.read().rpartition(b")")[2].split()
        return int(rest[1]), int(rest[2]), int(rest[19])
    except (OSError, IndexError, ValueError):
        return 0, 0, 0


def descendants() -> list[tuple[int, int]]:
    """(pid, process group) of everything below this process."""
    children: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            parent, group, _ = stat_of(name)
            children.setdefault(parent, []).append((int(name), group))
    found: list[tuple[int, int]] = []
    level = children.get(os.getpid(), [])
    while level:
        found += level
        level = [below for pid, _ in level for below in children.get(pid, [])]
    return found


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot."""
    try:
        with open("/proc/vmstat", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


class Keeper:
    """Starts the child, then waits: for output, for signals, for the end of it and of all it left behind."""

    def __init__(self, log: Log, record: Record, counters: int, stop_signal: int, grace: float) -> None:
        self.log = log
        self.record = record
        self.counters = counters
        self.stop_signal = stop_signal
        self.grace = grace
        self.main = 0
        self.status: int | None = None
        self.alone = False
        """No child is left, dead or alive."""
        self.stopping: float | None = None
        """When the stop signal was passed on."""
        self.kill_at: float | None = None
        """When everything left gets SIGKILL."""
        self.counted = (0, 0)
        self.ooms = oom_kills()

    def start(self, program: str, arguments: list[str], environment: dict[str, str], folder: str, output: int) -> str:
        """Fork and execute; empty when it runs, else `<errno> <step>`."""
        told, tell = os.pipe2(os.O_CLOEXEC)
        self.main = os.fork()
        if self.main == 0:
            step = "start"
            try:
                os.setsid()
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(output, 1)
                os.dup2(output, 2)
                for number in range(1, signal.NSIG):
                    if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                        signal.signal(number, signal.SIG_DFL)
                signal.set_wakeup_fd(-1)
                step = "folder"
                os.chdir(folder)
                step = "program"
                os.execve(program, arguments, environment)  # noqa: S606
            except BaseException as error:  # noqa: BLE001 - nothing may return into the parent's code
                number = getattr(error, "errno", None) or errno.EINVAL
                os.write(tell, f"{number} {step}".encode())
            finally:
                os._exit(127)
        os.close(tell)
        os.close(output)
        refused = os.read(told, 100).decode()
        os.close(told)
        return refused

    def run(self, output: int, wake: int) -> None:
        """Until the main process and everything it started are gone and their output is on disk."""
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(wake, select.POLLIN)
        self.reap()
        noted = time.monotonic()
        while not self.alone:
            for fd, _ in poll.poll(self.pause()):
                if fd == wake:
                    self.signalled(os.read(wake, 512))
                elif not self.read(output):
                    poll.unregister(output)
            self.reap()
            now = time.monotonic()
            if self.kill_at is not None and now >= self.kill_at:
                self.end_all(signal.SIGKILL)
            if now - noted >= NOTE_EVERY:
                noted = now
                self.log.settle()
                self.count()
        while self.read(output):
            pass

    def pause(self) -> int | None:
        """Milliseconds until something is due; None: nothing is."""
        if self.kill_at is not None:
            return max(20, int((self.kill_at - time.monotonic()) * 1000))
        return 1000 if self.counted != (self.log.cut, self.log.dropped) else None

    def read(self, output: int) -> bool:
        """One piece of output; False when there is none now, or none ever again."""
        try:
            data = os.read(output, CHUNK)
        except BlockingIOError:
            return False
        self.log.feed(data)
        return bool(data)

    def signalled(self, numbers: bytes) -> None:
        """What we were told."""
        if signal.SIGUSR1 in numbers:
            self.kill_at = time.monotonic()
        if signal.SIGTERM in numbers and self.status is None:
            self.stopping = time.monotonic()
            try:
                os.killpg(self.main, self.stop_signal)
            except OSError as error:
                self.log.note(f"stop signal not sent: {error}")

    def reap(self) -> None:
        """Take in every process that ended; what the main process leaves behind is told to end too."""
        while not self.alone:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.alone = True
                return
            if pid == 0:
                return
            if pid == self.main and self.status is None:
                self.status = os.waitstatus_to_exitcode(status)
                self.ended()

    def ended(self) -> None:
        """The main process is gone: a stopped one's company has the rest of its grace, a crashed one's a moment."""
        now = time.monotonic()
        due = now + STRAY_GRACE if self.stopping is None else max(now, self.stopping + self.grace)
        self.kill_at = due if self.kill_at is None else min(self.kill_at, due)
        self.end_all(signal.SIGTERM)

    def end_all(self, number: int) -> None:
        """Signal everything below us; a group that got its stop signal is not told again, it is finishing its work."""
        for pid, group in descendants():
            if number == signal.SIGTERM and self.stopping is not None and group == self.main:
                continue
            with contextlib.suppress(OSError):
                os.kill(pid, number)

    def count(self) -> None:
        """Put the counters where a node can read them."""
        now = (self.log.cut, self.log.dropped)
        if now != self.counted:
            self.counted = now
            os.pwrite(self.counters, b"%020d %020d\n" % now, 0)

    def close(self) -> None:
        """Write down how it ended."""
        self.log.end()
        self.count()
        oom = self.status == -signal.SIGKILL and self.stopping is None and oom_kills() > self.ooms
        self.log.note(f"ended: {self.status}")
        self.record.put(
            exit=f'{{"code":{self.status},"wall":{time.time():.3f},"cut":{self.log.cut},'
            f'"dropped":{self.log.dropped},"oom":{"true" if oom else "false"}}}'
        )


def read_all(fd: int) -> bytes:
    """Everything until the end of `fd`."""
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def answer(text: str) -> None:
    """Tell the node that started us, if it still listens; then let go of it."""
    with contextlib.suppress(OSError):
        os.write(1, text.encode())
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def main() -> int:
    """Arguments: record, lock, log, line limit, log bytes, stop signal, grace. The child's order comes on stdin."""
    record_path, lock_path, log_path = sys.argv[1:4]
    line_limit, log_bytes, stop_signal = (int(text) for text in sys.argv[4:7])
    parts = [os.fsdecode(part) for part in read_all(0).split(b"\0")]
    if parts[-1] != "end":
        return 2  # the node died in mid-sentence
    os.closerange(3, 1 << 20)
    note, program, folder, count = parts[0], parts[1], parts[2], int(parts[3])
    arguments = parts[4 : 4 + count]
    environment = dict(pair.split("=", 1) for pair in parts[4 + count : -1])

    counters = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(counters, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        answer("busy")
        return 3
    os.pwrite(counters, b"%020d %020d\n" % (0, 0), 0)

    subreaper = ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])

    log = Log(log_path, line_limit, log_bytes)
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
        boot = file.read().strip()
    me = f"[{os.getpid()},{stat_of('self')[2]}]"
    record = Record(record_path, {"boot": f'"{boot}"', "keeper": me, "note": note})
    record.put(subreaper="true" if subreaper else "false")
    keeper = Keeper(log, record, counters, stop_signal, float(sys.argv[7]))
    output, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(output, False)
    refused = keeper.start(program, arguments, environment, folder, write)
    if refused:
        os.unlink(record_path)  # noqa: PTH108
        answer(f"refused {refused}")
        return 4
    child = f"{keeper.main},{stat_of(keeper.main)[2]}"
    record.put(child=f"[{child}]")
    log.note(f"started: {keeper.main}")
    answer(f"runs {os.getpid()},{stat_of('self')[2]} {child}")
    try:
        keeper.run(output, woken)
    except BaseException as error:
        log.note(f"keeper failed: {error!r}")
        raise
    keeper.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
