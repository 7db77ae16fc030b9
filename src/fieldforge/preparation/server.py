"""The preload module of the fork server: slow imports, once for all workers; without a server each imports it."""

import atexit
import os

import igl  # noqa: F401
import open3d  # noqa: F401

import fieldforge.preparation.asset_process
import fieldforge.preparation.shape_recipe  # noqa: F401  # brings PyTorch along, for which a process would take seconds

# Registered last, and so run first: taking these libraries apart takes seconds, for which the command would wait.
atexit.register(os._exit, 0)
