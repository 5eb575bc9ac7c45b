"""Alembic's environment, shared by all services: each has only `migrations/versions` of its own."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
