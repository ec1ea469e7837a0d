"""What the command lines have in common: their options, and how they end."""

import functools
import os
import re
import shlex
import signal
import sys
from argparse import ArgumentError, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence

import torch
from mmengine.config import DictAction
from mmengine.dist import get_rank

from ..errors import DONE_BUT_BROKEN, UserError
from .launch import LAUNCHERS, tell_torchrun
from .lost import lost_process
from .notes import log_traceback, print_notes
from .stopping import Stopped


class KeyValues(DictAction):
    """argparse action for `KEY=VALUE ...`: MMEngine's, with an error message where it has a traceback.

    Raises:
        UserError: A value is a dict, which MMEngine would take apart at its commas.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            if '=' not in pair:
                raise ArgumentError(self, f'{pair!r} is not KEY=VALUE, such as train_dataloader.batch_size=4')
            key, value = pair.split('=', 1)
            if re.search(r'(^|[\[(,\s])(\{|dict\()', value):
                raise UserError(
                    f'--cfg-options {pair}: a dict is no value here. Set its keys one by one ({key}.type=..., '
                    f'{key}.KEY=...), and a list of dicts in a config file of your own'
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, RecursionError) as error:  # brackets that do not match, or stand after a name
            raise ArgumentError(self, str(error)) from error


def add_data_root(parser: ArgumentParser) -> None:
    """Add `--data-root`."""
    parser.add_argument(
        '--data-root', metavar='DIR', help='the data set; takes precedence over COCO_ROOT, ADE_ROOT, IMAGENET_ROOT'
    )


def add_cfg_options(parser: ArgumentParser, example: str) -> None:
    """Add `--cfg-options`, with an example in its help."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValues,
        metavar='KEY=VALUE',
        help=f'changes of the config, such as {example}',
    )


def add_trust(parser: ArgumentParser) -> None:
    """Add `--trust-checkpoint`."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle anything that a checkpoint holds, which can run any code: only for files whose maker you trust',
    )


def add_compile(parser: ArgumentParser) -> None:
    """Add `--compile`."""
    parser.add_argument(
        '--compile', action='store_true', help='let torch compile the backbone; takes minutes before the first image'
    )


DTYPES = dict(fp32=None, bf16=torch.bfloat16)


def add_deploy(parser: ArgumentParser) -> None:
    """Add `--deploy` and `--dtype`."""
    parser.add_argument(
        '--deploy', action='store_true', help="the backbone's deploy form: the same results to rounding, in less time"
    )
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='fp32',
        help='what the deploy form computes in; bf16 is faster where the processor has its arithmetic (default: fp32)',
    )


def deploy_dtype(args: Namespace) -> torch.dtype | None:
    """The data type of `--dtype`, None for that of the weights.

    Raises:
        UserError: It is for the deploy form, which is not asked for.
    """
    if args.dtype != 'fp32' and not args.deploy:
        raise UserError(f'--dtype {args.dtype} is for the deploy form: add --deploy')
    return DTYPES[args.dtype]


def make_parser(description: str) -> ArgumentParser:
    """A parser with the options that training and testing share."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of mmdet, mmseg or mmpretrain')
    parser.add_argument('--work-dir', metavar='DIR', help='where logs go (default: below work_dirs/, by the config)')
    add_data_root(parser)
    add_cfg_options(parser, 'train_dataloader.batch_size=4 model.test_cfg.rcnn.score_thr=0.1')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='what started several processes')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by some launchers')
    add_trust(parser)
    return parser


def resume_advice(arguments: Sequence[str] | None = None) -> str:
    """How the training of this command line goes on.

    Args:
        arguments: The command line; by default that of this process.
    """
    words = [*(sys.argv if arguments is None else arguments)]
    if resume := os.environ.get('MMIFORMER_RESUME'):  # of the script that has started this process
        return f'this goes on from the last checkpoint, if there is one:\n{resume}'
    if '--launcher' in words:
        return 'the same command with --resume goes on from the last checkpoint, if there is one'
    if '--resume' in words:
        at = words.index('--resume')
        has_value = len(words) > at + 1 and not words[at + 1].startswith('-')
        del words[at : at + 1 + has_value]
    command = shlex.join(['python', *words, '--resume'])
    return f'this goes on from the last checkpoint, if there is one:\n{command}'


def _explain(error: Exception) -> str | None:
    """What to print in place of an error's traceback; None for a bug."""
    if said := lost_process(error):
        return said
    if isinstance(error, (UserError, OSError)):
        return str(error)
    if isinstance(error, RuntimeError) and 'home directory' in str(error):  # of Path.expanduser
        return "a path begins with ~ and a name that is no user's"
    if isinstance(error, RuntimeError) and 'Symlink loop' in str(error):  # of Path.resolve
        return str(error)
    too_large = "can't allocate memory" in str(error) or 'Storage size calculation overflowed' in str(error)
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or too_large:
        said = str(error) or 'the memory is full'
        return f'{said}\nReduce the batch (train_dataloader.batch_size) or the size of the images'
    return None


def exit_if_broken(number: int, launcher: str) -> None:
    """End a run that is done, but has left out or replaced broken samples.

    Args:
        number: How many.
        launcher: What has started this process. torchrun and srun would take the exit code for a failure.
    """
    if number and launcher == 'none':
        print(
            f'done, but {number} broken sample{"s were" if number > 1 else " was"} left out or replaced: see the log',
            file=sys.stderr,
        )
        sys.exit(DONE_BUT_BROKEN)


def _end_output() -> None:
    """Let go of what could not be printed, to a full disk or a closed pipe: Python would fail on it at its end."""
    try:
        print(end='', flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command(advice: str | Callable[[], str]) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Decorate the `main` of a tool, so that it ends as all of them do.

    What the user can fix, such as a `UserError`, a full disk or memory, or a killed process, is printed as
    `error: MESSAGE`, and the exit code is 1. After Ctrl-C, or SIGTERM in a training, the advice is printed, and the
    exit code is 128 plus the signal, as shells expect. Anything else is a bug and keeps its traceback. The log file of
    a run, once there is one, gets the traceback in any case.

    Args:
        advice: What the user should know after Ctrl-C, or a function that tells.
    """

    def decorate(main: Callable[[], None]) -> Callable[[], None]:
        @functools.wraps(main)
        def run() -> None:
            try:
                main()
                print(end='', flush=True)
            except KeyboardInterrupt as stop:
                if get_rank() == 0:
                    print(f'\nstopped: {advice() if callable(advice) else advice}', file=sys.stderr)
                sys.exit(128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT))
            except Exception as error:
                log = log_traceback()
                message = _explain(error)
                if not message:
                    raise
                message = f'error: {message}' + (f'\nThe traceback is in {log}' if log and error.__cause__ else '')
                tell_torchrun(message)
                sys.exit(message)
            finally:
                print_notes()  # those of a run that never began
                _end_output()

        return run

    return decorate
