"""`make mutate FILE=executors/protocol.py`: changes the file one place at a time; some test has to fail for each.

Needs what `make coverage` has written down: which pure tests run which line. Every mutant is tried in a fork of a
process that has imported all that does not depend on the file: only those tests are run that reach the changed line,
first those that have caught others, then the narrow before the wide, until one fails. Survivors are listed; those that
nothing can tell from the original are in survivors.toml, each with the reason.

Exit 1 if the files whose every survivor has to be explained (ALL_EXPLAINED) have one that isn't, if of another fewer
than 90 % are killed, or if an explained one does not survive any more.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import grimp
import hypothesis
import pytest
from _pytest.config import default_plugins
from coverage import CoverageData

from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
COVERAGE = ROOT / ".cache/coverage"
EXPLAINED = Path(__file__).with_name("survivors.toml")
ALL_EXPLAINED = ("executors/changes.py", "executors/protocol.py", "streams/remediations.py")
KILLED_LEAST = 0.9
TEST_CPU_S_MAX = 30  # a mutant may loop for ever: that is seen too
TRIED_FIRST = 40  # most are caught by these, so that the modules of the others need not be imported
FEW = 2  # tests of a line
PACKAGES = ("schemas", "actions", "streams", "agents", "executors", "infra", "console", "bootstrap", "pdsim", "tests")


class Changed(SourceFileLoader):
    """Loads a mutant in the place of its file."""

    source = b""

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        return compile(self.source, self.path, "exec", dont_inherit=True)


class Finder:
    def __init__(self, module: str, path: Path, source: str) -> None:
        self._module, self._path, self._source = module, path, source

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        loader = Changed(name, str(self._path))
        loader.source = self._source.encode()
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


class Tests:
    """Which tests reach which line, in the order in which they are to be tried."""

    def __init__(self, file: str, source: str) -> None:
        if not COVERAGE.exists():
            sys.exit("which test runs which line is not known: run `make coverage` first")
        data = CoverageData(str(COVERAGE))
        data.read()
        if file not in data.measured_files():
            sys.exit(f"no test is known that runs a line of {file}: run `make coverage` after it was written")
        self._at = {
            line: {context.removesuffix("|run") for context in contexts if context.endswith("|run")}
            for line, contexts in data.contexts_by_lineno(file).items()
        }
        self._reach: Counter[str] = Counter()
        for any_file in data.measured_files():
            for contexts in data.contexts_by_lineno(any_file).values():
                self._reach.update(context.removesuffix("|run") for context in contexts)
        self._caught: Counter[str] = Counter()
        functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        self._called = {line for f in functions for line in range(f.body[0].lineno, (f.end_lineno or f.lineno) + 1)}

    def of(self, mutant: Mutant) -> list[str]:
        """Tables, defaults and class-level limits are run at import, whoever asks for it: whatever stands beside what
        runs the file may see it, also a test that runs no line of it. So is a function that a table calls: where a line
        is known of a few tests alone, one of them may have been the first to import it."""
        found = set[str]().union(*(self._at.get(line, set()) for line in mutant.lines if line in self._called))
        first = self._in_order(found)
        if len(found) > FEW:
            return first
        every = set[str]().union(*self._at.values())
        beside = [] if found else sorted({test.split("::")[0] for test in every})
        return [*first, *self._in_order(every - found), *beside]

    def _in_order(self, tests: set[str]) -> list[str]:
        return sorted(tests, key=lambda test: (-self._caught[test], self._reach[test], test))

    def has_caught(self, test: str) -> bool:
        return self._caught[test] > 0

    def caught(self, test: str) -> None:
        self._caught[test] += 1


def try_out(mutant: Mutant, module: str, path: Path, tests: Sequence[str]) -> str | None:
    """The test that failed; `import` where the file can't be loaded any more; None: it survived."""
    if not tests:
        return None
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _in_the_child(mutant, module, path, tests, write)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if status:
        return "time or memory"
    return str(json.loads(said)) if said != "null" else None


def _in_the_child(mutant: Mutant, module: str, path: Path, tests: Sequence[str], write: int) -> NoReturn:
    _has_a_moment()
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.meta_path.insert(0, Finder(module, path, mutant.source))
    answer = Answer(write)
    try:
        importlib.import_module(module)
    except BaseException:
        answer.says("import")
    without = [word for plugin in ("cacheprovider", "cov", "anyio") for word in ("-p", f"no:{plugin}")]
    for some in (tests[:TRIED_FIRST], tests[TRIED_FIRST:]):
        if not some:
            continue
        ended = pytest.main(["-x", "-q", "--assert=plain", *without, *some], plugins=[answer])
        if ended == pytest.ExitCode.USAGE_ERROR:  # a test that is called otherwise now has not failed: ask its file
            files = sorted({test.split("::")[0] for test in some})
            ended = pytest.main(["-x", "-q", "--assert=plain", *without, *files], plugins=[answer])
        if ended:
            answer.says("collection")
    answer.says(None)


def _has_a_moment() -> None:
    """A limit for the next test alone: all those that reach a line may well take longer together."""
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + TEST_CPU_S_MAX, hard))


class Answer:
    """Ends the child with the first test that failed: what a mutant leaves behind is nobody's to tidy."""

    def __init__(self, write: int) -> None:
        self._write = write

    def pytest_runtest_logstart(self) -> None:
        _has_a_moment()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:  # seen: asked for once more, pytest finds the module half imported, without its tests
            self.says("collection")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.says(report.nodeid)

    def says(self, failed: str | None) -> NoReturn:
        os.write(self._write, json.dumps(failed).encode())
        os._exit(0)


