"""The compute node: a process of its own that runs services in pools of workers.

``client`` is the web node's side of it; everything else runs in the node's process.
"""
