"""The plugin's registries, children of MMEngine's.

MMEngine imports `{scope}.registry` by itself when it meets the prefix `mmiformer.` in a config, and a registry's
`locations` when it looks something up, so `type='mmiformer.IFormer'` needs no `custom_imports` in any toolbox.
"""

from mmengine import registry as root


def _child(parent: root.Registry, location: str) -> root.Registry:
    return root.Registry(parent.name, parent=parent, scope='mmiformer', locations=[location])


MODELS = _child(root.MODELS, 'mmiformer.models')
HOOKS = _child(root.HOOKS, 'mmiformer.engine.hooks')
METRICS = _child(root.METRICS, 'mmiformer.evaluation.metrics')
DATASETS = _child(root.DATASETS, 'mmiformer.datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'mmiformer.datasets')
