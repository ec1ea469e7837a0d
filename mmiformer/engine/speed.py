"""`--deploy` and `--compile`: the backbone of a detector or segmentor in a faster form."""

from argparse import ArgumentParser

from torch import nn

from ..models.compiling import compile_backbones
from ..models.deploy import switch_to_deploy


class NoFastForm(ValueError):
    """A model has no backbone with the form that is asked for."""


def add_compile(parser: ArgumentParser) -> None:
    """Add `--compile`."""
    parser.add_argument(
        '--compile', action='store_true', help='let torch compile the backbone; takes minutes before the first image'
    )


def add_deploy(parser: ArgumentParser) -> None:
    """Add `--deploy`."""
    parser.add_argument(
        '--deploy', action='store_true', help="the backbone's deploy form: the same results to rounding, in less time"
    )


def speed_up(model: nn.Module, deploy: bool = False, compile: bool = False) -> None:
    """Bring the backbone into a faster form, in place; its weights must have been loaded.

    Args:
        model: A detector or segmentor.
        deploy: Whether into its deploy form.
        compile: Whether torch is to compile it.

    Raises:
        NoFastForm: It has no iFormer, or one whose norms cannot be folded.
    """
    try:
        if deploy and not switch_to_deploy(model):
            raise ValueError('no module of the model has a switch_to_deploy()')
    except ValueError as error:
        raise NoFastForm(f'--deploy: {error}') from error
    if compile and not compile_backbones(model):
        raise NoFastForm('--compile: the model has no IFormer, whose parts could be compiled')
