"""Reproduce a table of the paper: what is printed, published and measured, side by side in one report.

python tools/reproduce.py 5                               what there is
python tools/reproduce.py 5 --evaluate                    evaluate every published checkpoint of its rows
python tools/reproduce.py 5 --train --rows iformer_l repvit_m1_5 --launcher pytorch --gpus 8
python tools/reproduce.py 5 --measure                     parameters, MACs at 512 x 512, latency here
python tools/reproduce.py 17 --measure                    SHMA, hybrid SHMA, chunked hybrid SHMA
python tools/reproduce.py 3 --evaluate --measure          ImageNet-1K; 4, 8 and 12 likewise
python tools/reproduce.py figure2 --measure               the ablations; 1, 2, 6, 7, 10, 11, 14 and 16 likewise
python tools/reproduce.py --smoke                         all of it in small, on drawn scenes

Stop it at any time; the same command goes on. Finished runs are kept, and a half-trained row resumes.
"""

import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mmiformer.benchmark.timing import add_timing, positive, settle
from mmiformer.engine.cli import command
from mmiformer.engine.jobs import StepFailed
from mmiformer.errors import UserError
from mmiformer.evaluation.tables import write_json
from mmiformer.files import read_json, whole_file
from mmiformer.reproduce.measuring import OURS, RUNNABLE, SIZES, THEIRS, attentions, backbones, measure
from mmiformer.reproduce.report import SHOWN, columns, folder_of, lines_of, write_report, write_table_17
from mmiformer.reproduce.results import Result, read_results
from mmiformer.reproduce.rows import IMAGENET, NUMBERS, TASKS, Row, choose, rows_of
from mmiformer.reproduce.runs import Place, Run, job_script, plan_runs
from mmiformer.reproduce.smoke import smoke

TOOLS = Path(__file__).resolve().parent

STYLES = dict(measured='bold', nothing='dim')


def table(text: str) -> int | str:
    """What a table is called."""
    return int(text) if text.isdigit() else text


def parse_args() -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        'table',
        nargs='?',
        type=table,
        choices=(*NUMBERS, 17),
        metavar='TABLE',
        help='of the paper: its number, or figure2',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/reproduce'), metavar='DIR', help='default: %(default)s'
    )
    parser.add_argument('--rows', nargs='+', default=[], metavar='ROW', help='such as iformer_l (default: all)')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='default: both')
    parser.add_argument('--evaluate', action='store_true', help='fetch and evaluate the published checkpoints')
    parser.add_argument('--train', action='store_true', help='train, and evaluate what was trained')
    parser.add_argument('--seeds', type=positive, default=1, metavar='N', help='train each row N times (default: 1)')
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='of several GPUs')
    parser.add_argument('--gpus', type=positive, default=8, help='with a launcher, on one machine (default: 8)')
    parser.add_argument('--partition', help='of Slurm: one job for each row and task')
    parser.add_argument('--dry-run', action='store_true', help='print the commands and what is missing; run nothing')
    parser.add_argument('--measure', action='store_true', help='measure the backbones on this machine')
    forms = list(dict.fromkeys((*OURS, *THEIRS, *RUNNABLE)))
    parser.add_argument(
        '--forms', nargs='+', choices=forms, default=[], help='to be measured (default: all that are installed)'
    )
    add_timing(parser, rounds=12, warmup=2)
    parser.add_argument('--smoke', action='store_true', help='all of it in small, on drawn scenes, in minutes')
    args = parser.parse_args()
    if (args.table is None) != args.smoke:
        parser.error('give a table, such as 5, or --smoke')
    if args.table == 17 and (args.evaluate or args.train or args.rows):
        parser.error('Table 17 is measured alone: 17 --measure')
    if args.launcher == 'slurm' and not args.partition:
        parser.error('--launcher slurm needs --partition')
    args.out = args.out.expanduser().resolve()
    return args


def planned(args: Namespace, rows: list[Row], place: Place) -> list[Run]:
    """The runs that are asked for."""
    evaluations = plan_runs(rows, args.tasks, place, 'evaluated') if args.evaluate else []
    trainings = plan_runs(rows, args.tasks, place, 'trained', args.seeds) if args.train else []
    return evaluations + trainings


