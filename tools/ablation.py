"""The ablations of the paper: parameters and MACs of each network beside those that the paper prints, in Markdown.

python tools/ablation.py
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from mmiformer.benchmark.ablation import table
from mmiformer.engine.cli import command


@command('nothing was written')
def main() -> None:
    ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_args()
    print(table())


if __name__ == '__main__':
    main()
