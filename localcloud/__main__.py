"""The command line: ``python -m localcloud up|down|status|env|reset|load-bucket|faults``."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from localcloud.errors import LocalCloudError
from localcloud.host.environment import client_environment
from localcloud.host.home import ACCOUNT, DEFAULT_REGION, STOP_GRACE_SECONDS, Home, State, default_home
from localcloud.host.keys import load_or_make


def _up(home: Home, arguments: argparse.Namespace) -> None:
    from localcloud.host import lifecycle

    if arguments.journal:
        home.make()
        with home.explained():
            home.journal.touch(mode=0o600)
    state = lifecycle.up(home, arguments.region, arguments.stop_grace)
    print(f"S3         {state.s3_endpoint}\nSageMaker  {state.service_endpoint}\nstate      {home.root}")
    print(f'For a shell: eval "$(python -m localcloud env --home {shlex.quote(str(home.root))})"')


def _down(home: Home, _: argparse.Namespace) -> None:
    from localcloud.host import lifecycle

    print("down" if lifecycle.down(home) else "nothing was running")


def _status(home: Home, arguments: argparse.Namespace) -> None:
    state = home.running()
    if arguments.format == "json":
        print(json.dumps({"running": False} if state is None else {"running": True, **vars(state)}))
    elif state is None:
        print(f"not running (state folder {home.root})")
    else:
        print(f"running, supervisor {state.supervisor}, account {ACCOUNT}, region {state.region}")
        print(f"S3         {state.s3_endpoint}\nSageMaker  {state.service_endpoint}\nstate      {home.root}")
    if state is None:
        raise SystemExit(3)


def _env(home: Home, arguments: argparse.Namespace) -> None:
    state = _running(home)
    variables = client_environment(state.s3_endpoint, state.service_endpoint, load_or_make(home.keys), state.region)
    if arguments.format == "json":
        print(json.dumps(variables))
    else:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))


def _reset(home: Home, _: argparse.Namespace) -> None:
    from localcloud.host import lifecycle

    lifecycle.reset(home)
    print(f"{home.root} is empty")


def _load_bucket(home: Home, arguments: argparse.Namespace) -> None:
    from localcloud import loading

    state = _running(home)
    count = loading.load_bucket(state, load_or_make(home.keys), arguments.bucket, arguments.paths)
    print(f"{count} objects put into s3://{arguments.bucket}")


def _faults(home: Home, arguments: argparse.Namespace) -> None:
    from localcloud import faults_command

    print(faults_command.run(home, _running(home), arguments))


def _running(home: Home) -> State:
    state = home.running()
    if state is None:
        raise LocalCloudError(f"localcloud does not run in {home.root}; start it: python -m localcloud up")
    return state


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="python -m localcloud", description="An embedded stand-in for AWS.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--home", type=Path, default=default_home(), help="the state folder (default: %(default)s)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: object, help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, parents=[common], help=help_text, description=help_text)
        sub.set_defaults(action=action)
        return sub

    up = command("up", _up, "start the cloud, unless it runs already")
    up.add_argument("--region", default=DEFAULT_REGION, help="the region that it is (default: %(default)s)")
    up.add_argument(
        "--stop-grace",
        type=float,
        default=STOP_GRACE_SECONDS,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL when a job is stopped (default: %(default)s, as on AWS)",
    )
    up.add_argument(
        "--journal", action="store_true", help="write every request into journal.jsonl in the state folder, until reset"
    )
    command("down", _down, "stop the cloud and every job in it; its state stays")
    for name, action, text in (
        ("status", _status, "say whether it runs, and where; exit code 3 when it does not"),
        ("env", _env, "print the AWS_* variables that make SDKs speak to it"),
    ):
        sub = command(name, action, text)
        sub.add_argument("--format", choices=("text", "json"), default="text")
    command("reset", _reset, "stop the cloud and delete all its state, buckets included")
    load = command("load-bucket", _load_bucket, "put folders, files and tar archives into a bucket")
    load.add_argument("bucket", help="the bucket; it is made when it does not exist")
    load.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a folder, a file, or a tar archive")
    from localcloud import faults_command

    faults_command.add_arguments(command("faults", _faults, "make the cloud misbehave, for tests and drills"))
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        arguments.action(Home(arguments.home), arguments)
    except LocalCloudError as error:
        print(f"localcloud: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