def load_all_but(module: str, tests: Sequence[str]) -> None:
    """Import what the tests import, and forget what depends on the module, or may: of what stands in no package, a
    test's conftest for one, nobody knows."""
    importlib.import_module("tests.conftest")  # what it imports takes longer than most tests: once is enough
    for plugin in (
        *(f"_pytest.{name}" for name in default_plugins),
        "pytest_asyncio.plugin",
        "_hypothesis_pytestplugin",
    ):
        importlib.import_module(plugin)
    for name in sorted({test.split("::")[0] for test in tests}):
        importlib.import_module(name.removesuffix(".py").replace("/", "."))
    graph = grimp.build_graph(*PACKAGES, cache_dir=str(ROOT / ".cache/grimp"))
    ours = {n for n, m in sys.modules.items() if Path(getattr(m, "__file__", None) or "/").is_relative_to(ROOT)}
    unknown = {n for n in ours - graph.modules if ".venv" not in Path(sys.modules[n].__file__ or "").parts}
    for name in {module, *graph.find_downstream_modules(module), *unknown} - {__name__, "__main__"}:
        sys.modules.pop(name, None)
        parent, _, own = name.rpartition(".")
        if parent in sys.modules and hasattr(sys.modules[parent], own):
            delattr(sys.modules[parent], own)


def lines_since(commit: str, file: str) -> set[int]:
    """The lines of the file that are not as they were at the commit."""
    told = subprocess.run(
        ["git", "diff", "-U0", commit, "--", file], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return lines_of(told.stdout)


def lines_named(text: str) -> set[int]:
    """Of `1-80,97`."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return {line for ends in parts for line in range(ends[0], ends[-1] + 1)}


def lines_of(diff: str) -> set[int]:
    """The lines that a diff without context has added or changed, as they are numbered now."""
    hunks = re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", diff, re.MULTILINE)
    return {line for at, count in hunks for line in range(int(at), int(at) + int(count or 1))}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a file of the pure core, as executors/protocol.py")
    parser.add_argument("--only", help="mutants of lines that hold this text")
    parser.add_argument("--since", metavar="COMMIT", help="mutants of lines that are not as they were then")
    parser.add_argument("--lines", help="mutants of these lines, as 1-80,97: a long file in parts")
    asked = parser.parse_args(arguments)
    path = ROOT / asked.file
    module = asked.file.removesuffix(".py").replace("/", ".")
    source = path.read_text()
    tests = Tests(asked.file, source)
    explained = [e for e in tomllib.loads(EXPLAINED.read_text())["survivor"] if e["file"] == asked.file]
    lines = lines_since(asked.since, asked.file) if asked.since else None
    if asked.lines:
        named = lines_named(asked.lines)
        lines = named if lines is None else lines & named
    mutants = [m for m in mutants_of(source, lines) if not asked.only or asked.only in m.was]
    # The same examples for each; what fails for one is not shrunk, nor kept: it would be tried on all that follow.
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        deadline=None,  # on a busy machine a slow example is no mutant seen
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    load_all_but(module, sorted({t for m in mutants for t in tests.of(m)}))
    gc.collect()
    gc.freeze()
    untouched = Mutant(0, range(0), "", "", source)
    every = sorted({t for m in mutants for t in tests.of(m)})
    if failed := try_out(untouched, module, path, every[:40]):
        sys.exit(f"nothing has been changed, and {failed} fails")
    began, survivors, seen_by = time.monotonic(), list[Mutant](), Counter[str]()
    for number, mutant in enumerate(mutants):
        if number and number % 50 == 0:
            print(f"{number} of {len(mutants)} tried, {len(survivors)} survive", file=sys.stderr, flush=True)
        caught = try_out(mutant, module, path, tests.of(mutant))
        if caught is None:
            survivors.append(mutant)
            print(f"{asked.file}:{mutant.line}: {mutant.was}  ->  {mutant.now}", flush=True)
        else:
            if "::" in caught and not tests.has_caught(caught) and try_out(untouched, module, path, [caught]):
                sys.exit(f"nothing has been changed, and {caught} fails")
            tests.caught(caught)
            seen_by["a test" if "::" in caught else caught] += 1
    print("seen by " + ", ".join(f"{how}: {count}" for how, count in seen_by.most_common()))
    return _told(
        asked.file, mutants, survivors, explained, time.monotonic() - began, whole=not asked.only and lines is None
    )


def _told(
    file: str,
    mutants: list[Mutant],
    survivors: list[Mutant],
    explained: list[dict[str, str]],
    took_s: float,
    whole: bool,
) -> int:
    reasons = {(e["was"], e["now"]) for e in explained}
    open_ = [m for m in survivors if (m.was, m.now) not in reasons]
    stale = reasons - {(m.was, m.now) for m in survivors} if whole else set()
    killed = len(mutants) - len(survivors)
    print(
        f"{file}: {len(mutants)} mutants, {killed} killed ({killed / max(1, len(mutants)):.1%}), "
        f"{len(survivors) - len(open_)} survivors explained, {len(open_)} not; {took_s:.0f} s"
    )
    for was, now in sorted(stale):
        print(f"explained, and does not survive: {was}  ->  {now}")
    enough = not open_ if file in ALL_EXPLAINED else killed >= KILLED_LEAST * len(mutants)
    return 0 if enough and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
