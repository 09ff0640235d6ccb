"""What a service is: definitions, declared types, documents, errors. Pure Python, no I/O.

Imports nothing of the other rooms, and neither numpy nor pandas: every process can load it.
"""
