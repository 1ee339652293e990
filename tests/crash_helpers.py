"""Crash points: a process ends before any call that changes a file, or loses what was not synced.

`HOOK` is code for a process of its own. It puts itself before every call of the system that changes
a file or a folder, and that makes such a change last: those of `os`, and the writes of files that
`open` has opened. Nothing of the package is changed for it.

`armed(n)` kills the process before the n-th such call, or half-way through it where it is a write.
`recorded(root)` keeps what a disk has of a folder for sure: the content of a file when it was last
synced, and the names in a folder when that was synced. `lost(into, how)` lays out what a power loss
may leave of it:

- ``nothing``: all that was not synced is lost;
- ``names``: names are there as they are, and what was not synced of their contents reads as zeros;
- ``contents``: contents are there as they are, under the names that were synced.

`crashed` tries them all, one after the other.
"""

import json
from pathlib import Path

from process_helpers import run_python

HOOK = '''
import builtins, io, os, shutil, signal, stat, threading
from pathlib import Path

class Disk:
    """Counts calls, ends the process before one of them, and knows what is on disk for sure."""

    def __init__(self):
        self.calls, self.limit, self.half, self.then = [], 0, False, None
        self.lock = threading.RLock()
        self.contents, self.names, self.kept, self.root = {}, {}, {}, None

    def count(self, name, write=None):
        """Before a call; `write` does half of it."""
        with self.lock:
            self.calls.append(name)
            if len(self.calls) != self.limit:
                return
            if self.half and write is not None:
                write()
            if self.then is not None:
                self.then()
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()

    # what lasts

    def inode(self, path):
        about = os.fstat(path) if isinstance(path, int) else os.lstat(path)
        return (about.st_dev, about.st_ino), about

    def synced(self, descriptor):
        if self.root is None:
            return
        key, about = self.inode(descriptor)
        path = f"/proc/self/fd/{descriptor}"  # it may have no name
        if stat.S_ISDIR(about.st_mode):
            self.names[key] = self.listing(path)
        elif stat.S_ISREG(about.st_mode):
            self.contents[key] = self.content(path)
            self.keep(path, key)

    def listing(self, folder):
        found = {}
        for entry in os.scandir(folder):
            key, about = self.inode(entry.path)
            found[entry.name] = key, stat.S_ISDIR(about.st_mode)
            self.keep(entry.path, key)
        return found

    def keep(self, path, key):
        """Hold a file open, or its number would be given to another one when it is removed."""
        if key not in self.kept:
            self.kept[key] = real["open"](path, os.O_RDONLY)

    def content(self, path):
        descriptor = real["open"](path, os.O_RDONLY)
        try:
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)

disk = Disk()
real = {}

def before(name, after=None, half=None):
    """Count each call of a function of `os` before it is made."""
    if not hasattr(os, name):
        return
    call = real[name] = getattr(os, name)
    def counted(*given, **more):
        with disk.lock:
            disk.count(name, None if half is None else lambda: half(call, *given))
            result = call(*given, **more)
            if after is not None:
                after(*given)
            return result
    setattr(os, name, counted)

def half_of(call, descriptor, data, *rest):
    data = memoryview(data).cast("B")
    call(descriptor, data[: len(data) // 2], *rest)

for name in ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link", "symlink",
             "truncate", "ftruncate", "posix_fallocate", "chmod", "utime"):
    before(name)
for name in ("write", "pwrite"):
    before(name, half=half_of)
for name in ("fsync", "fdatasync"):
    before(name, after=disk.synced)

open_ = real["open"] = os.open
def os_open(path, flags, *rest, **more):
    with disk.lock:
        if flags & (os.O_CREAT | os.O_TRUNC):
            disk.count("open")
        return open_(path, flags, *rest, **more)
os.open = os_open

class Written(io.FileIO):
    """A file whose every write is counted."""

    def write(self, data):
        with disk.lock:
            view = memoryview(data).cast("B")
            disk.count("write", lambda: io.FileIO.write(self, view[: len(view) // 2]))
            return super().write(view)

    def truncate(self, size=None):
        with disk.lock:
            disk.count("truncate")
            return super().truncate(size)

opened = io.open
def hooked(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True,
           opener=None):
    if not set(mode) & set("wax+") or isinstance(file, int):
        return opened(file, mode, buffering, encoding, errors, newline, closefd, opener)
    if set(mode) & set("wx") or not os.path.lexists(file):
        disk.count("open")
    raw = Written(file, mode.replace("b", "").replace("t", ""))
    if buffering == 0:
        return raw
    kind = io.BufferedRandom if "+" in mode else io.BufferedWriter
    buffered = kind(raw)
    if "b" in mode:
        return buffered
    text = io.TextIOWrapper(buffered, encoding, errors, newline)
    text.mode = mode
    return text
io.open = builtins.open = hooked

def armed(limit, half=False, then=None):
    disk.calls, disk.limit, disk.half, disk.then = [], limit, half, then

def recorded(root):
    """What is there now has been there for long."""
    disk.root = Path(root)
    for folder, _, files in os.walk(root):
        disk.names[disk.inode(folder)[0]] = disk.listing(folder)
        for name in files:
            path = os.path.join(folder, name)
            disk.contents[disk.inode(path)[0]] = disk.content(path)

def lost(into, how):
    """Lay out what the disk has after a power loss, through calls that are not counted."""
    disk.limit = 0
    _laid_out(disk.root, disk.inode(disk.root)[0], Path(into), how)

def _laid_out(now, key, into, how):
    into.mkdir()
    names = disk.names.get(key, {})
    if how == "names" and now is not None:
        names = disk.listing(now)
    for name, (inner, folder) in names.items():
        there = None
        if now is not None and os.path.lexists(now / name) and disk.inode(now / name)[0] == inner:
            there = now / name
        if folder:
            _laid_out(there, inner, into / name, how)
        else:
            (into / name).write_bytes(_bytes_of(inner, how))

def _bytes_of(key, how):
    synced = disk.contents.get(key, b"")
    if how == "nothing":
        return synced
    size = os.fstat(disk.kept[key]).st_size if key in disk.kept else len(synced)
    if how == "contents":
        return os.pread(disk.kept[key], size, 0) if key in disk.kept else synced
    return synced[:size] + bytes(max(0, size - len(synced)))
'''

