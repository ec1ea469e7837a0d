"""The variants as data: Table 15, the kinds of blocks of a stage, and which of them run on windows.

Building, windows, key names and the forms for other runtimes all read :func:`stage_kinds`.
"""

from __future__ import annotations

from typing import NamedTuple

from .arguments import check_number, check_whole


class Arch(NamedTuple):
    """A variant, one column of Table 15. A tuple has one entry for each stage.

    The order of the blocks is :func:`stage_kinds`.

    Attributes:
        stem_channels: Channels after the first convolution of the stem; the second has four times as many.
        channels: Channels C of the map.
        conv_blocks: Number of conv blocks before the triples.
        triples: Number of triples of CPE, SHMA and FFN.
        last_conv_blocks: Number of conv blocks after the triples.
        head_dims: Channels of query and key, "hd"; 0 where there is no SHMA.
        conv_ratio: Expansion ratio of the conv blocks.
        ffn_ratio: Expansion ratio of the FFNs, "r".
        windowed: Number of SHMA, from the first on, that run on windows in the released layout. None is the rule of L:
            all but the last in stage 3.
        layer_scale: Initial value of the layer scale; None for no layer scale.
    """

    stem_channels: int
    channels: tuple
    conv_blocks: tuple
    triples: tuple
    last_conv_blocks: tuple
    head_dims: tuple
    conv_ratio: int
    ffn_ratio: int
    windowed: tuple | None = None
    layer_scale: float | None = None


ARCHS = {
    't': Arch(
        stem_channels=16,
        channels=(32, 64, 128, 256),
        conv_blocks=(2, 2, 6, 0),
        triples=(0, 0, 3, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 64, 64),
        conv_ratio=3,
        ffn_ratio=2,
    ),
    's': Arch(
        stem_channels=16,
        channels=(32, 64, 176, 320),
        conv_blocks=(2, 2, 9, 0),
        triples=(0, 0, 3, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 88, 80),
        conv_ratio=4,
        ffn_ratio=3,
    ),
    'm': Arch(
        stem_channels=24,
        channels=(48, 96, 192, 384),
        conv_blocks=(2, 2, 9, 0),
        triples=(0, 0, 4, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 96, 96),
        conv_ratio=4,
        ffn_ratio=3,
        windowed=(0, 0, 4, 0),  # the released M has no global SHMA in stage 3
    ),
    'l': Arch(
        stem_channels=24,
        channels=(48, 96, 256, 384),
        conv_blocks=(2, 2, 8, 0),
        triples=(0, 0, 8, 2),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 128, 96),
        conv_ratio=4,
        ffn_ratio=3,
        windowed=(0, 0, 7, 0),
    ),
    'l2': Arch(
        stem_channels=32,
        channels=(64, 128, 256, 512),
        conv_blocks=(3, 3, 12, 0),
        triples=(0, 0, 11, 3),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 128, 128),
        conv_ratio=4,
        ffn_ratio=3,
        windowed=(0, 0, 10, 0),
    ),
    'h': Arch(
        stem_channels=48,
        channels=(96, 192, 384, 768),
        conv_blocks=(5, 5, 14, 0),
        triples=(0, 0, 15, 6),
        last_conv_blocks=(0, 0, 1, 0),
        head_dims=(0, 0, 384, 768),
        conv_ratio=4,
        ffn_ratio=4,
        layer_scale=1e-6,
    ),
}


def get_arch(arch: str | dict) -> Arch:
    """The fields of a variant.

    Args:
        arch: A name in `ARCHS`, or a dict with the fields of :class:`Arch` for a network of one's own.

    Raises:
        TypeError: `arch` is neither a name nor a dict, or a field is of another type.
        ValueError: The name is unknown, or the fields are not those of a network.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(f'arch={arch!r} is none of the variants {", ".join(ARCHS)}; or give a dict of its fields')
        return ARCHS[arch]
    if not isinstance(arch, dict):
        raise TypeError(f'arch must be one of {", ".join(ARCHS)} or a dict, not {arch!r}')
    required = set(Arch._fields) - set(Arch._field_defaults)
    missing, unknown = required - set(arch), set(arch) - set(Arch._fields)
    if missing or unknown:
        raise ValueError(
            f'arch: missing {sorted(missing)}, unknown {sorted(unknown)}; the fields are {", ".join(Arch._fields)}'
        )
    custom = Arch(**arch)
    for name in ('stem_channels', 'conv_ratio', 'ffn_ratio'):
        check_whole(f'arch: {name}', getattr(custom, name))
    if custom.layer_scale is not None:
        check_number('arch: layer_scale', custom.layer_scale, 'at least 0, or None')
    for name in ('channels', 'conv_blocks', 'triples', 'last_conv_blocks', 'head_dims', 'windowed'):
        values = getattr(custom, name)
        if values is None and name == 'windowed':
            continue
        if not isinstance(values, (list, tuple)):
            raise TypeError(f'arch: {name}={values!r} must have an entry for each stage, such as (0, 0, 3, 2)')
        stages = len(custom.channels)
        if not values or len(values) != stages:
            raise ValueError(f'arch: {name}={values} has {len(values)} entries, there are {stages} stages (channels)')
        for stage, value in enumerate(values):
            check_whole(f'arch: {name}[{stage}]', value, least=int(name == 'channels'))
    for stage, (triples, head_dim) in enumerate(zip(custom.triples, custom.head_dims, strict=True)):
        if triples and head_dim < 1:
            raise ValueError(f'arch: head_dims[{stage}]={head_dim}, but triples[{stage}]={triples} have an SHMA each')
    for stage, (triples, windowed) in enumerate(zip(custom.triples, custom.windowed or custom.triples, strict=True)):
        if windowed > triples:
            raise ValueError(f'arch: windowed[{stage}]={windowed} of triples[{stage}]={triples}')
    return custom


def stage_kinds(arch: Arch, stage: int) -> tuple[str, ...]:
    """The kinds of a stage's blocks, in order: 'conv', 'cpe', 'shma' and 'ffn' (section 3, Table 15)."""
    return (
        ('conv',) * arch.conv_blocks[stage]
        + ('cpe', 'shma', 'ffn') * arch.triples[stage]
        + ('conv',) * arch.last_conv_blocks[stage]
    )


def window_span(arch: Arch, stage: int, layout: str) -> tuple[int, int]:
    """The blocks of a stage that run on windows, as `(start, stop)` of its list of blocks.

    Windows are cut before the first SHMA, after its CPE. In the released layout they are joined after the last windowed
    SHMA, before its FFN; in the paper's (Table 16) before the last SHMA of the stage, after its CPE.

    Args:
        arch: The variant.
        stage: The stage, from 0.
        layout: 'released' or 'paper'.
    """
    attentions = [index for index, kind in enumerate(stage_kinds(arch, stage)) if kind == 'shma']
    if layout == 'paper':
        return (attentions[0], attentions[-1]) if len(attentions) > 1 else (0, 0)
    if arch.windowed is None:
        windowed = max(len(attentions) - 1, 0) if stage == 2 else 0
    else:
        windowed = arch.windowed[stage]
    return (attentions[0], attentions[windowed - 1] + 1) if windowed else (0, 0)
