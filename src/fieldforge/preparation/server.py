"""What the server does from which processes are forked: the slow imports, once for all. Nothing else imports this."""

import atexit
import os

import igl  # noqa: F401
import open3d  # noqa: F401

import fieldforge.preparation.asset_process  # noqa: F401

# Registered last, and so run first: taking these libraries apart takes seconds, for which the command would wait.
atexit.register(os._exit, 0)
