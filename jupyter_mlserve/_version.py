"""The package's version, read by the build and by the server extension."""

__version__ = "0.1.0"
