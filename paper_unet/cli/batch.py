"""A script for SLURM that predicts all parts as a job array, and joins them when all are done."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from paper_unet.errors import InputError, shown
from paper_unet.large.memory import bytes_of
from paper_unet.large.parts import MOST

CORES = 4
"""Of a job, unless the number of threads is given."""

SPARE = 1.1
"""Memory of a job over what the prediction may take."""

SCRIPT = """\
#!/usr/bin/env bash
# Predicts {out} in {count} parts, and joins them: run this with bash where sbatch is.
# A part that failed, or was preempted, goes on when it is submitted again. Add to both jobs what
# your cluster asks for, such as #SBATCH --time=04:00:00, --partition=, --gres=gpu:1.
set -euo pipefail

parts=$(sbatch --parsable <<'END_OF_JOB'
#!/usr/bin/env bash
#SBATCH --job-name={name}
#SBATCH --array=1-{count}
#SBATCH --output="{log}.part-%a-of-{count}.log"
#SBATCH --open-mode=append
#SBATCH --cpus-per-task={cores}
{memory}#SBATCH --requeue
set -euo pipefail
cd {folder}
exec {command} --part "$SLURM_ARRAY_TASK_ID/{count}"
END_OF_JOB
)

sbatch --parsable --dependency="afterok:${{parts%%;*}}" --kill-on-invalid-dep=yes <<'END_OF_JOB'
#!/usr/bin/env bash
#SBATCH --job-name={name}-join
#SBATCH --output="{log}.join.log"
#SBATCH --open-mode=append
#SBATCH --cpus-per-task={cores}
{memory}#SBATCH --requeue
set -euo pipefail
cd {folder}
exec {command} --join
END_OF_JOB
"""


def sbatch_script(
    command: Sequence[str], out: str, count: int, *, folder: Path, memory: str | None, cores: int
) -> str:
    """Return a script that submits a job array and, depending on it, a job that joins.

    Parameters
    ----------
    command : sequence of str
        Predicts the output, but for the words that say which part.
    out : str
        The output, by which the logs are called.
    count : int
        How many parts.
    folder : Path
        Where the command is run.
    memory : str or None
        What a process may take, such as ``2GB``.
    cores : int
        Of each job.

    Returns
    -------
    str
        For bash.

    Raises
    ------
    InputError
        If there cannot be so many parts, or the output has a name that SLURM cannot have.
    """
    if not 1 <= count <= MOST:
        raise InputError(f"a job array of {count} parts; accepted are 1 to {MOST}")
    if any(character in f"{folder}{out}" for character in '"\\\n\r'):
        raise InputError(
            f"{shown(repr(out))}: SLURM has no logs of this name; choose one without quotes, "
            "backslashes and line breaks"
        )
    words = shlex.join(command)
    log = str(folder / out)  # sbatch may be called from elsewhere
    if "END_OF_JOB" in words or "END_OF_JOB" in str(folder):
        raise InputError("END_OF_JOB ends the jobs of the script; choose other names")
    megabytes = None if memory is None else math.ceil(SPARE * bytes_of(memory) / 2**20)
    return SCRIPT.format(
        out=out,
        count=count,
        name=re.sub(r"[^A-Za-z0-9._-]+", "_", Path(out).name),
        log=log.replace("%", "%%"),
        cores=cores,
        memory="" if megabytes is None else f"#SBATCH --mem={megabytes}M\n",
        folder=shlex.quote(str(folder)),
        command=words,
    )
