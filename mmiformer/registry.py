"""The plugin's registry, a child of MMEngine's.

MMEngine imports `{scope}.registry` by itself when it meets the prefix `mmiformer.` in a config, and a registry's
`locations` when it looks something up, so `type='mmiformer.IFormer'` needs no `custom_imports` in any toolbox.
"""

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmiformer', locations=['mmiformer.models'])
