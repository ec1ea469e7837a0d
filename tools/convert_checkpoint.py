"""Rename the keys of a weight file between the published layouts; the tensors stay as they are.

python tools/convert_checkpoint.py iFormer_m_distill.pth iformer_m.safetensors --to timm
python tools/convert_checkpoint.py work_dirs/iformer_m_1x/epoch_12.pth iformer_m_coco.pth --to released
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mmiformer import checkpoint
from mmiformer.engine.cli import add_trust, command
from mmiformer.models.layouts import LAYOUTS, convert, recognize
from mmiformer.models.loading import state_dict_of


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='IN', help='a file of any layout, a URL, or the name of a published file')
    parser.add_argument('target', metavar='OUT', type=Path, help='ends in .pth, .pt or .safetensors')
    parser.add_argument('--to', choices=LAYOUTS, default='mmiformer', help='the layout of OUT (default: %(default)s)')
    add_trust(parser)
    return parser.parse_args()


def contents(state_dict: dict, layout: str, meta: dict, target: Path) -> dict:
    """What a file of that layout and ending holds."""
    if layout == 'timm' or target.suffix == '.safetensors':
        return state_dict
    if layout == 'released' and recognize(state_dict)[1] == '':
        return dict(model=state_dict)  # as the ImageNet files
    return dict(state_dict=state_dict, meta=meta)  # as MMEngine's, whose `meta` names the classes


@command('nothing was written')
def main() -> None:
    args = parse_args()
    content = checkpoint.load(args.source, trust=args.trust_checkpoint)
    state_dict = state_dict_of(content)
    layout, _ = recognize(state_dict)
    converted = convert(state_dict, args.to)
    meta = content.get('meta', {}) if 'state_dict' in content else {}
    checkpoint.save(contents(converted, args.to, meta, args.target), args.target)
    print(f'{args.source} (layout {layout}) -> {args.target} (layout {args.to}): {len(converted)} tensors')


if __name__ == '__main__':
    main()
