"""Arguments and images that the backbone does not take: each is named, or the network works."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmiformer.models import IFormer

from ..helpers import SHALLOW

quick = settings(derandomize=True, deadline=None, database=None, max_examples=25)

NO_NUMBER = (True, 'x', '2', b'x', [], {}, (1,), 1j, object)
NO_WHOLE = (*NO_NUMBER, 1.5, math.nan, math.inf, 10**30, -2)
NO_CFG = (None, True, 'BN', 3, 1.5, [], {}, dict(requires_grad=True))
NO_PART = ('x', b'x', 3, 1.5, True, {}, None, (), (1,), (1, 1, 1), (1,) * 5)
# What no argument may be: {argument: values}.
ARGUMENTS = dict(
    in_channels=(None, 0, -1, *NO_WHOLE),
    out_indices=(None, 2, 'x', b'x', '0', {}, 1.5, (), (4,), (-1,), (0, 0), (1, 0), (True,), (0.0,), ('0',), (None,)),
    window_size=(0, -1, *NO_WHOLE),
    num_chunks=(None, 0, -1, *NO_WHOLE),
    window_layout=(None, 'x', '', 'Paper', 3, [], b'paper'),
    modulation=(None, 'x', '', 'Value', 3, [], b'value'),
    drop_path_rate=(None, 1, 1.0, -0.1, math.nan, math.inf, *NO_NUMBER),
    layer_scale_init_value=(-1, -1e-6, math.nan, math.inf, *NO_NUMBER),
    frozen_stages=(None, 5, *NO_WHOLE),
    norm_eval=(None, 0, 1, 'True', [], 1.5),
    with_cp=(None, 0, 1, 'True', [], 1.5),
    deploy=(None, 0, 1, 'True', [], 1.5),
    norm_cfg=NO_CFG,
    act_cfg=NO_CFG,
    init_cfg=(3, True, 'x.pth', {}, [{}], [3], ['x.pth'], dict(checkpoint='x.pth'), [None]),
)
FIELDS = dict(
    stem_channels=(None, 0, -1, *NO_WHOLE),
    conv_ratio=(None, 0, -1, *NO_WHOLE),
    ffn_ratio=(None, 0, -1, *NO_WHOLE),
    channels=(*NO_PART, (8, 16, 24, 0), (8, 16, 24, -1), (8, 16, 24, 3.5), (8, 16, 24, 'x'), (8, None, 24, 32)),
    conv_blocks=(*NO_PART, (-1, 0, 0, 0), (0, 0.5, 0, 0), (0, 0, 'x', 0), (0, 0, None, 0), (0, 0, 0, True)),
    triples=(*NO_PART, (-1, 0, 0, 0), (0, 0.5, 0, 0), (0, 0, 'x', 0), (1, 0, 2, 1)),
    last_conv_blocks=(*NO_PART, (-1, 0, 0, 0), (0, 0.5, 0, 0), (0, 0, 'x', 0), (0, 0, None, 0)),
    head_dims=(*NO_PART, (0, 0, 0, 0), (0, 0, 12, 0), (0, 0, -1, 8), (0, 0, 1.5, 8), (0, 0, 'x', 8)),
    windowed=((), (1,), (0, 0, 3, 0), (1, 0, 0, 0), (0, 0, -1, 0), 'x', 3, {}),
    layer_scale=(-1, math.nan, math.inf, *NO_NUMBER),
)
ARCHS = (None, 3, True, 'x', '', 'M', b'm', (), [], {}, ('m',), 1.5, object)
CASES = {
    **{f'{name}={value!r}': ({name: value}, name) for name, values in ARGUMENTS.items() for value in values},
    **{
        f'arch {name}={value!r}': (dict(arch={**SHALLOW, name: value}), name)
        for name, values in FIELDS.items()
        for value in values
    },
    **{f'arch={value!r}': (dict(arch=value), 'arch') for value in ARCHS},
    **{
        f'arch without {name}': (dict(arch={key: value for key, value in SHALLOW.items() if key != name}), name)
        for name in SHALLOW
    },
    **{f'arch with {name}s': (dict(arch={**SHALLOW, f'{name}s': 1}), f'{name}s') for name in SHALLOW},
}


def test_what_is_no_argument_is_named():
    for case, (arguments, name) in CASES.items():
        with pytest.raises((TypeError, ValueError), match=name) as caught:
            IFormer(**{'arch': SHALLOW, **arguments})
        assert type(caught.value) in (TypeError, ValueError), case


whole, flags = st.integers(-2, 9), st.booleans()
stages = st.tuples(whole, whole, whole, whole)


@quick
@given(
    st.fixed_dictionaries(
        {},
        optional=dict(
            in_channels=whole,
            out_indices=st.lists(st.integers(-1, 4), max_size=4),
            window_size=st.none() | whole,
            num_chunks=whole,
            drop_path_rate=st.floats(-0.5, 1.5),
            layer_scale_init_value=st.none() | st.floats(-1, 1),
            frozen_stages=st.integers(-2, 6),
            norm_eval=flags,
            with_cp=flags,
            deploy=flags,
        ),
    ),
    st.fixed_dictionaries({}, optional=dict(conv_blocks=stages, triples=stages, head_dims=stages, channels=stages)),
)
def test_any_arguments_make_a_network_that_runs_or_are_refused(arguments, fields):
    try:
        network = IFormer(arch={**SHALLOW, **fields}, **arguments)
    except (TypeError, ValueError) as error:
        assert '=' in str(error)
        return
    with torch.no_grad():
        maps = network.eval()(torch.zeros(1, arguments.get('in_channels', 3), 40, 64))
    assert [level.shape[1] for level in maps] == [network.arch.channels[stage] for stage in network.out_indices]


@pytest.fixture(scope='module')
def networks() -> list[IFormer]:
    """The form that trains and the deploy form."""
    made = [IFormer(arch=SHALLOW, window_size=4).eval() for _ in range(2)]
    made[1].switch_to_deploy()
    return made


@quick
@given(st.integers(0, 2), st.integers(1, 400), st.integers(1, 400), st.sampled_from(['plain', 'strided', 'expanded']))
def test_images_of_any_size_and_memory(networks, batch, height, width, memory):
    image = dict(
        plain=lambda: torch.rand(batch, 3, height, width),
        strided=lambda: torch.rand(batch, 2 * width, height, 3).permute(0, 3, 2, 1)[..., ::2],
        expanded=lambda: torch.rand(1, 1, height, 1).expand(batch, 3, height, width),
    )[memory]()
    with torch.no_grad():
        both = [network(image) for network in networks]
    for maps in both:
        for level, stride in zip(maps, (4, 8, 16, 32), strict=True):
            assert level.shape[0] == batch
            assert level.shape[2:] == (math.ceil(height / stride), math.ceil(width / stride))
            assert level.isfinite().all()


types = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@quick
@given(types, types)
def test_data_types_that_fit_or_are_told(own, other):
    network = IFormer(arch=SHALLOW, window_size=4).eval().to(own)
    try:
        with torch.no_grad():
            maps = network(torch.rand(1, 3, 40, 64).to(other))
    except RuntimeError as error:
        assert own != other and 'type' in str(error)
    else:
        assert own == other and all(level.dtype == own and level.isfinite().all() for level in maps)


def test_nan_stays_in_its_image(networks):
    images = torch.rand(2, 3, 64, 64)
    images[0, 0, 5, 5] = math.nan
    with torch.no_grad():
        for network in networks:
            last = network(images)[-1]
            assert last[0].isnan().any() and last[1].isfinite().all()


IMAGES = {
    f'{shape} of {kind}': torch.zeros(shape, dtype=kind)
    for shape in ((3, 64, 64), (64, 64), (1, 4, 64, 64), (1, 1, 64, 64), (1, 3, 0, 64), (1, 3, 64, 0), (1, 1, 3, 9, 9))
    for kind in (torch.float32, torch.float16)
} | {
    f'whole {kind}': torch.zeros(1, 3, 64, 64, dtype=kind)
    for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool, torch.complex64)
}


def test_what_is_no_image_is_refused(networks):
    for name, image in IMAGES.items():
        for network in networks:
            with pytest.raises((TypeError, ValueError), match='image of .*the network takes'):
                network(image)
                pytest.fail(name)
