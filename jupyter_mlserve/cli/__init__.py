"""The command line, ``jupyter mlserve``."""
