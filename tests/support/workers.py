"""Workers that leave out some of what closes them."""

import shutil

from vqlearn.course.workers import WORKER

MEASURES = {
    "landlock": ("landlock.py", "def version(): return 0"),
    "seccomp": ("seccomp.py", "def available(): return False"),
    "namespaces": ("sandbox.py", "def separate(folder): return False"),
    "rights": ("sandbox.py", "def give_up_rights(): pass"),
}


def without_measures(folder, *measures):
    """A copy of the worker in this folder that takes none of these measures."""
    copied = shutil.copytree(WORKER, folder / "vqlearn" / "course" / "worker")
    for measure in measures:
        file, instead = MEASURES[measure]
        with (copied / file).open("a") as stream:
            stream.write(f"\n\n{instead}\n")
    return copied
