"""What exporting costs: AP and mIoU of the demo's trained networks in every runtime and precision, as one table.

python tools/evaluate_exports.py work_dirs/demo

It runs tools/test.py --runtime on the held-out scenes, and takes the ranges of int8 from the others. Logs and
figures go to DEMO/exports; after an interruption the same command goes on.
"""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from mmiformer.benchmark.report import processor
from mmiformer.demo.run import TASKS, Demo
from mmiformer.engine.cli import command
from mmiformer.engine.jobs import Step, Steps
from mmiformer.errors import UserError
from mmiformer.export import RUNNABLE, find_runtime
from mmiformer.files import read_json, whole_file
from mmiformer.report import markdown

FIGURES = ('box AP', 'mask AP', 'mIoU')


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('demo', type=Path, metavar='DEMO', help='the folder of a demo that is done')
    parser.add_argument('--runtimes', nargs='+', choices=RUNNABLE, default=RUNNABLE, help='default: all')
    return parser.parse_args()


def steps_of(demo: Demo, folder: Path, runtime: str | None, precision: str) -> list[Step]:
    """The evaluations of both networks, in torch where no runtime is named."""
    steps = []
    for task in TASKS:
        checkpoint = demo.checkpoint(task)
        if not checkpoint.is_file():
            raise UserError(f'{folder.parent} has no trained {task.title}: run make demo to its end')
        data, name = folder.parent / 'data' / task.data, f'{task.name} {runtime or "torch"} {precision}'
        result = folder / f'{name.replace(" ", "_")}.json'
        line = [Path(__file__).with_name('test.py'), task.config, checkpoint, '--data-root', data, '--out', result]
        line += ['--work-dir', folder / 'logs' / name.replace(' ', '_')]
        if runtime:
            line += ['--runtime', runtime, '--precision', precision]
        if precision == 'int8':
            line += ['--calibrate', folder.parent / 'data/coco/train2017']
        steps.append(Step(name, [sys.executable, *line], result))
    return steps


@command('the same command goes on from here')
def main() -> None:
    args = parse_args()
    if not (args.demo / 'demo.json').is_file():
        raise UserError(f'{args.demo} is not the folder of a demo: make one by make demo')
    demo = Demo(args.demo, Path(__file__).parent, read_json(args.demo / 'demo.json'))
    variants = [(None, 'fp32')]
    for name in args.runtimes:
        runtime = find_runtime(name)
        runtime.require('backbone', None)
        variants += [(name, one) for one in runtime.precisions if one != 'bf16' or runtime.has_bf16()]
    folder, rows = args.demo / 'exports', []
    steps = Steps(folder)
    for runtime, precision in variants:
        todo = steps_of(demo, folder, runtime, precision)
        steps.run(*todo)
        figures = {}
        for step in todo:
            figures |= read_json(step.result)['figures']
        rows.append((runtime or 'torch', precision, *(f'{figures[name]:.1f}' for name in FIGURES)))
    text = markdown(('runtime', 'precision', *FIGURES), rows)
    with whole_file(folder / 'table.md') as part:
        part.write_text(f'{processor()}\n\n{text}\n')
    print(f'\n{text}\n\nwritten to {folder / "table.md"}')


if __name__ == '__main__':
    main()
