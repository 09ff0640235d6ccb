"""The web node: the extension of Jupyter Server that speaks HTTP and owns the catalog.

``app`` is where Jupyter comes in; ``node`` and ``core`` put the parts together; a handler per
subject (``services``, ``api``, ``blobs``, ``status``) on ``base``; calls and uploads on
``exchange``; ``publishing`` knows in which order things change, without any HTTP.
"""
