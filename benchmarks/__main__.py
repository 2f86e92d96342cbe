"""``python -m benchmarks [NAME…]``: run all benchmarks, or those named; ``--list`` says what there is."""

import importlib
import pkgutil
import runpy
import sys

import benchmarks


def names() -> list[str]:
    """Every benchmark, by module name; the other modules are parts of them, or take arguments."""
    found = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name for name in found if name.startswith("bench_"))


def main(arguments: list[str]) -> int:
    """List or run benchmarks."""
    if arguments == ["--list"]:
        for name in names():
            told = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
            print(f"{name:20} {told.strip().splitlines()[0]}")
        return 0
    if unknown := set(arguments) - set(names()):
        print(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    for name in arguments or names():
        print(f"== {name}", flush=True)
        sys.argv = [name]
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
