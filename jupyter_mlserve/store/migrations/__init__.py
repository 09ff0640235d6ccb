"""The history of the catalog's schema, run by Alembic from inside the package."""