def submit(args: Namespace, runs: list[Run]) -> None:
    """Write a Slurm job for each row and task and show it; submit it, if this is no dry run."""
    asked = [f'--{name}' for name in ('evaluate', 'train') if getattr(args, name)]
    options = [*asked, '--seeds', args.seeds, '--launcher', 'pytorch', '--gpus', args.gpus, '--out', args.out]
    for run in {(run.row.key, run.task): run for run in runs}.values():
        here = [sys.executable, TOOLS / 'reproduce.py', args.table, '--rows', run.row.key, '--tasks', run.task]
        script = job_script(run, [*here, *options], args.partition, args.gpus)
        path = args.out / 'slurm' / f'{run.task}-{run.row.key}.sh'
        with whole_file(path) as part:
            part.write_text(script)
        print(f'{path}:\n{script}', flush=True)
        if not args.dry_run:
            try:
                subprocess.run(['sbatch', path], check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise UserError(f'sbatch did not take {path}: {error}') from error


def do(runs: list[Run]) -> list[str]:
    """Do the runs, one after the other. Returns what went wrong with those that failed."""
    failures = []
    for run in runs:
        try:
            run.run()
        except StepFailed as error:
            print(f'{error}\n', flush=True)
            failures.append(run.title)
    return failures


def measure_here(args: Namespace, rows: list[Row], folder: Path) -> None:
    """Measure, and write what was measured."""
    settle(args)
    networks, sizes = (attentions(), SIZES) if args.table == 17 else (backbones(rows, args.forms), [512])
    if rows and rows[0].tasks is IMAGENET and args.table != 16:
        sizes = [224]
    if not any(network.forms for network in networks):
        raise UserError('--measure: none of these rows has a network here that can be measured in these --forms')
    found = measure(networks, sizes, args.rounds, args.warmup, args.device, graphs=args.table == 17)
    write_json(folder / f'measured-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}.json', found)


def show(rows: list[Row], results: list[Result], measurements: list[Path]) -> None:
    """Print the table, with the figures that matter most and the newest measurement."""
    measured = read_json(measurements[0], 'entries')['entries'] if measurements else []
    header = columns(rows)
    places = [index for index, name in enumerate(header) if index < 4 or name.replace(' ', '_') in SHOWN]
    table = Table(*(header[place] for place in places), box=None)
    for row in rows:
        for line in lines_of(row, results, measured):
            table.add_row(*(line.cells[place] for place in places), style=STYLES.get(line.kind))
    Console().print(table)


@command('run the same command again to go on from here')
def main() -> None:
    args = parse_args()
    if args.smoke:
        smoke(args.out / 'smoke', TOOLS)
        print(f'look at {args.out / "smoke" / "report.html"}')
        return
    place = Place(args.out, TOOLS, None if args.launcher == 'none' else args.gpus)
    title = 'Figure 2' if args.table == 'figure2' else f'Table {args.table}'
    folder, failures = folder_of(args.out, title), []
    rows = [] if args.table == 17 else choose(rows_of(args.table), args.rows)
    if rows:
        args.tasks = [task for task in rows[0].tasks if rows[0].tasks is IMAGENET or task in args.tasks]
    runs = planned(args, rows, place)
    if args.dry_run:
        print('\n\n'.join(run.plan() for run in runs))
    if args.launcher == 'slurm':
        submit(args, runs)
    if args.dry_run:
        return
    if args.launcher != 'slurm':
        failures = do(runs)
    if args.measure:
        measure_here(args, rows, folder)
    measurements = sorted(folder.glob('measured-*.json'), reverse=True)
    if args.table == 17:
        write_table_17(folder, measurements)
    else:
        rows, results = rows_of(args.table), read_results(place.results)
        write_report(folder, title, rows, results, measurements, args.out / 'runs')
        show(rows, results, measurements)
    print(f'look at {folder / "report.html"}')
    if failures:
        raise UserError(f'not all runs ended well: {"; ".join(failures)}')


if __name__ == '__main__':
    main()