POINTS = '''
import json, sys, traceback

made, scratch, losses = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def forked(work, *given):
    """Work in a process of its own; return how it ended."""
    child = os.fork()
    if not child:
        try:
            work(*given)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    return folder

def undisturbed(folder):
    armed(0)
    begin(folder)
    names = list(disk.calls)
    (scratch / "calls.json").write_text(json.dumps(names))

def crash(number, half=False, how=None):
    folder, after = fresh(scratch / "run"), scratch / "after"
    shutil.rmtree(after, ignore_errors=True)
    def work():
        if how is not None:
            recorded(folder)
        armed(number, half, None if how is None else lambda: lost(after, how))
        begin(folder)
    where = number, names[number - 1], half, how
    assert forked(work) == -signal.SIGKILL, where
    if how is not None:
        shutil.rmtree(folder)
        after.rename(folder)
        for file in made.iterdir():  # what has been there for long is as it was
            shutil.copystat(file, folder / file.name)
    found = outcome(folder)
    assert found in (None, expected), where
    assert forked(go_on, folder) == 0, (*where, sorted(os.listdir(folder)))
    assert outcome(folder) == expected, where
    assert sorted(os.listdir(folder)) == listing, where

folder = fresh(scratch / "run")
assert forked(undisturbed, folder) == 0
expected, listing = outcome(folder), sorted(os.listdir(folder))
names = json.loads((scratch / "calls.json").read_text())
ways, done = ("nothing", "names", "contents"), 0
for number, called in enumerate(names, 1):
    if losses == "none":
        crashes = [{}, {"half": True}] if called in ("write", "pwrite") else [{}]
    else:
        crashes = [{"how": how} for how in (ways if losses == "all" else (ways[number % 3],))]
    for given in crashes:
        crash(number, **given)
        done += 1
print(json.dumps([names, done]))
'''


def crashed(code: str, folder: Path, losses: str, cwd: Path) -> tuple[list[str], int]:
    """Crash at every point; return the calls of an undisturbed run, and how many crashes.

    `code` defines ``begin(folder)``, which works in a folder like ``made``; ``go_on(folder)``, the
    same after a crash; and ``outcome(folder)``, what is to be equal, None if it is not there.
    `losses` is ``none`` (a kill), ``one`` (of three losses at every call, in turn) or ``all``.
    """
    scratch = folder / "scratch"
    scratch.mkdir()
    arguments = str(folder / "made"), str(scratch), losses
    run = run_python(HOOK + code + POINTS, *arguments, cwd=cwd)
    assert run.returncode == 0, run.stderr[-4000:]
    calls, done = json.loads(run.stdout.splitlines()[-1])
    return calls, done
