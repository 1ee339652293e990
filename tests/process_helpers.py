"""Processes of their own for code under test, forked from one that has imported everything.

A new interpreter takes two seconds to import PyTorch, a fork none: so a test that kills a process
again and again pays once. The process that is forked has one thread and computes nothing itself.
What asks for packages that are not imported yet needs a new interpreter all the same.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

EVERYTHING = """
import contextlib, importlib, pkgutil
import paper_unet, torch._dynamo  # which every optimiser imports
for module in pkgutil.walk_packages(paper_unet.__path__, "paper_unet."):
    with contextlib.suppress(ImportError):  # of what an extra brings
        importlib.import_module(module.name)
for name in (
    "h5py", "imagecodecs.imagecodecs", "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf", "matplotlib.figure", "mrcfile", "numcodecs.zarr3",
    "ome_zarr_models.v05.image", "scipy.ndimage", "skimage.measure", "skimage.morphology",
    "skimage.segmentation", "tifffile", "zarr",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
"""
SERVER = """
import json, os, runpy, sys, traceback, warnings
exec(sys.argv[1])

def child(what, arguments, folder, out, error):
    sys.argv = [what if what.endswith(".py") else "-c", *arguments]
    os.chdir(folder)
    for place, stream in enumerate((os.devnull, out, error)):
        os.dup2(os.open(stream, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)[place]), place)
    code = 0
    try:
        if what.endswith(".py"):
            sys.dont_write_bytecode = True
            sys.path[0] = os.path.dirname(what)
            runpy.run_path(what, run_name="__main__")
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads that a library keeps
        pid = os.fork()
    if not pid:
        child(*json.loads(line))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@cache
def _server(imports: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", SERVER, imports]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    atexit.register(server.communicate)  # it ends with its input
    return server


class Child:
    """A process that runs code as ``python -W error -c`` does, or a script of this path.

    As a context manager, it is killed in the end. One at a time. ``imports`` are those of the
    process that is forked.
    """

    def __init__(
        self,
        what: str | Path,
        *arguments: str,
        cwd: Path | None = None,
        imports: str = EVERYTHING,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.out, self.error = (Path(self._folder.name) / name for name in ("out", "error"))
        self.out.touch()
        self.error.touch()
        request = [str(what), arguments, str(cwd or Path.cwd()), str(self.out), str(self.error)]
        server = _server(imports)
        assert server.stdin is not None and server.stdout is not None
        self._said = server.stdout
        server.stdin.write(json.dumps(request).encode() + b"\n")
        self.pid = int(self._said.readline())
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self._code is None and select.select([self._said], [], [], 0)[0]:
            return self.wait()
        return self._code

    def wait(self) -> int:
        if self._code is None:
            self._code = int(self._said.readline())
        return self._code

    def kill(self) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        self._folder.cleanup()


def run_interpreter(
    what: str | Path, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code or a script in a new interpreter: it has the memory of what it imports alone."""
    code = [str(what)] if str(what).endswith(".py") else ["-c", str(what)]
    command = [sys.executable, "-W", "error", *code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def run_python(
    what: str | Path, *arguments: str, cwd: Path | None = None, imports: str = EVERYTHING
) -> subprocess.CompletedProcess[str]:
    """Run code or a script to its end; see `Child`."""
    if not hasattr(os, "fork"):
        return run_interpreter(what, *arguments, cwd=cwd)
    with Child(what, *arguments, cwd=cwd, imports=imports) as child:
        return subprocess.CompletedProcess(
            [str(what), *arguments], child.wait(), child.out.read_text(), child.error.read_text()
        )
