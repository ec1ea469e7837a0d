"""The ablations of the paper, in Markdown: parameters and MACs of each network beside those that the paper prints.

python tools/ablation.py
python tools/ablation.py --measured work_dirs/reproduce     latencies, as tools/reproduce.py measured them last
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from mmiformer.benchmark.ablation import table
from mmiformer.engine.cli import command
from mmiformer.reproduce.report import latencies


@command('nothing was written')
def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--measured', type=Path, metavar='DIR', help='the --out of tools/reproduce.py')
    args = parser.parse_args()
    print(latencies(args.measured) if args.measured else table())


if __name__ == '__main__':
    main()
