"""Stand-ins for the objects that training scripts save beside the weights: known by name, never imported or called."""

from __future__ import annotations

# Names with which a pickle runs a program or fetches one. Standing in for them would be as safe as for any other, since
# nothing is called; but whoever gets such a file should learn that it would harm them elsewhere.
_PROGRAMS = frozenset({
    "os", "posix", "nt", "subprocess", "_posixsubprocess", "commands", "popen2", "pty", "platform", "shutil", "sys",
    "socket", "socketserver", "runpy", "code", "codeop", "pdb", "bdb", "timeit", "profile", "cProfile", "importlib",
    "ctypes", "webbrowser", "asyncio", "multiprocessing", "pickle", "_pickle", "cPickle", "marshal", "urllib", "http",
    "httplib", "requests", "aiohttp", "ftplib", "smtplib", "pip",
})  # fmt: skip
_SHELLS = frozenset({"os", "posix", "nt", "subprocess", "sys", "builtins"})  # also as what a module has imported
_BUILTINS = frozenset({
    "eval", "exec", "execfile", "compile", "open", "file", "input", "apply", "__import__", "breakpoint", "globals",
    "locals", "vars", "setattr", "delattr",
})  # fmt: skip
_LOADERS = frozenset({"torch.load", "torch.hub.load", "numpy.load", "numpy.fromfile", "joblib.load"})


class StandIn:
    """An object of some class that is not looked up: its name, and the state that the file gives it.

    Equal to itself alone, so that it may be the key of a dictionary without its file choosing the hash.
    """

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: object = None


def runs_programs(module: str, name: str) -> bool:
    """Whether a name has no business beside weights, because it runs code, reads files or reaches the network."""
    if module in ("builtins", "__builtin__"):
        return name in _BUILTINS
    parts = [*module.split("."), *name.split(".")[:-1]]
    return parts[0] in _PROGRAMS or not _SHELLS.isdisjoint(parts) or f"{module}.{name}" in _LOADERS
